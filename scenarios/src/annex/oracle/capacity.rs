//! **capacity**: the gateway knows how many connections it has, keeps no more idle ones than it may, and when nobody asks
//! for anything all else has been given back (annex-p2p §16, I12, I15, I19, I26).

use pool::connections::Counts;
use pool::uuid::Uuid;

/// Checks what holds at any time.
pub fn check_counts(counts: Counts, limit: u64) -> Result<(), String> {
    match counts {
        Counts { idle, .. } if idle > limit => Err(format!("{idle} connections are idle, of {limit}")),
        Counts { opened, closed, idle } if closed + idle > opened => {
            Err(format!("{opened} connections were opened, {closed} closed, and {idle} are idle"))
        }
        _ => Ok(()),
    }
}

/// Checks what holds when nobody asks for anything. There are `there` connections; others that are idle may have `gone`.
pub fn check_quiet(counts: Counts, there: u64, gone: bool, limit: u64) -> Result<(), String> {
    let Counts { opened, closed, idle } = counts;
    match () {
        () if idle < there || (idle > there && !gone) => {
            Err(format!("{there} connections are there, and {idle} are idle"))
        }
        () if there > limit => Err(format!("{there} connections are idle, of {limit}")),
        () if opened != closed + idle => {
            Err(format!("{opened} connections were opened, {closed} closed, and {idle} are idle"))
        }
        () => Ok(()),
    }
}

/// Checks that nobody is served when nobody asks for anything.
pub fn check_sessions(of: &str, sessions: u64) -> Result<(), String> {
    match sessions {
        0 => Ok(()),
        some => Err(format!("all clients have gone, and {of} has {some} sessions")),
    }
}

/// Checks that nobody has a worker, a lock or a task of the HTTP server, but for those of idle connections, when nobody asks
/// for anything.
pub fn check_web(of: &str, busy: usize, tasks: usize, locks: usize) -> Result<(), String> {
    match (busy, tasks, locks) {
        (0, 0, 0) => Ok(()),
        _ => Err(format!(
            "all clients have gone, and the HTTP server of {of} has {busy} workers busy, {tasks} tasks, and {locks} locks"
        )),
    }
}

/// Checks that nobody is about any object.
pub fn check_repository(of: &Uuid, quiet: bool) -> Result<(), String> {
    if quiet {
        Ok(())
    } else {
        Err(format!("all clients have gone, and somebody is about an object of {of}"))
    }
}

/// Checks that nothing is left of uploads to a special remote.
pub fn check_spools(of: &Uuid, spools: usize) -> Result<(), String> {
    match spools {
        0 => Ok(()),
        some => Err(format!("all clients have gone, and {some} files of uploads are left on {of}")),
    }
}
