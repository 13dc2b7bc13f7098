//! What processes that died have left of uploads. The file of an upload is locked for as long as its process has it open: one
//! that can be locked belongs to nobody, and goes.

use std::io;
use std::path::{Path, PathBuf};

use runtime::files::{File, FileKind, Files, OpenMode};
use runtime::reached;

use crate::repository::if_there;
use crate::repository::layout::Layout;

/// What the names of our files begin with, before digits that nobody else has.
const PREFIX: &str = "grid-";
const DIGITS: usize = 32;

/// How often another file is made in place of one that somebody took for left over.
const TRIES: u32 = 3;

/// Makes the file of an upload. Called in jobs.
pub fn make(layout: &Layout, files: &dyn Files, name: &[u8; 16]) -> io::Result<(PathBuf, Box<dyn File>)> {
    files.create_dir_all(&layout.spools())?;
    let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    for again in 0..TRIES {
        let path = layout.spools().join(format!("{PREFIX}{digits}-{again}"));
        let file = files.open(&path, OpenMode::CreateNew)?;
        let taken = match file.lock() {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(()) => if_there(files.kind(&path))?.is_none(),
        };
        // Where nothing can be locked, nobody takes anything for left over.
        if !taken {
            return Ok((path, file));
        }
        // Who takes it for left over removes it.
    }
    Err(io::Error::other("somebody removes the files of uploads"))
}

/// Removes what is left over, as far as that can be done. Called in jobs.
pub fn remove(layout: &Layout, files: &dyn Files) {
    for name in files.list(&layout.spools()).unwrap_or_default().into_iter().filter(|name| is_ours(name)) {
        let path = layout.spools().join(name);
        if !matches!(files.kind(&path), Ok(FileKind::File)) {
            continue;
        }
        if let Ok(file) = files.open(&path, OpenMode::Write)
            && file.lock().is_ok()
        {
            reached!("special: something was left over");
            // What cannot be removed stays.
            let _ = files.remove_file(&path);
        }
    }
}

fn is_ours(name: &Path) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { return false };
    let (digits, again) = rest.split_once('-').unwrap_or((rest, "0"));
    let are_digits = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits && again.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::real::RealWorld;

    #[test]
    fn only_what_is_left_by_us_goes() {
        let root = tempfile::tempdir().unwrap();
        let tmp = root.path().join("tmp");
        let (layout, files) = (Layout::new(root.path()), RealWorld::runtime().files());
        remove(&layout, &*files);
        let (path, alive) = make(&layout, &*files, &[7; 16]).unwrap();
        let digits = "0123456789abcdef0123456789abcdef";
        let left = [format!("grid-{digits}"), format!("grid-{digits}-1")];
        let others = [
            "grid-",
            "grid-x",
            "SHA256--a",
            "notes",
            &format!("grid-{digits}x"),
            &format!("grid-{digits}-x"),
        ];
        for name in left.iter().map(String::as_str).chain(others) {
            std::fs::write(tmp.join(name), "x").unwrap();
        }
        let directory = tmp.join(format!("grid-{}", digits.replace('0', "f")));
        std::fs::create_dir(&directory).unwrap();
        remove(&layout, &*files);
        assert!(left.iter().all(|name| !tmp.join(name).exists()));
        assert!(others.iter().all(|name| tmp.join(name).exists()) && directory.exists());
        assert!(path.exists(), "somebody has it open");
        drop(alive);
        remove(&layout, &*files);
        assert!(!path.exists());
    }
}
