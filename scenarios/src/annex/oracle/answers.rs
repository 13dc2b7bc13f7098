//! **answers**: where nothing is wrong a request is answered, and rightly so; and what is wrong with a node affects no more
//! than that node's part (annex-p2p §16, I17, I24).

/// Checks that there was an answer.
pub fn check_answered(request: &str, answer: Result<(), &str>) -> Result<(), String> {
    answer.map_err(|why| format!("nothing is wrong, and {request} comes to nothing: {why}"))
}

/// Checks whether an object is said to be there.
pub fn check_present(object: usize, told: bool, must: bool, may: bool) -> Result<(), String> {
    match told {
        true if !may => Err(format!("object {object} is said to be there, and it is nowhere")),
        false if must => Err(format!("object {object} is there, and is said not to be")),
        _ => Ok(()),
    }
}
