//! Who has a file: one handle alone, or several that share it. As with the real thing, what a handle has ends with it, and with
//! the life in which it was taken; and who fails to take a file in another way has it no more.

use std::io::{self, ErrorKind};

/// A handle, in a life of the disk's actor.
pub(super) type Handle = (u32, u64);

/// Who has a file.
#[derive(Default)]
pub(super) struct Holds {
    handles: Vec<Handle>,
    shared: bool,
}

impl Holds {
    /// A handle takes the file, alone or as one of several.
    pub(super) fn take(&mut self, handle: Handle, shared: bool) -> io::Result<()> {
        // Of other lives nothing is left.
        self.handles.retain(|other| other.0 == handle.0 && *other != handle);
        if !(self.handles.is_empty() || self.shared && shared) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.handles.push(handle);
        self.shared = shared;
        Ok(())
    }

    /// A handle gives back what it has.
    pub(super) fn give_back(&mut self, handle: Handle) {
        self.handles.retain(|other| *other != handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_handle_s_alone_or_shared_in_one_life() {
        let mut holds = Holds::default();
        let mut take = |life, handle, shared| holds.take((life, handle), shared).is_ok();
        assert!(take(0, 1, true) && take(0, 2, true));
        assert!(!take(0, 3, false), "it is shared");
        assert!(!take(0, 1, false), "as long as another one has it");
        assert!(take(0, 2, false), "and who failed to take it alone has it no more");
        assert!(!take(0, 1, true) && !take(0, 3, false));
        assert!(take(0, 2, true) && take(0, 1, true));
        assert!(take(1, 4, false), "in the next life nobody has it");
        holds.give_back((1, 4));
        assert!(holds.take((1, 5), false).is_ok());
    }
}
