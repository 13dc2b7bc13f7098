//! A file for looking: what is written to it stays in memory. So a database can be opened and nothing on the disk
//! changes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use runtime::files::File;

use crate::lock::lock;

const PAGE: usize = 4096;

/// A file, and what was written since.
pub(super) struct Overlay {
    base: Box<dyn File>,
    written: Mutex<Written>,
}

struct Written {
    length: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Overlay {
    pub fn new(base: Box<dyn File>) -> io::Result<Overlay> {
        let length = base.len()?;
        Ok(Overlay { base, written: Mutex::new(Written { length, pages: BTreeMap::new() }) })
    }

    /// A page as it is on the disk; zeros past the end.
    fn page(&self, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        self.base.read_full_at(number * PAGE as u64, &mut page[..])?;
        Ok(page)
    }
}

/// The pages that `length` bytes at `offset` lie in: their numbers, where in each, and how many bytes.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(length as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        let (number, start) = (at / PAGE as u64, (at % PAGE as u64) as usize);
        let count = ((PAGE - start) as u64).min(end - at) as usize;
        at += count as u64;
        (count > 0).then_some((number, start, count))
    })
}

impl File for Overlay {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let written = lock(&self.written);
        let length = (buffer.len() as u64).min(written.length.saturating_sub(offset)) as usize;
        let mut done = 0;
        for (number, start, count) in pages(offset, length) {
            let piece = &mut buffer[done..done + count];
            match written.pages.get(&number) {
                Some(page) => piece.copy_from_slice(&page[start..start + count]),
                None => piece.copy_from_slice(&self.page(number)?[start..start + count]),
            }
            done += count;
        }
        Ok(length)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = lock(&self.written);
        let mut done = 0;
        for (number, start, count) in pages(offset, bytes.len()) {
            let page = match written.pages.remove(&number) {
                Some(page) => page,
                None => self.page(number)?,
            };
            let page = written.pages.entry(number).or_insert(page);
            page[start..start + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        written.length = written.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        lock(&self.written).length = length;
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        self.base.lock()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
