//! **work**: to keep an idle connection, to take one and to give one up takes work that is logarithmic in the number of
//! idle connections (annex-p2p §16, I16). Steps are counted, not timed: how often two kinds of connections were compared,
//! or one was copied.

/// Steps for each doubling of the number of connections.
const STEPS: u64 = 24;

/// Checks the steps that something took when there were so many idle connections.
pub fn check_steps(what: &str, idle: usize, steps: u64) -> Result<(), String> {
    let allowed = STEPS * (2 + u64::from(idle.max(1).ilog2()));
    match steps > allowed {
        true => {
            Err(format!("{what} takes {steps} steps with {idle} idle connections, and {allowed} would do"))
        }
        false => Ok(()),
    }
}
