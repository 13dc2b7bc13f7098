//! The `wait` and `hold` spans: what explains a hang must say who waits for what, and who has it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod grid;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use client::{Node, Read};
use grid::{Grid, Manner, Setup, seconds, settle};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Notes which spans are open.
#[derive(Clone, Default)]
struct OpenSpans {
    spans: Arc<Mutex<(u64, BTreeMap<u64, String>)>>,
}

impl OpenSpans {
    /// All that are open, sorted: `wait segment node=0 segment=2`.
    fn list(&self) -> Vec<String> {
        let mut list: Vec<_> = self.spans.lock().unwrap().1.values().cloned().collect();
        list.sort();
        list
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {}={value}", field.name()).unwrap();
    }
}

impl Subscriber for OpenSpans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        let mut text = format!("{} {}", metadata.target(), metadata.name());
        span.record(&mut Fields(&mut text));
        let mut spans = self.spans.lock().unwrap();
        spans.0 += 1;
        let id = spans.0;
        spans.1.insert(id, text);
        Id::from_u64(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.spans.lock().unwrap().1.remove(&id.into_u64());
        true
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs the case with some bugs put back, its spans noted.
async fn with<F: Future>(bugs: &[&str], case: impl FnOnce(OpenSpans) -> F) -> F::Output {
    let spans = OpenSpans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    runtime::arm_relapses(bugs.iter().map(|&bug| bug.to_owned()).collect());
    let output = case(spans).await;
    runtime::arm_relapses(Vec::new());
    output
}

/// Waits for the read for a long time, in vain; then says which spans are open meanwhile.
async fn hung(mut read: Read, spans: &OpenSpans) -> Vec<String> {
    let next = read.next();
    let mut next = std::pin::pin!(next);
    let waited = tokio::time::timeout(seconds(100_000), next.as_mut()).await;
    assert!(waited.is_err(), "this was to hang");
    spans.list()
}

async fn first_fails(grid: &Grid, node: &Node) -> Read {
    let mut second = node.read(140, Some(20));
    let first = node.read(0, Some(20)).collect();
    let (first, ()) = futures::join!(first, async {
        assert!(futures::poll!(std::pin::pin!(second.next())).is_pending());
        settle().await;
    });
    first.unwrap_err();
    let _ = grid;
    second
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_open() {
    with(&[], |spans| async move {
        let grid = Setup::default().build();
        let node = grid.node();
        node.read(0, None).collect().await.unwrap();
        settle().await;
        assert_eq!(spans.list(), [""; 0], "an idle node");
        grid.share(0).reads.set(Manner::Hang);
        let mut read = node.read(0, None);
        assert!(futures::poll!(std::pin::pin!(read.next())).is_pending());
        settle().await;
        assert_ne!(spans.list(), [""; 0]);
        drop((read, node));
        settle().await;
        assert_eq!(spans.list(), [""; 0], "a dropped node");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_search_is_explained() {
    with(&[], |spans| async move {
        let grid = Setup::default().servers(2).build();
        grid.servers[1].queries.set(Manner::Hang);
        let node = grid.node();
        let mut read = node.read(0, None);
        assert!(futures::poll!(std::pin::pin!(read.next())).is_pending());
        settle().await;
        let next = read.next();
        let mut next = std::pin::pin!(next);
        assert!(futures::poll!(next.as_mut()).is_pending());
        let expected = [
            "hold dyhb node=0 server=s1",
            "hold fetcher node=0",
            "hold segment node=0 segment=0",
            "hold shares node=0",
            "wait dyhb node=0 server=s1",
            "wait segment node=0 segment=0",
            "wait shares node=0",
        ];
        let without_block = |span: &String| !span.contains("block");
        let list: Vec<_> = spans.list().into_iter().filter(without_block).collect();
        assert_eq!(list, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hangs_are_explained() {
    // B1: a request waits for a fetch, which nobody makes.
    let lost = ["hold segment node=0 segment=2", "wait fetcher node=0", "wait segment node=0 segment=2"];
    with(&["tahoe-B1"], |spans| async move {
        let grid = Setup::segments_of(60).guess(60).build();
        (0..10).for_each(|i| grid.share(i).edit(|bytes| bytes[36] ^= 1));
        let node = grid.node();
        let second = first_fails(&grid, &node).await;
        assert_eq!(hung(second, &spans).await, lost);
    })
    .await;
    // B14: a request waits for a fetch, which a dead one keeps from being made.
    with(&["tahoe-B14"], |spans| async move {
        let mut grid = Setup::segments_of(60).guess(60).build();
        grid.poison_segment(0);
        let node = grid.node();
        let second = first_fails(&grid, &node).await;
        let mut expected = lost.to_vec();
        expected.insert(0, "hold fetcher node=0");
        assert_eq!(hung(second, &spans).await, expected);
    })
    .await;
    // B3: the request is still there, and its fetch is gone.
    with(&["tahoe-B3"], |spans| async move {
        let grid = Setup::segments_of(60).guess(60).build();
        let node = grid.node();
        node.read(0, None).collect().await.unwrap();
        (0..10).for_each(|i| grid.share(i).reads.set(Manner::Late(5)));
        let mut second = node.read(140, Some(20));
        let first = node.read(0, Some(20)).collect();
        let (first, ()) = futures::join!(first, async {
            assert!(futures::poll!(std::pin::pin!(second.next())).is_pending());
        });
        first.unwrap();
        assert_eq!(hung(second, &spans).await, lost);
    })
    .await;
    // B22: a read waits for a server that is silent.
    with(&["tahoe-B22"], |spans| async move {
        let grid = Setup::default().build();
        grid.share(0).reads.set(Manner::Hang);
        let node = grid.node();
        let list = hung(node.read(0, None), &spans).await;
        let expected = [
            "hold block node=0 server=s0 share=0",
            "hold fetcher node=0",
            "hold segment node=0 segment=0",
            "wait block node=0 server=s0 share=0",
            "wait segment node=0 segment=0",
        ];
        assert_eq!(list, expected);
    })
    .await;
}
