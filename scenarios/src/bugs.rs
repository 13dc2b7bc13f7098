//! The known bugs that the hunt puts back: real ones, from the history of Tahoe-LAFS. Each is a `relapse!` in core, at the
//! place of the historical defect.

use seedgrid::case::WaitEnd;
use seedgrid::explore::{KnownBug, Sign};

/// Every known bug, in the order of its dossier.
pub const BUGS: &[KnownBug] = &[
    KnownBug {
        name: "tahoe-B1",
        about: "after a failed segment the next request is not begun",
        signs: &[NOT_BEGUN],
    },
    KnownBug {
        name: "tahoe-B2",
        about: "cancelling while no segment is active takes the node down",
        // Between the failed segment and the cancellation nothing is begun either.
        signs: &[Sign::Panicked, NOT_BEGUN],
    },
    KnownBug {
        name: "tahoe-B3",
        about: "a late cancel hits whatever segment is active",
        signs: &[NOT_BEGUN],
    },
    KnownBug {
        name: "tahoe-B4",
        about: "a share used late still has a hash tree of the guessed size",
        signs: &[GAVE_UP],
    },
    KnownBug {
        name: "tahoe-B5",
        about: "\"no more shares\" overtakes shares that were found",
        signs: &[GAVE_UP],
    },
    KnownBug {
        name: "tahoe-B7",
        about: "a bad segment number is learnt from a flag that comes too late",
        signs: &[GAVE_UP],
    },
    KnownBug {
        name: "tahoe-B13",
        about: "a truncated share is asked again and again for what it does not have",
        signs: &[Sign::Violated { oracle: "budget" }],
    },
    KnownBug {
        name: "tahoe-B14",
        about: "after a wrong ciphertext hash the node is wedged",
        // The fetch that failed is still the active one, and the node holds it for ever. Whoever wants another segment
        // waits for it; whoever wants the same has joined it.
        signs: &[
            Sign::Hung { resource: "fetcher", held_by: "node" },
            Sign::Hung { resource: "segment", held_by: "node" },
        ],
    },
    KnownBug {
        name: "tahoe-B15",
        about: "a cancelled segment's decoding ends somebody else's read",
        signs: &[GAVE_UP],
    },
    KnownBug {
        name: "tahoe-B22",
        about: "silent servers are waited for without a limit",
        // A read hangs; or it does not need the silent server, and the call to it is left over.
        signs: &[
            Sign::Hung { resource: "the fault `hang`", held_by: "harness" },
            Sign::Violated { oracle: "quiescence" },
        ],
    },
];

/// A request waits, and no fetch is under way: a lost wake-up.
const NOT_BEGUN: Sign = Sign::Hung { resource: "fetcher", held_by: WaitEnd::NOBODY };
/// A read ends with an error that nothing justifies.
const GAVE_UP: Sign = Sign::Violated { oracle: "progress" };
