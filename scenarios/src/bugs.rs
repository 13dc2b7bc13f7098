//! The known bugs that the hunt puts back: real ones, from the history of Tahoe-LAFS and git-annex. Each is a `relapse!` in core, at the
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
    KnownBug {
        name: "lease-L1",
        about: "an add-lease that fails conceals the shares of its server",
        signs: &[Sign::Violated { oracle: "check" }],
    },
    KnownBug {
        name: "lease-L2",
        about: "the crawler takes a share that has just been completed for one that has vanished",
        // Its rows go without the file's lock: a write to slots that is under way does not find what it has found.
        signs: &[
            Sign::Violated { oracle: "promised" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "slots" },
            Sign::Violated { oracle: "agreed" },
        ],
    },
    KnownBug {
        name: "lease-L3",
        about: "a share is uploaded while it is being deleted",
        signs: &[
            Sign::Violated { oracle: "settled" },
            Sign::Violated { oracle: "handles" },
            Sign::Violated { oracle: "writes" },
            Sign::Violated { oracle: "deletes" },
            Sign::Violated { oracle: "kept" },
        ],
    },
    KnownBug {
        name: "lease-L4",
        about: "a lease is granted on a share that is already condemned",
        signs: &[
            Sign::Violated { oracle: "deletes" },
            Sign::Violated { oracle: "promised" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "rows" },
        ],
    },
    KnownBug {
        name: "lease-L5",
        about: "a mutable share is deleted before its row",
        signs: &[
            Sign::Violated { oracle: "deletes" },
            Sign::Violated { oracle: "slots" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "agreed" },
        ],
    },
    KnownBug {
        name: "lease-L6",
        about: "a share without a lease is kept for ever",
        signs: &[
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "agreed" },
            Sign::Violated { oracle: "leased" },
            Sign::Violated { oracle: "slots" },
            Sign::Violated { oracle: "promised" },
        ],
    },
    KnownBug {
        name: "lease-L7",
        about: "nobody looks after what a crash left half done",
        signs: &[
            Sign::Violated { oracle: "settled" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "idle" },
        ],
    },
    KnownBug {
        name: "lease-L8",
        about: "a corrupted share is reported, and takes its siblings along",
        signs: &[
            Sign::Violated { oracle: "visible" },
            Sign::Violated { oracle: "answers" },
            Sign::Violated { oracle: "kept" },
        ],
    },
    KnownBug {
        name: "lease-L9",
        about: "an upload that makes no progress never ends",
        signs: &[
            Sign::Violated { oracle: "idle" },
            Sign::Violated { oracle: "settled" },
            // A share of no bytes that was acknowledged goes with the upload that it should not have been any more.
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "agreed" },
        ],
    },
    KnownBug {
        name: "lease-L10",
        about: "a deletion that failed is never tried again",
        // Its number stays taken: nobody can upload it, and a write to it is refused for ever.
        signs: &[
            Sign::Violated { oracle: "settled" },
            Sign::Violated { oracle: "idle" },
            Sign::Violated { oracle: "answers" },
            Sign::Violated { oracle: "agreed" },
        ],
    },
    KnownBug {
        name: "lease-L11",
        about: "one failure ends the crawler for good",
        // Nobody ends leases any more, and nobody collects what has none.
        signs: &[
            Sign::Violated { oracle: "crawling" },
            Sign::Violated { oracle: "agreed" },
            Sign::Violated { oracle: "leased" },
        ],
    },
    KnownBug {
        name: "lease-L12",
        about: "deleting share 1 deletes share 10",
        signs: &[
            Sign::Violated { oracle: "answers" },
            Sign::Violated { oracle: "siblings" },
            Sign::Violated { oracle: "kept" },
        ],
    },
    KnownBug {
        name: "lease-L13",
        about: "an outage is taken for a disappearance",
        signs: &[
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "promised" },
            Sign::Violated { oracle: "agreed" },
        ],
    },
    KnownBug {
        name: "lease-L14",
        about: "half an upload counts as a share",
        signs: &[
            Sign::Violated { oracle: "visible" },
            Sign::Violated { oracle: "handles" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "answers" },
        ],
    },
    KnownBug {
        name: "lease-L15",
        about: "a lease that was cut off becomes data of its share",
        signs: &[
            Sign::Violated { oracle: "area" },
            Sign::Violated { oracle: "data" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "leases" },
            Sign::Violated { oracle: "parses" },
        ],
    },
    KnownBug {
        name: "lease-A1",
        about: "the age of a lease is compared with a date: none ever ends",
        signs: &[Sign::Violated { oracle: "leased" }, Sign::Violated { oracle: "ended" }],
    },
    KnownBug {
        name: "lease-A5",
        about: "a lease that cannot be added conceals the shares that are there",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "lease-A6",
        about: "who reads past the end of a share is told its leases",
        signs: &[Sign::Violated { oracle: "area" }, Sign::Violated { oracle: "data" }],
    },
    KnownBug {
        name: "lease-A8",
        about: "a put that was given up lands after a later deletion",
        // What was deleted comes back, what was written is undone; and a share of chunks of two versions cannot be read.
        signs: &[
            // The objects of a share that is being deleted come back, and so its deletion never ends.
            Sign::Violated { oracle: "settled" },
            Sign::Violated { oracle: "agreed" },
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "slots" },
            Sign::Violated { oracle: "answers" },
            // Objects without a row: nobody gets room for the share until they are cleared away.
            Sign::Violated { oracle: "idle" },
        ],
    },
    KnownBug {
        name: "lease-A9",
        about: "the clock steps back, and a lease is shortened",
        signs: &[Sign::Violated { oracle: "renewed" }, Sign::Violated { oracle: "promised" }],
    },
    KnownBug {
        name: "lease-A11",
        about: "what was acknowledged is not durable",
        signs: &[
            Sign::Violated { oracle: "kept" },
            Sign::Violated { oracle: "promised" },
            Sign::Violated { oracle: "slots" },
            Sign::Violated { oracle: "settled" },
        ],
    },
    KnownBug {
        name: "lease-A13",
        about: "a write to the slots of an immutable file makes a mutable share beside them",
        signs: &[Sign::Violated { oracle: "kinds" }],
    },
    KnownBug {
        name: "annex-B8",
        about: "a connection is used again in the middle of an object",
        signs: &[
            Sign::Violated { oracle: "answers" },
            Sign::Violated { oracle: "replies" },
            Sign::Violated { oracle: "capacity" },
            Sign::Violated { oracle: "locks" },
        ],
    },
    KnownBug {
        name: "annex-B14",
        about: "a node that has more of an object than there is, is sent less than nothing",
        signs: &[Sign::Violated { oracle: "stored" }, Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B20",
        about: "who offers nothing, and says that it is not valid, is not answered",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B21",
        about: "where no node has an object, an error is said in place of it",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B22",
        about: "each piece of an upload is written twice",
        signs: &[
            Sign::Violated { oracle: "content" },
            Sign::Violated { oracle: "answers" },
            Sign::Violated { oracle: "stored" },
        ],
    },
    KnownBug {
        name: "annex-B24",
        about: "a connection that went stale while it was idle fails a request",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B27",
        about: "a gateway does not know what was stored through it",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "log" }],
    },
    KnownBug {
        name: "annex-L1",
        about: "a lock is dropped with its connection",
        signs: &[Sign::Violated { oracle: "locks" }],
    },
    KnownBug {
        name: "annex-L2",
        about: "of two connections that are given up at a time, one is forgotten",
        signs: &[Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L4",
        about: "a special remote that is asked what time it is says nothing",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L5",
        about: "an object that is not in a special remote is announced, and does not come",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L8",
        about: "only the first idle connection of a kind is counted",
        signs: &[Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L9",
        about: "a node that cannot be reached fails a request to all",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-L10",
        about: "where some have an object and the others fail, the request fails",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-L12",
        about: "a limit goes to nodes as it is, whatever their clocks show",
        signs: &[Sign::Violated { oracle: "stored" }, Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-L13",
        about: "without verdicts, a special remote stores bytes as they come",
        signs: &[Sign::Violated { oracle: "content" }, Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-L15",
        about: "a node that knows no verdicts is sent one, and waited for for one",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L17",
        about: "what a client forgot to say is complained of, and then the request is answered as well",
        signs: &[Sign::Violated { oracle: "replies" }, Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B1",
        about: "a worker whose object was delivered waits for a signal that nobody gives",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B10",
        about: "after an upload that broke off, the connection to the peer is neither used nor closed",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-B11",
        about: "an upload is not read to its end, on which its verdict waits",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B12",
        about: "a connection is closed before the last piece of an object is sent",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B15",
        about: "a request needs two workers, and takes them one after the other",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B16",
        about: "the end of an object is signalled twice, and nobody takes the second",
        signs: OUT_OF_WORKERS,
    },
    KnownBug { name: "annex-B17", about: "locks hold workers", signs: OUT_OF_WORKERS },
    KnownBug {
        name: "annex-B18",
        about: "a client that is too slow is cut off, and its worker is not told",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B26",
        about: "an upload that begins further on than is wanted keeps its worker",
        signs: OUT_OF_WORKERS,
    },
    KnownBug { name: "annex-L3", about: "a lock that fails keeps its permit", signs: OUT_OF_WORKERS },
    KnownBug {
        name: "annex-L7",
        about: "who waits for a peer is not told that it cannot be reached",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-L11",
        about: "who waits for an answer is not told that a request has failed",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-L14",
        about: "of a piece that is too long, nothing is kept",
        signs: &[Sign::Violated { oracle: "stored" }],
    },
    KnownBug {
        name: "annex-L16",
        about: "a version that is too new is called a bad request, and nobody asks for a lower one",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-L18",
        about: "to close a connection, a request that has a worker waits for another one",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B2",
        about: "who has sent an object waits for a word that nobody says, and takes the next request for it",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B3",
        about: "an object's file is closed when its first piece has been handed on",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B4",
        about: "that there is no room for a piece just now is taken for a failure",
        signs: &[Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B5",
        about: "who holds a lock is not woken when whoever kept it goes away without a word",
        signs: OUT_OF_WORKERS,
    },
    KnownBug {
        name: "annex-B6",
        about: "an upload's answer is waited for first, and what that waits for is closed after it",
        // What came last stays where it is, right or wrong: nobody says that it is over.
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "stored" }],
    },
    KnownBug {
        name: "annex-B7",
        about: "a connection is closed after each step of a request, and the next step makes another",
        signs: &[Sign::Violated { oracle: "connects" }],
    },
    KnownBug {
        name: "annex-B9",
        about: "a request may be busy with as many nodes as there are, times what it may",
        signs: &[Sign::Violated { oracle: "actions" }],
    },
    KnownBug {
        name: "annex-B13",
        about: "a piece of an upload is acknowledged before it is written",
        signs: &[Sign::Violated { oracle: "content" }, Sign::Violated { oracle: "answers" }],
    },
    KnownBug {
        name: "annex-B19",
        about: "an unlock goes to whichever connection there is",
        // The connection that has the lock is idle, and whoever uses it next ends the lock, or nobody does.
        signs: &[
            Sign::Violated { oracle: "capacity" },
            Sign::Violated { oracle: "locks" },
            Sign::Violated { oracle: "answers" },
        ],
    },
    KnownBug {
        name: "annex-B23",
        about: "to give one idle connection up, all are taken apart and put together again",
        signs: &[Sign::Violated { oracle: "work" }],
    },
    KnownBug {
        name: "annex-B25",
        about: "a node that knows no versions is spoken to in the one that its client speaks",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
    KnownBug {
        name: "annex-L6",
        about: "an upload that broke off is waited for before its connection is closed, by who gives connections out",
        signs: &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }],
    },
];

/// Nobody is left who could serve a request, or who does not serve keeps what it has.
const OUT_OF_WORKERS: &[Sign] =
    &[Sign::Violated { oracle: "answers" }, Sign::Violated { oracle: "capacity" }];
/// A request waits, and no fetch is under way: a lost wake-up.
const NOT_BEGUN: Sign = Sign::Hung { resource: "fetcher", held_by: WaitEnd::NOBODY };
/// A read ends with an error that nothing justifies.
const GAVE_UP: Sign = Sign::Violated { oracle: "progress" };
