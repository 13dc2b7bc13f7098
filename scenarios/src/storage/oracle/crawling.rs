//! **crawling**: as long as a server runs, its crawler works or has a timer set (leasedb-and-storage §16, I13).

/// Checks a server by what its actor is doing: the labels of its tasks, and how many timers it has set.
pub fn check_crawling(tasks: &[String], timers: usize) -> Result<(), String> {
    if !CRAWLER {
        return Ok(());
    }
    match (tasks.iter().any(|task| task.contains("crawl")), timers) {
        (true, _) => Ok(()),
        (false, _) => Err(format!("the crawler is not running; the server's tasks: {}", tasks.join(", "))),
    }
}

/// Not there yet.
pub const CRAWLER: bool = false;
