//! Memory for small shares on their way in: so much and no more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use runtime::files::File;

use crate::lock::lock;

/// Bytes of it, all in all.
const ALL: u64 = 32 << 20;

/// What of it is taken. Clones are the same.
#[derive(Clone)]
pub(super) struct Memory {
    /// A larger share is not small.
    small: u64,
    taken: Arc<AtomicU64>,
}

/// A file in memory. Clones are the same file.
#[derive(Clone)]
pub(super) struct MemoryFile(Arc<Inner>);

struct Inner {
    bytes: Mutex<Vec<u8>>,
    size: u64,
    taken: Arc<AtomicU64>,
}

impl Memory {
    /// For shares of up to `small` bytes.
    pub fn new(small: u64) -> Memory {
        Memory { small, taken: Arc::default() }
    }

    /// A file that will have `size` bytes, if that is small and there is still memory for it.
    pub fn file(&self, size: u64) -> Option<MemoryFile> {
        let fits = |taken: u64| taken.checked_add(size).filter(|taken| size <= self.small && *taken <= ALL);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        let bytes = Mutex::new(Vec::with_capacity(size as usize));
        Some(MemoryFile(Arc::new(Inner { bytes, size, taken: self.taken.clone() })))
    }
}

impl MemoryFile {
    /// Gives its bytes away.
    pub fn into_bytes(self) -> Bytes {
        std::mem::take(&mut *lock(&self.0.bytes)).into()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = lock(&self.0.bytes);
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(written.len() as u64).filter(|end| *end <= self.0.size);
        let end = end.ok_or(io::ErrorKind::StorageFull)? as usize;
        let mut bytes = lock(&self.0.bytes);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(written);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0.bytes).len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length =
            Some(length).filter(|length| *length <= self.0.size).ok_or(io::ErrorKind::StorageFull)?;
        lock(&self.0.bytes).resize(length as usize, 0);
        Ok(())
    }

    /// Nobody else can have it.
    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    /// It is as durable as it can be.
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_file_as_others_are() {
        let file = Memory::new(10).file(10).unwrap();
        file.write_all_at(3, b"late").unwrap();
        let mut read = [9; 10];
        assert_eq!((file.read_full_at(0, &mut read).unwrap(), &read[..7]), (7, &b"\0\0\0late"[..]));
        assert_eq!((file.read_at(7, &mut read).unwrap(), file.read_at(u64::MAX, &mut read).unwrap()), (0, 0));
        file.set_len(10).unwrap();
        file.write_all_at(0, b"now").unwrap();
        for (offset, bytes) in [(10, &b"x"[..]), (9, b"xy"), (u64::MAX, b"x")] {
            assert_eq!(file.write_all_at(offset, bytes).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert!(file.set_len(11).is_err());
        assert_eq!((file.len().unwrap(), file.into_bytes()), (10, Bytes::from_static(b"nowlate\0\0\0")));
    }

    #[test]
    fn there_is_so_much_and_what_is_given_back_can_be_taken_again() {
        let memory = Memory::new(ALL);
        assert!(Memory::new(9).file(10).is_none(), "not small");
        let most = memory.file(ALL - 10).unwrap();
        let rest = memory.file(10).unwrap();
        assert!(memory.file(1).is_none());
        drop(rest.clone());
        assert!(memory.file(1).is_none(), "a clone is the same file");
        drop(rest);
        assert!(memory.file(11).is_none() && memory.file(10).is_some());
        drop(most);
        assert!(memory.file(ALL).is_some());
    }
}
