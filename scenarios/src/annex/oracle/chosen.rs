//! **chosen**: of the idle connections of a kind the one that was used last is taken, and of all the one that was used longest
//! ago is given up (annex-p2p §16, I14).

/// Checks the connection that came of something.
pub fn check_chosen(what: &str, chosen: Option<u64>, right: Option<u64>) -> Result<(), String> {
    let name = |connection: Option<u64>| match connection {
        Some(number) => format!("connection {number}"),
        None => "no connection".into(),
    };
    match chosen == right {
        true => Ok(()),
        false => Err(format!("{what}: {} comes of it, and {} was right", name(chosen), name(right))),
    }
}
