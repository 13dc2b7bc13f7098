//! Answers, and how a fault falsifies them: shorter, longer, or garbage of the right length.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::server::{ShareNumber, ShareReader};

use super::server::Inner;
use crate::trace::mix;

/// An answer that can be falsified.
pub(super) trait Answer: Send + Sized + 'static {
    /// How many bytes or shares.
    fn size(&self) -> usize;
    fn shorter(self, keep: u64) -> Self;
    fn longer(self, extra: u64, server: &Inner) -> Self;
    fn garbage(self, server: &Inner) -> Self;
}

impl Answer for () {
    fn size(&self) -> usize {
        0
    }

    fn shorter(self, _keep: u64) {}
    fn longer(self, _extra: u64, _server: &Inner) {}
    fn garbage(self, _server: &Inner) {}
}

impl Answer for Bytes {
    fn size(&self) -> usize {
        self.len()
    }

    fn shorter(self, keep: u64) -> Bytes {
        self.slice(..(keep as usize).min(self.len()))
    }

    fn longer(self, extra: u64, _server: &Inner) -> Bytes {
        let mut bytes = self.to_vec();
        bytes.resize(bytes.len() + extra as usize, 0xEE);
        bytes.into()
    }

    fn garbage(self, server: &Inner) -> Bytes {
        self.iter()
            .enumerate()
            .map(|(place, byte)| byte ^ (mix(server.seed, place as u64) as u8 | 1))
            .collect()
    }
}

pub(super) type Buckets = BTreeMap<ShareNumber, Arc<dyn ShareReader>>;

impl Answer for Buckets {
    fn size(&self) -> usize {
        self.len()
    }

    fn shorter(self, keep: u64) -> Buckets {
        self.into_iter().take(keep as usize).collect()
    }

    fn longer(mut self, extra: u64, server: &Inner) -> Buckets {
        for number in 0..extra.min(8) {
            let share = (mix(server.seed, number) % 300) as ShareNumber;
            self.entry(share).or_insert_with(|| server.reader(server.lock().epoch, share));
        }
        self
    }

    fn garbage(self, server: &Inner) -> Buckets {
        Buckets::new().longer(self.len() as u64, server)
    }
}
