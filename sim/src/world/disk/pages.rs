//! The bytes of a file: pages that several images of it share until one of them writes.

use std::sync::Arc;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Bytes, of which only what was written takes memory.
#[derive(Clone, Default)]
pub(super) struct Pages {
    /// What is missing, here or behind the end, is zeros. So is what lies behind `length` in the last page.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
    length: u64,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Reads up to `buffer.len()` bytes, and says how many.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = self.length.saturating_sub(offset);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        each_page(offset, &mut buffer[..count], |page, from, part| match self.pages.get(page) {
            Some(Some(bytes)) => part.copy_from_slice(&bytes[from..from + part.len()]),
            _ => part.fill(0),
        });
        count
    }

    /// Writes bytes, behind the end as well. They must end below 2^64.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        let (mut page, mut from) = place(offset);
        let mut left = bytes;
        while !left.is_empty() {
            let (part, rest) = left.split_at(left.len().min(PAGE - from));
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            match <&[u8; PAGE]>::try_from(part) {
                Ok(whole) => self.pages[page] = Some(Arc::new(*whole)),
                Err(_) => self.page_mut(page)[from..from + part.len()].copy_from_slice(part),
            }
            (page, from, left) = (page + 1, 0, rest);
        }
    }

    /// Cuts, or extends with zeros.
    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            let (page, from) = place(length);
            self.pages.truncate(if from == 0 { page } else { page + 1 });
            if from > 0 && self.pages.get(page).is_some_and(Option::is_some) {
                self.page_mut(page)[from..].fill(0);
            }
        }
        self.length = length;
    }

    /// Flips a bit; behind the end there is none.
    pub(super) fn flip(&mut self, at: u64, bit: u8) {
        let (page, from) = place(at);
        if at < self.length {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            self.page_mut(page)[from] ^= 1 << (bit % 8);
        }
    }

    /// Makes one page what it is in another image.
    pub(super) fn take_page(&mut self, page: usize, other: &Pages) {
        let theirs = other.pages.get(page).cloned().flatten();
        if theirs.is_some() && self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        if let Some(mine) = self.pages.get_mut(page) {
            *mine = theirs;
        }
    }

    fn page_mut(&mut self, page: usize) -> &mut [u8; PAGE] {
        Arc::make_mut(self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE])))
    }
}

/// Which page a byte is in, and where in it.
pub(super) fn place(offset: u64) -> (usize, usize) {
    ((offset / PAGE as u64) as usize, (offset % PAGE as u64) as usize)
}

fn each_page(offset: u64, mut buffer: &mut [u8], mut each: impl FnMut(usize, usize, &mut [u8])) {
    let (mut page, mut from) = place(offset);
    while !buffer.is_empty() {
        let (part, rest) = buffer.split_at_mut(buffer.len().min(PAGE - from));
        each(page, from, part);
        (page, from, buffer) = (page + 1, 0, rest);
    }
}
