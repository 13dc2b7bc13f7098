//! An object on its way to several nodes (annex-p2p §8.4). Each may have some of it from an earlier attempt; the client
//! sends from the least offset on, and each node gets what it lacks.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::stream::{self, StreamExt};
use runtime::{reached, relapse};

use super::located::{News, record_all};
use super::{Member, Settings};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Offer, Outcome, PeerError, Upload, Verdict};
use crate::uuid::Uuid;

/// An upload to several nodes.
pub struct Fanout<'a> {
    settings: Settings,
    key: Key,
    /// Those that have not failed.
    nodes: Vec<Receiver<'a>>,
    /// Where the client's next byte belongs.
    at: u64,
    /// Bytes of the object, when that is known.
    total: u64,
}

/// A node that takes the object.
struct Receiver<'a> {
    uuid: Uuid,
    offset: u64,
    upload: Box<dyn Upload + 'a>,
}

impl<'a> Fanout<'a> {
    /// Offers the object to these nodes.
    ///
    /// # Errors
    /// No node wants it, and none has it.
    pub(super) async fn offer(
        settings: &Settings,
        members: Vec<&'a mut Member>,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Offer<'a>, PeerError> {
        let mut asked: Vec<BoxFuture<'_, (Uuid, Result<Offer<'a>, PeerError>)>> = Vec::new();
        for member in members {
            asked.push(Box::pin(async move {
                let uuid = member.uuid().clone();
                let offer = match member.tell().await {
                    Ok(()) => member.peer.put(file, key).await,
                    Err(error) => Err(error),
                };
                (uuid, offer)
            }));
        }
        let at_a_time = settings.at_a_time(asked.len());
        let mut offers: Vec<_> = stream::iter(asked).buffer_unordered(at_a_time).collect().await;
        offers.sort_by(|(one, _), (other, _)| one.cmp(other));
        let (mut nodes, mut have, mut trouble) = (Vec::new(), BTreeSet::new(), None);
        for (uuid, offer) in offers {
            match offer {
                Ok(Offer::From(offset, upload)) => nodes.push(Receiver { uuid, offset, upload }),
                Ok(Offer::AlreadyHave(also)) => {
                    have.extend(also);
                    have.extend(Some(uuid).filter(|uuid| !uuid.is_cluster()));
                }
                Err(error @ PeerError::Unreachable { .. }) if relapse!("annex-L9") => return Err(error),
                Err(error) => {
                    reached!("cluster: a node does not take an object");
                    tracing::info!(node = %uuid, %error, "a node does not take an object");
                    trouble.get_or_insert(error);
                }
            }
        }
        record_all(&*settings.located, key, &have, News::Present).await?;
        let Some(least) = nodes.iter().map(|node| node.offset).min() else {
            return match (have.is_empty(), trouble) {
                (false, Some(error)) if relapse!("annex-L10") => Err(error),
                (false, _) => Ok(Offer::AlreadyHave(have)),
                (true, Some(error)) => Err(PeerError::Refused(format!("no node takes the object: {error}"))),
                (true, None) => Err(PeerError::Refused("the cluster has no nodes".into())),
            };
        };
        let fanout =
            Fanout { settings: settings.clone(), key: key.clone(), nodes, at: least, total: u64::MAX };
        Ok(Offer::From(least, Box::new(fanout)))
    }

    /// Has each node do something, and drops those that fail. An error when none is left.
    async fn each(
        &mut self,
        step: impl for<'b> Fn(&'b mut Receiver<'a>) -> BoxFuture<'b, Result<(), PeerError>> + Sync,
    ) -> Result<(), PeerError> {
        let mut results = join_all(self.nodes.iter_mut().map(step)).await.into_iter();
        let mut last = None;
        self.nodes.retain(|node| match results.next() {
            Some(Err(error)) => {
                reached!("cluster: a node is lost in the midst of an upload");
                tracing::info!(node = %node.uuid, %error, "a node is lost in the midst of an upload");
                last = Some(error);
                false
            }
            _ => true,
        });
        match last {
            Some(error) if self.nodes.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends each node's part, so many at a time, and tells what came of it: done when one node has the object.
    async fn end(
        self,
        finish: impl Fn(Receiver<'a>) -> BoxFuture<'a, Result<Outcome, PeerError>>,
    ) -> Result<Outcome, PeerError> {
        let Fanout { settings, key, nodes, .. } = self;
        let at_a_time = settings.at_a_time(nodes.len());
        let mut ends: Vec<BoxFuture<'a, (Uuid, Result<Outcome, PeerError>)>> = Vec::new();
        for node in nodes {
            let (uuid, finished) = (node.uuid.clone(), finish(node));
            ends.push(Box::pin(async move { (uuid, finished.await) }));
        }
        let mut ended: Vec<_> = stream::iter(ends).buffer_unordered(at_a_time).collect().await;
        ended.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut outcome = Outcome::of(false);
        for (uuid, ended) in ended {
            if let Ok(Outcome { done: true, also }) = ended {
                outcome.done = true;
                outcome.also.extend(also);
                outcome.also.extend(Some(uuid).filter(|uuid| !uuid.is_cluster()));
            }
        }
        record_all(&*settings.located, &key, &outcome.also, News::Present).await?;
        Ok(outcome)
    }
}

#[async_trait]
impl Upload for Fanout<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        let total = self.at.saturating_add(length);
        self.total = total;
        self.each(move |node| {
            // One that has more than all of it gets nothing, not less than that.
            let lacks = match relapse!("annex-B14") {
                true => total.wrapping_sub(node.offset),
                false => total.saturating_sub(node.offset),
            };
            Box::pin(async move { node.upload.begin(lacks).await })
        })
        .await
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        let at = self.at;
        self.at += piece.len() as u64;
        self.each(move |node| {
            let has = node.offset.saturating_sub(at).min(piece.len() as u64) as usize;
            let lacks = piece.slice(has..);
            Box::pin(async move { if lacks.is_empty() { Ok(()) } else { node.upload.write(lacks).await } })
        })
        .await
    }

    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let total = self.total;
        self.end(move |node| {
            // What a node has more than there is, is something else: nothing that came makes it the object.
            let verdict = if node.offset > total { Verdict::Invalid } else { verdict };
            Box::pin(node.upload.finish(verdict))
        })
        .await
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        self.end(|node| Box::pin(node.upload.is_present())).await
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        // Whoever has gone has nothing to be told.
        let at_a_time = self.settings.at_a_time(self.nodes.len());
        let mut told: Vec<BoxFuture<'_, _>> = Vec::new();
        for node in self.nodes {
            told.push(node.upload.withdraw());
        }
        stream::iter(told).buffer_unordered(at_a_time).for_each(|_| async {}).await;
        Ok(())
    }
}
