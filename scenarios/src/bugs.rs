//! The known bugs that the hunt puts back: real ones, from the history of Tahoe-LAFS. Each is a `relapse!` in core, at the
//! place of the historical defect.

use seedgrid::explore::KnownBug;

/// Every known bug, in the order of its dossier.
pub const BUGS: &[KnownBug] = &[
    KnownBug { name: "tahoe-B1", about: "after a failed segment the next request is not begun" },
    KnownBug { name: "tahoe-B2", about: "cancelling while no segment is active takes the node down" },
    KnownBug { name: "tahoe-B3", about: "a late cancel hits whatever segment is active" },
    KnownBug { name: "tahoe-B4", about: "a share used late still has a hash tree of the guessed size" },
    KnownBug { name: "tahoe-B5", about: "\"no more shares\" overtakes shares that were found" },
    KnownBug { name: "tahoe-B7", about: "a bad segment number is learnt from a flag that comes too late" },
    KnownBug {
        name: "tahoe-B13",
        about: "a truncated share is asked again and again for what it does not have",
    },
    KnownBug { name: "tahoe-B14", about: "after a wrong ciphertext hash the node is wedged" },
    KnownBug { name: "tahoe-B15", about: "a cancelled segment's decoding ends somebody else's read" },
    KnownBug { name: "tahoe-B22", about: "silent servers are waited for without a limit" },
];
