//! Coverage marks: `reached!("name")` says that a run came by a place worth coming by.
//!
//! All marks are known at link time, so a mark that no run ever reaches can be reported.

use std::cell::RefCell;

use linkme::distributed_slice;

/// A place in the code that a run can reach.
#[derive(Debug)]
pub struct Mark {
    /// What happened there, in a few words; unique.
    pub name: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

/// Every mark of the linked program.
#[distributed_slice]
pub static MARKS: [Mark];

thread_local! {
    /// One bit for each mark, by its place in [`MARKS`].
    static REACHED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Mark {
    /// Notes that this thread came by.
    pub fn hit(&'static self) {
        if !cfg!(feature = "relapse") {
            return;
        }
        let index = (std::ptr::from_ref(self).addr() - MARKS.as_ptr().addr()) / size_of::<Mark>();
        REACHED.with_borrow_mut(|bits| {
            let word = index / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (index % 64);
        });
    }

    /// Takes what this thread has reached since the last call: one bit for each of [`MARKS`], in order.
    pub fn take_reached() -> Vec<u64> {
        REACHED.take()
    }
}

/// Marks a place that some run should reach: `reached!("fetcher: share became overdue")`.
#[macro_export]
macro_rules! reached {
    ($name:literal) => {{
        #[$crate::macros::linkme::distributed_slice($crate::MARKS)]
        #[linkme(crate = $crate::macros::linkme)]
        static MARK: $crate::Mark = $crate::Mark { name: $name, file: file!(), line: line!() };
        MARK.hit();
    }};
}
