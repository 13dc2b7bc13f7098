//! **budget**: work is bounded. Livelocks and leaks show here long before they show as time (tahoe-immutable §17,
//! A2, D8, D12, D15). That a client asks again for bytes that a server said it does not have, a server sees itself.

use crate::fault::CallKind;
use crate::grid::{Server, StoredFile};
use crate::world::World;

/// The most runtime calls and trace events that one poll of a healthy program makes.
const FUEL_OF_ONE_POLL: u64 = 25_000;

/// What the clients of a run did, for the bounds that follow from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Nodes that were opened.
    pub nodes: u64,
    /// Segments that readers asked for, retries included.
    pub segments: u64,
    /// The segment size that nodes guess at first, in bytes.
    pub guess: u64,
    /// Reads that did not come to their end. Each may leave a decoding behind, which keeps its blocks until it ends, and
    /// block reads that are still to be answered while the next segment's are sent already.
    pub broken_off: u64,
}

/// Checks what each server was asked against what the run's reads can have needed.
pub fn check_budget(
    world: World,
    file: &StoredFile,
    servers: &[Server],
    budget: Budget,
) -> Result<(), String> {
    let burnt = world.most_fuel_burnt();
    if burnt > FUEL_OF_ONE_POLL {
        return Err(format!("one poll made {burnt} runtime calls and trace events"));
    }
    // Each fetch of a block: the block, and spans of two hash trees. Before the first: version, table, lengths,
    // URI extension block, share chain, and the two trees where they would be by the guessed sizes: each perhaps twice,
    // by the layout that is likely and by the real one.
    let height = |segments: u64| u64::from(segments.next_power_of_two().ilog2());
    let guessed_height = height(file.cap.size.div_ceil(budget.guess.max(1)));
    let height = height(file.sizes.segments);
    let reads_bound = budget.nodes * (16 + 4 * guessed_height) + budget.segments * (3 + 2 * height);
    // What one share is read for one block: the block, header, URI extension block and hashes, where they were guessed
    // to be and where they are.
    let guessed_block = budget.guess.min(file.cap.size) / u64::from(file.cap.k) + 1;
    let share_bound = guessed_block + file.sizes.block_size + 2 * (4096 + 64 * (height + 2) + 34 * 10);
    for (number, server) in servers.iter().enumerate() {
        let ledger = server.ledger();
        let queries = ledger.counts.calls.get(&CallKind::Dyhb).copied().unwrap_or_default();
        if u64::from(queries) > budget.nodes {
            return Err(format!(
                "server {number} was asked {queries} times what it has, by {} nodes",
                budget.nodes
            ));
        }
        for (share, reads) in &ledger.reads {
            if u64::from(*reads) > reads_bound {
                return Err(format!(
                    "share {share} on server {number} was read {reads} times; {reads_bound} is the bound for {} segments",
                    budget.segments
                ));
            }
        }
        let reads: u64 = ledger.reads.values().map(|reads| u64::from(*reads)).sum();
        if ledger.counts.bytes > reads * share_bound {
            return Err(format!(
                "server {number} was asked for {} bytes in {reads} reads",
                ledger.counts.bytes
            ));
        }
        let buffers_bound = (budget.nodes + budget.broken_off) * ledger.reads.len() as u64 * share_bound;
        if ledger.most_buffered > buffers_bound {
            return Err(format!(
                "{} bytes of server {number}'s answers were kept at one time; {buffers_bound} is the bound",
                ledger.most_buffered
            ));
        }
        if !ledger.harmed
            && let Some(share) = server.good_shares().iter().find(|share| ledger.advised.contains_key(share))
        {
            return Err(format!("share {share} on server {number} is good, and was said to be corrupt"));
        }
    }
    Ok(())
}
