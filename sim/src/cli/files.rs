//! Files that commands write. Nothing that exists is ever overwritten.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Failure, input};

/// A new file, or a complaint when there is one already.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            input(format!("{} exists already: name another file, or move it away", path.display()))
        }
        _ => input(format!("cannot create {}: {error}", path.display())),
    })
}

/// Reads a text file.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| input(format!("cannot read {}: {error}", path.display())))
}

/// How many files of one name are kept.
const MOST_OF_A_NAME: u32 = 1000;

/// Keeps a text in a folder, as `NAME.toml`, or `NAME-2.toml` and so on when that is taken by another text. Says
/// under which path.
pub(super) fn keep(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    for number in 1..=MOST_OF_A_NAME {
        let file = match number {
            1 => format!("{name}.toml"),
            number => format!("{name}-{number}.toml"),
        };
        let path = folder.join(file);
        match File::create_new(&path) {
            Ok(mut file) => return file.write_all(text.as_bytes()).map(|()| path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
                    return Ok(path);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("more than {MOST_OF_A_NAME} files of one name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = ["one", "two", "one", "three"]
            .map(|text| keep(&folder.path().join("new"), "case", text).unwrap())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
            .collect();
        assert_eq!(names, ["case.toml", "case-2.toml", "case.toml", "case-3.toml"]);
        assert_eq!(fs::read_to_string(folder.path().join("new/case.toml")).unwrap(), "one");
        assert!(create(&folder.path().join("new/case.toml")).is_err());
    }
}
