//! Labels: names for tasks that are the same in every run and build of a case.
//!
//! A label is the path of spawns that led to a task: `client/node.0/read.17`. The second and later
//! children that share kind and index get their place: `read.17~1`. Only the hash of a label is made
//! while a run runs; its text is put together when somebody reads it.

use std::collections::BTreeMap;
use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::context::HARNESS;
use crate::trace::mix;

/// The names of all tasks of a run, by task number.
#[derive(Default)]
pub(crate) struct Labels {
    names: Vec<Name>,
    /// Operations have labels of the same kind, after the task that does them.
    operations: Vec<Name>,
    /// How many children of one parent share kind and index, by the hash that they share.
    siblings: BTreeMap<u64, u32>,
}

struct Name {
    parent: u32,
    kind: &'static str,
    index: u64,
    nth: u32,
    hash: u64,
}

impl Labels {
    /// Names the next task, and gives the hash of its label.
    pub(crate) fn add(&mut self, parent: u32, kind: &'static str, index: u64) -> u64 {
        let name = self.name(parent, kind, index);
        let hash = name.hash;
        self.names.push(name);
        hash
    }

    /// Names the next operation. Gives its number, and the hash of its label.
    pub(crate) fn add_operation(&mut self, task: u32, kind: &'static str, index: u64) -> (usize, u64) {
        let name = self.name(task, kind, index);
        let hash = name.hash;
        self.operations.push(name);
        (self.operations.len() - 1, hash)
    }

    fn name(&mut self, parent: u32, kind: &'static str, index: u64) -> Name {
        let parent_hash = self.names.get(parent as usize).map_or(0, |name| name.hash);
        let shared = shared_hash(parent_hash, kind, index);
        let count = self.siblings.entry(shared).or_default();
        let nth = *count;
        *count += 1;
        let hash = mix(shared, u64::from(nth));
        Name { parent, kind, index, nth, hash }
    }

    /// The label's text.
    pub(crate) fn text(&self, task: u32) -> String {
        match self.names.get(task as usize) {
            Some(name) => self.text_of(name),
            None => "harness".into(),
        }
    }

    /// The text of an operation's label.
    pub(crate) fn operation_text(&self, operation: usize) -> String {
        self.operations.get(operation).map(|name| self.text_of(name)).unwrap_or_default()
    }

    /// The texts of the operations' labels, by number.
    pub(crate) fn operation_texts(&self) -> Vec<String> {
        self.operations.iter().map(|name| self.text_of(name)).collect()
    }

    fn text_of(&self, name: &Name) -> String {
        let mut text = match name.parent {
            HARNESS => String::new(),
            parent => self.text(parent) + "/",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{}.{}", name.kind, name.index);
        if name.nth > 0 {
            let _ = write!(text, "~{}", name.nth);
        }
        text
    }

    /// The labels' texts, by task number.
    pub(crate) fn texts(&self) -> Vec<String> {
        (0..self.names.len() as u32).map(|task| self.text(task)).collect()
    }
}

/// The hash of a label that somebody wrote down; what is no label has the hash of no task.
pub(crate) fn hash_of_text(text: &str) -> u64 {
    text.split('/').fold(0, |parent, part| {
        let (part, nth) = part.rsplit_once('~').unwrap_or((part, "0"));
        let (kind, index) = part.rsplit_once('.').unwrap_or((part, "0"));
        let shared = shared_hash(parent, kind, index.parse().unwrap_or(u64::MAX));
        mix(shared, u64::from(nth.parse().unwrap_or(u32::MAX)))
    })
}

fn shared_hash(parent: u64, kind: &str, index: u64) -> u64 {
    mix(mix(parent, xxh3_64(kind.as_bytes())), index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_be_written_down_and_found_again() {
        let mut labels = Labels::default();
        let hashes = [
            labels.add(HARNESS, "client", 0),
            labels.add(0, "read", 17),
            labels.add(0, "read", 17),
            labels.add(2, "decode", 3),
        ];
        let texts = ["client.0", "client.0/read.17", "client.0/read.17~1", "client.0/read.17~1/decode.3"];
        for (task, text) in texts.iter().enumerate() {
            assert_eq!(labels.text(task as u32), *text);
            assert_eq!(hash_of_text(text), hashes[task]);
        }
    }
}
