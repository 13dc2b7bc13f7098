//! Known bugs that can be put back, to test the harness: `if relapse!("tahoe-B1") { … }`.
//!
//! Without the crate's `relapse` feature the macro is the constant `false`. With it, a run arms the
//! bugs it wants for its own thread, and all others stay mended.

use std::cell::RefCell;

use linkme::distributed_slice;

/// A place where a known bug can be put back.
#[derive(Debug)]
pub struct Relapse {
    /// The bug's name: the dossier and its number there, as in `tahoe-B1`.
    pub name: &'static str,
}

/// Every relapse of the linked program.
#[distributed_slice]
pub static RELAPSES: [Relapse];

thread_local! {
    static ARMED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Puts these bugs back, on this thread, until the next call; an empty list mends all.
pub fn arm_relapses(names: Vec<String>) {
    ARMED.set(names);
}

/// Whether the bug is put back in this run. Called by [`relapse!`](crate::relapse!).
#[inline]
pub fn relapse_armed(name: &str) -> bool {
    cfg!(feature = "relapse") && ARMED.with_borrow(|armed| armed.iter().any(|armed| armed == name))
}

/// True in a run that has put the named bug back.
#[macro_export]
macro_rules! relapse {
    ($name:literal) => {{
        #[$crate::macros::linkme::distributed_slice($crate::RELAPSES)]
        #[linkme(crate = $crate::macros::linkme)]
        static RELAPSE: $crate::Relapse = $crate::Relapse { name: $name };
        $crate::relapse_armed($name)
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relapse_needs_the_feature_and_the_run() {
        let planted = || relapse!("runtime-test");
        assert!(!planted());
        arm_relapses(vec!["runtime-test".into()]);
        assert_eq!(planted(), cfg!(feature = "relapse"));
        arm_relapses(Vec::new());
        assert!(!planted());
        assert!(RELAPSES.iter().any(|relapse| relapse.name == "runtime-test"));
    }
}
