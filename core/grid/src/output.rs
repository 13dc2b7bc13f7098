//! Where a download goes: standard output, or a file that appears when it is complete.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::outcome::Failure;

/// Where the bytes go.
pub enum Output {
    Stdout(io::Stdout),
    /// A sibling of `path` that takes its place at the end.
    File {
        path: PathBuf,
        sibling: NamedTempFile,
        force: bool,
    },
}

impl Output {
    /// Standard output, or a new file at `path`. An existing file is replaced with `force` only.
    pub fn open(path: Option<&Path>, force: bool) -> Result<Output, Failure> {
        let Some(path) = path else { return Ok(Output::Stdout(io::stdout())) };
        match fs::symlink_metadata(path) {
            Ok(_) if !force => {
                return Err(Failure::Usage(format!("{} exists: --force replaces it", path.display())));
            }
            Ok(existing) if !existing.is_file() => {
                return Err(Failure::Usage(format!(
                    "{} is no regular file and is not replaced",
                    path.display()
                )));
            }
            _ => {}
        }
        let sibling = tempfile::Builder::new()
            .prefix(".grid-")
            .suffix(".part")
            .permissions(usual())
            .tempfile_in(directory(path));
        let sibling = sibling.map_err(Failure::usage(format!("cannot write next to {}", path.display())))?;
        Ok(Output::File { path: path.to_owned(), sibling, force })
    }

    /// Writes what comes next.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Output::Stdout(stdout) => {
                stdout.write_all(bytes).map_err(Failure::failed("cannot write to standard output"))
            }
            Output::File { path, sibling, .. } => {
                sibling.write_all(bytes).map_err(Failure::failed(format!("cannot write {}", path.display())))
            }
        }
    }

    /// All is written: makes it durable, and gives it its name.
    pub fn complete(self) -> Result<(), Failure> {
        match self {
            Output::Stdout(mut stdout) => {
                stdout.flush().map_err(Failure::failed("cannot write to standard output"))
            }
            Output::File { path, sibling, force } => {
                let finish = || -> io::Result<()> {
                    sibling.as_file().sync_all()?;
                    if force {
                        sibling.persist(&path)?;
                    } else {
                        sibling.persist_noclobber(&path)?;
                    }
                    fs::File::open(directory(&path))?.sync_all()
                };
                finish().map_err(Failure::failed(format!("cannot write {}", path.display())))
            }
        }
    }
}

/// The directory that `path` names an entry of.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The permissions that any new file gets; the user's mask applies.
fn usual() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
