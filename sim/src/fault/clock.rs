//! Wall clocks that are wrong: ahead, behind, or set while the actor runs. Monotonic time is untouched.
//!
//! A server must survive it because leases are kept by the wall clock, and machines set theirs: a lease must never end
//! earlier than its holder was told because of a step back (leasedb-and-storage §4).

/// The names of the kinds of trouble with clocks, as they are counted: wrong from the start, and set on the way.
pub const CLOCK_KINDS: [&str; 2] = [CLOCK_SKEW, CLOCK_STEP];

pub(crate) const CLOCK_SKEW: &str = "clock-skew";
pub(crate) const CLOCK_STEP: &str = "clock-step";
