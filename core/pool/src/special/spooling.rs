//! An object on its way into a special remote: spooled to a file of its own and hashed meanwhile, and stored only when it
//! is right. Whatever becomes of the upload, the file goes.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::files::{File, Files};
use runtime::{reached, relapse};

use super::spools::{Counted, Spools};
use super::{Shared, Special, leftovers};
use crate::key::Key;
use crate::peer::{Outcome, PeerError, Upload, Verdict};
use crate::repository::taking::{Place, Taking};
use crate::version::Version;

/// An upload in progress.
pub struct Spooling {
    special: Special,
    version: Version,
    key: Key,
    taking: Taking<Spool>,
}

/// The file of an upload, until nobody writes there any more.
struct Spool {
    file: Box<dyn File>,
    path: PathBuf,
    special: Special,
    counted: Option<Counted>,
}

impl Place for Spool {
    fn file(&self) -> &dyn File {
        &*self.file
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let (runtime, path, counted) =
            (&self.special.0.runtime, std::mem::take(&mut self.path), self.counted.take());
        let files = runtime.files();
        runtime.start_blocking("remove spool", move || {
            // It is not there when it has become the object. Where the disk fails, it stays.
            let _ = files.remove_file(&path);
            drop(counted);
        });
    }
}

impl Spooling {
    pub(super) async fn begin(
        special: Special,
        version: Version,
        among: [Spools; 2],
        key: &Key,
    ) -> Result<Spooling, PeerError> {
        let name = special.0.runtime.entropy();
        let of = special.clone();
        let opening = move |shared: &Shared, files: &dyn Files| {
            shared.must_be_there(files)?;
            if !shared.tidied.swap(true, Ordering::Relaxed) {
                leftovers::remove(&shared.layout, files);
            }
            let (path, file) = leftovers::make(&shared.layout, files, &name)?;
            Ok(Spool { file, path, special: of, counted: Some(Counted::new(among)) })
        };
        let spool = special.job("open spool", opening).await?;
        let taking = Taking::new(special.0.runtime.clone(), key, spool, 0);
        Ok(Spooling { special, version, key: key.clone(), taking })
    }

    /// Whether what has come is stored, given what its sender says of it, and whether the key says so, if it does.
    fn is_right(&self, verdict: Verdict, matches: Option<bool>) -> bool {
        match (verdict, matches) {
            _ if relapse!("annex-L13") && !self.version.has_plus() => true,
            (Verdict::Invalid, _) => false,
            (_, matches) => matches.unwrap_or(true),
        }
    }
}

#[async_trait]
impl Upload for Spooling {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.taking.announce(length);
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.taking.take(piece).await
    }

    async fn finish(mut self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let matches = self.taking.finish().await?;
        if !self.is_right(verdict, matches) {
            reached!("special: an upload of wrong bytes is not stored");
            return Ok(Outcome::of(false));
        }
        let (key, spool) = (self.key.clone(), self.taking.place().clone());
        let storing = move |shared: &Shared, files: &dyn Files| {
            spool.file.sync_data()?;
            let _changing = shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let directories = shared.layout.publish(files, &spool.path, &key)?;
            let stamp = spool.file.stamp()?;
            directories.iter().try_for_each(|directory| files.sync_dir(directory))?;
            shared.kept.note(&key, stamp);
            Ok(())
        };
        self.special.job("end upload", storing).await?;
        Ok(Outcome::of(true))
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        let key = self.key.clone();
        let there = self.special.job("look for object", move |shared, files| shared.holds(files, &key));
        Ok(Outcome::of(there.await?))
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}
