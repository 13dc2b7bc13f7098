//! What a client asks about immutable shares: which there are, what they hold, their leases, and advice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::server::{ServerError, ShareNumber, ShareReader, StorageServer};
use storage::share::ShareId;

use super::{Ended, StorageClient, renew_secret};
use crate::storage::oracle;
use crate::storage::workload::{SLOTS, Step, index_of};

impl StorageClient {
    /// Asks for the immutable shares of a file.
    pub(super) async fn list(
        &mut self,
        step: &Step,
    ) -> Option<(u64, BTreeMap<ShareNumber, Arc<dyn ShareReader>>)> {
        let index = index_of(step.file);
        let before = self.rows(step.file).await;
        let begun = self.stage.script.now();
        let question = self.ask(step.file);
        let answer = self.stage.call(self.number, "list", None, move |life| {
            Box::pin(
                async move { life.server.get_buckets(index).await.map(|readers| (life.number, readers)) },
            )
        });
        let answer = answer.await;
        let shares = self.asked(question);
        let (life, readers) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                if !SLOTS.contains(&step.file) {
                    self.judge_error(&error, begun);
                }
                return Some((0, BTreeMap::new()));
            }
            Err(_) => return None,
        };
        let told: BTreeSet<_> = readers.keys().copied().collect();
        tracing::debug!(target: "client", file = step.file, "is told of {told:?}");
        if !SLOTS.contains(&step.file) {
            self.judge("kept", oracle::kept::check_told(&told, &shares));
        }
        let after = self.rows(step.file).await;
        self.judge("visible", oracle::visible::check_visible(&told, &before, &after));
        self.noticed(life, step.file, &told);
        Some((life, readers))
    }

    /// The server, in this life of it, has told of shares that somebody had copied in: they have leases now.
    pub(super) fn noticed(&self, life: u64, file: u64, told: &BTreeSet<ShareNumber>) {
        if self.stage.life().is_none_or(|present| present.number != life) {
            // It may have lost its database since.
            return;
        }
        let mut model = self.stage.model();
        for share in told {
            let id = ShareId { index: index_of(file), share: *share };
            if model.unnoticed.remove(&id) && !model.is_wild(id) {
                model.shares.was_seen(id);
            }
        }
    }

    pub(super) async fn read(&mut self, step: &Step) -> Ended {
        let Some((life, readers)) = self.list(step).await else { return Ended::Unknown };
        for share in &step.shares {
            let Some(reader) = readers.get(share).cloned() else { continue };
            let (offset, length) = (step.offset, step.length);
            let question = self.ask(step.file);
            let begun = self.stage.script.now();
            let answer = self.stage.call(self.number, "read", Some(life), move |_| {
                Box::pin(async move { reader.read(offset, length).await })
            });
            let answer = answer.await;
            let known = self.asked(question).remove(share).unwrap_or_default();
            match answer {
                Ok(Ok(bytes)) => {
                    self.judge("kept", oracle::kept::check_read(&known, offset, length, Some(&bytes)));
                }
                Ok(Err(ServerError::NoSuchShare)) => {
                    self.judge("kept", oracle::kept::check_read(&known, offset, length, None));
                }
                Ok(Err(error)) if !known.wild => self.judge_error(&error, begun),
                Ok(Err(_)) => {}
                Err(_) => return Ended::Unknown,
            }
        }
        Ended::Answered
    }

    pub(super) async fn advise(&mut self, step: &Step) -> Ended {
        let Some((life, readers)) = self.list(step).await else { return Ended::Unknown };
        let Some((_, reader)) = readers.into_iter().next() else { return Ended::Answered };
        let begun = self.stage.script.now();
        let answer = self.stage.call(self.number, "advise", Some(life), move |_| {
            Box::pin(async move { reader.advise_corrupt_share("a block hash does not match").await })
        });
        match answer.await {
            Ok(Err(error)) if error != ServerError::NoSuchShare => self.judge_error(&error, begun),
            Ok(_) => {}
            Err(_) => return Ended::Unknown,
        }
        Ended::Answered
    }

    pub(super) async fn renew(&mut self, step: &Step) -> Ended {
        let (index, secret) = (index_of(step.file), renew_secret(self.number));
        let certain = |client: &Self| -> BTreeSet<ShareId> {
            let model = client.stage.model();
            model.ids().into_iter().filter(|id| id.index == index && model.is_certain(*id)).collect()
        };
        let begun = self.stage.script.now();
        let asked = self.stage.asks();
        let (before, question) = (certain(self), self.ask(step.file));
        let answer = self.stage.call(self.number, "add lease", None, move |life| {
            Box::pin(async move { life.server.add_lease(index, secret, secret).await })
        });
        let answer = answer.await;
        let asked = self.stage.since(asked);
        let shares = self.asked(question);
        let after = certain(self);
        match answer {
            Ok(Ok(())) => {
                let mut model = self.stage.model();
                for id in before.intersection(&after) {
                    model.leases.renewed(*id, asked);
                }
                // Success means that there was a share; when only one comes into question, it was that one.
                let mut possible = shares.iter().filter(|(_, share)| share.wild || !share.may.is_empty());
                if let (Some((share, state)), None) = (possible.next(), possible.next())
                    && !state.wild
                {
                    let id = ShareId { index, share: *share };
                    model.leases.renewed(id, asked);
                    model.shares.was_seen(id);
                }
            }
            Ok(Err(ServerError::NoSuchShare)) => {
                if let Some(id) = before.intersection(&after).next() {
                    let detail =
                        format!("a lease on share {id} was asked for, and there is none, it was answered");
                    self.judge("kept", Err(detail));
                }
            }
            Ok(Err(error)) => self.judge_error(&error, begun),
            Err(_) => return Ended::Unknown,
        }
        self.stage.check_file(index).await;
        Ended::Answered
    }
}
