//! What a file system says when a file is to be locked.

use std::io;
use std::path::Path;

/// Whether the file could be taken; false when somebody else has it.
pub fn if_free(path: &Path, taken: io::Result<()>) -> io::Result<bool> {
    match taken {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        taken => must(path, taken).map(|()| true),
    }
}

/// The file must be taken. Not every file system can do that, and there nobody can know what other processes do.
pub fn must(path: &Path, taken: io::Result<()>) -> io::Result<()> {
    let why = |error: io::Error| {
        let text = format!("cannot lock {}, as other processes have to know: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    taken.map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::ErrorKind::{Unsupported, WouldBlock};

    #[test]
    fn a_file_system_that_knows_no_locks_is_told_of() {
        let path = Path::new("retention/.turn");
        assert!(if_free(path, Ok(())).unwrap());
        assert!(!if_free(path, Err(WouldBlock.into())).unwrap());
        for error in [
            if_free(path, Err(Unsupported.into())).unwrap_err(),
            must(path, Err(Unsupported.into())).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Unsupported);
            assert!(
                error.to_string().starts_with("cannot lock retention/.turn, as other processes have to know")
            );
        }
    }
}
