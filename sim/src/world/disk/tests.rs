//! The disk against a naive model of it: any history, any crash, any survivors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runtime::files::{FileKind, Files};

use super::fate::SECTOR;
use super::tree::Deed;
use super::{CrashKind, Disk, State};
use crate::case::Dice;

/// Paths and what is there: a directory, or a file's bytes.
type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What was done, in words of its own.
#[derive(Clone, Debug)]
enum Step {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    Sync(PathBuf),
    MakeDir(PathBuf),
    RemoveFile(PathBuf),
    RemoveDir(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDir(PathBuf),
}

/// A file or a directory, whatever its name.
#[derive(Clone, Default)]
struct Node {
    is_dir: bool,
    bytes: Vec<u8>,
    /// All contents since the last sync, the synced one first.
    versions: Vec<Vec<u8>>,
}

/// A name in a directory, which is a node.
type Name = (usize, PathBuf);

#[derive(Clone)]
struct Change {
    /// In whose directory it happens, and every name that it touches.
    home: usize,
    touched: Vec<Name>,
    sets: Vec<(Name, Option<usize>)>,
    durable: bool,
}

/// All that was ever done; everything else is worked out anew each time.
#[derive(Clone)]
struct Model {
    nodes: Vec<Node>,
    changes: Vec<Change>,
}

impl Model {
    fn new() -> Model {
        let root = Node { is_dir: true, ..Node::default() };
        Model { nodes: vec![root], changes: Vec::new() }
    }

    fn entries(&self, counts: impl Fn(&Change) -> bool) -> BTreeMap<Name, usize> {
        let mut entries = BTreeMap::new();
        for (name, node) in
            self.changes.iter().filter(|change| counts(change)).flat_map(|change| &change.sets)
        {
            match node {
                Some(node) => _ = entries.insert(name.clone(), *node),
                None => _ = entries.remove(name),
            }
        }
        entries
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let entries = self.entries(|_| true);
        path.iter().skip(1).try_fold(0, |node, name| entries.get(&(node, name.into())).copied())
    }

    fn name(&self, path: &Path) -> Option<Name> {
        let dir = self.find(path.parent()?)?;
        self.nodes[dir].is_dir.then(|| (dir, path.file_name().unwrap_or_default().into()))
    }

    fn image(&self, entries: &BTreeMap<Name, usize>, bytes: impl Fn(&Node) -> Vec<u8> + Copy) -> Image {
        let mut image = Image::new();
        let mut open = vec![(0, PathBuf::from("/"))];
        while let Some((dir, path)) = open.pop() {
            for ((_, name), node) in entries.iter().filter(|((of, _), _)| *of == dir) {
                let path = path.join(name);
                let Node { is_dir, .. } = self.nodes[*node];
                image.insert(path.clone(), (!is_dir).then(|| bytes(&self.nodes[*node])));
                if is_dir {
                    open.push((*node, path));
                }
            }
        }
        image
    }

    fn seen(&self) -> Image {
        self.image(&self.entries(|_| true), |node| node.bytes.clone())
    }

    fn durable(&self) -> Image {
        let kept = |node: &Node| node.versions.first().unwrap_or(&node.bytes).clone();
        self.image(&self.entries(|change| change.durable), kept)
    }

    fn change(&mut self, home: usize, sets: Vec<(Name, Option<usize>)>) {
        let touched = sets.iter().map(|(name, _)| name.clone()).collect();
        self.changes.push(Change { home, touched, sets, durable: false });
    }

    fn add(&mut self, path: &Path, is_dir: bool) -> Option<()> {
        let name = self.name(path).filter(|_| self.find(path).is_none())?;
        self.nodes.push(Node { is_dir, versions: vec![Vec::new()], ..Node::default() });
        self.change(name.0, vec![(name, Some(self.nodes.len() - 1))]);
        Some(())
    }

    fn file(&mut self, path: &Path) -> Option<&mut Node> {
        let node = self.find(path)?;
        Some(&mut self.nodes[node]).filter(|node| !node.is_dir)
    }

    /// Does a step if it can be done.
    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Create(path) => self.add(path, false)?,
            Step::MakeDir(path) => self.add(path, true)?,
            Step::Write(path, offset, bytes) => {
                let node = self.file(path)?;
                let end = *offset as usize + bytes.len();
                let length = node.bytes.len().max(end);
                node.bytes.resize(length, 0);
                node.bytes[*offset as usize..end].copy_from_slice(bytes);
                node.versions.push(node.bytes.clone());
            }
            Step::SetLen(path, length) => {
                let node = self.file(path)?;
                node.bytes.resize(*length as usize, 0);
                node.versions.push(node.bytes.clone());
            }
            Step::Sync(path) => {
                let node = self.file(path)?;
                node.versions = vec![node.bytes.clone()];
            }
            Step::RemoveFile(path) => {
                self.file(path)?;
                let name = self.name(path)?;
                self.change(name.0, vec![(name, None)]);
            }
            Step::RemoveDir(path) => {
                let (dir, name) = (self.find(path)?, self.name(path)?);
                let empty = self.entries(|_| true).keys().all(|(of, _)| *of != dir);
                (self.nodes[dir].is_dir && empty).then_some(())?;
                self.change(name.0, vec![(name, None)]);
            }
            Step::Rename(from, to) => {
                self.file(from)?;
                let (node, old, new) = (self.find(from)?, self.name(from)?, self.name(to)?);
                (self.find(to).is_none_or(|to| !self.nodes[to].is_dir) && from != to).then_some(())?;
                self.change(new.0, vec![(old, None), (new, Some(node))]);
            }
            Step::SyncDir(path) => {
                let dir = self.find(path).filter(|dir| self.nodes[*dir].is_dir)?;
                let mut durable: BTreeSet<usize> = (0..self.changes.len())
                    .filter(|at| self.changes[*at].home == dir && !self.changes[*at].durable)
                    .collect();
                loop {
                    let rests_on = |earlier: &usize| {
                        let touched = &self.changes[*earlier].touched;
                        let shares = |later: &usize| {
                            self.changes[*later].touched.iter().any(|it| touched.contains(it))
                        };
                        durable.iter().any(|later| later > earlier && shares(later))
                    };
                    let more: Vec<usize> = (0..self.changes.len()).filter(rests_on).collect();
                    let before = durable.len();
                    durable.extend(more);
                    if durable.len() == before {
                        break;
                    }
                }
                durable.into_iter().for_each(|at| self.changes[at].durable = true);
            }
        }
        Some(())
    }

    /// What can be said against an image after a power loss.
    fn objection(&self, image: &Image) -> Option<String> {
        let ever = self.entries(|_| true).into_iter().chain(self.entries(|change| change.durable));
        let ever: BTreeSet<_> = ever.collect();
        let linked = |change: &Change| {
            change.sets.iter().filter_map(|(name, node)| Some((name.clone(), (*node)?))).collect::<Vec<_>>()
        };
        let named: BTreeSet<(Name, usize)> = self.changes.iter().flat_map(linked).chain(ever).collect();
        // What nobody has touched since it was synced is there, whole.
        let touched: BTreeSet<&Name> =
            self.changes.iter().filter(|change| !change.durable).flat_map(|change| &change.touched).collect();
        let safe: BTreeMap<Name, usize> = self
            .entries(|change| change.durable)
            .into_iter()
            .filter(|(name, _)| !touched.contains(name))
            .collect();
        for (path, bytes) in self.image(&safe, |node| node.bytes.clone()) {
            match (image.get(&path), bytes, self.find(&path)) {
                (Some(None), None, _) => {}
                (Some(Some(found)), Some(bytes), Some(node)) => {
                    if self.nodes[node].versions.len() == 1 && *found != bytes {
                        return Some(format!("{} was synced, and is not what it was", path.display()));
                    }
                }
                (found, ..) => return Some(format!("{} was synced, and is {found:?}", path.display())),
            }
        }
        // What is there was there before, under that name, sector by sector.
        for (path, found) in image {
            let Some(found) = found else { continue };
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            let mut nodes =
                named.iter().filter(|((_, other), _)| *other == name).map(|(_, node)| &self.nodes[*node]);
            let explains = |node: &Node| {
                let mut sectors = found.chunks(SECTOR).enumerate();
                let length = node.versions.iter().any(|version| version.len() == found.len());
                length
                    && sectors.all(|(at, sector)| {
                        let old = |version: &Vec<u8>| {
                            let mut old = version.get(at * SECTOR..).unwrap_or_default().to_vec();
                            old.resize(sector.len().max(old.len()), 0);
                            old.truncate(sector.len());
                            old
                        };
                        // Within a sector, any of its bytes may be from any write.
                        let mut bytes = sector.iter().enumerate();
                        let versions: Vec<_> = node.versions.iter().map(old).collect();
                        bytes.all(|(at, byte)| {
                            *byte == 0 || versions.iter().any(|version| version[at] == *byte)
                        })
                    })
            };
            if !nodes.any(explains) {
                return Some(format!("{} has bytes, or a length, that it never had", path.display()));
            }
        }
        None
    }
}

fn image_of(disk: &Disk) -> Image {
    let mut image = Image::new();
    let mut open = vec![PathBuf::from("/")];
    while let Some(dir) = open.pop() {
        for name in disk.list(&dir).unwrap() {
            let path = dir.join(name);
            match disk.kind(&path).unwrap() {
                FileKind::Directory => {
                    image.insert(path.clone(), None);
                    open.push(path);
                }
                _ => {
                    let file = disk.open(&path, runtime::files::OpenMode::Read).unwrap();
                    let mut bytes = vec![0; file.len().unwrap() as usize];
                    assert_eq!(file.read_full_at(0, &mut bytes).unwrap(), bytes.len());
                    image.insert(path, Some(bytes));
                }
            }
        }
    }
    image
}

/// Does a step on the disk, if it can be done.
fn step(disk: &Disk, step: &Step) -> Option<()> {
    with_deed(disk, step, |state, deed| state.tree.perform(&deed?).ok())
}

/// The life of the disk's actor ends in the middle of a step.
fn crash(disk: &Disk, step: &Step, how: CrashKind, survivors: u64) {
    with_deed(disk, step, |state, deed| state.crash(how, survivors, deed.as_ref()));
}

/// Gives the deed for a step, if the disk has what it is about.
fn with_deed<T>(disk: &Disk, step: &Step, work: impl FnOnce(&mut State, Option<Deed<'_>>) -> T) -> T {
    let mut state = disk.lock();
    let file = match step {
        Step::Write(path, ..) | Step::SetLen(path, _) | Step::Sync(path) => state.tree.file(path).ok(),
        _ => None,
    };
    let can_be_made = |path: &Path| {
        state.tree.find(path).is_err() && path.parent().is_some_and(|dir| state.tree.kind(dir).is_ok())
    };
    let deed = match step {
        Step::Create(path) => Some(Deed::Create(path)),
        Step::Write(_, offset, bytes) => file.as_ref().map(|file| Deed::Write(file, *offset, bytes)),
        Step::SetLen(_, length) => file.as_ref().map(|file| Deed::SetLen(file, *length)),
        Step::Sync(_) => file.as_ref().map(Deed::Sync),
        Step::MakeDir(path) => can_be_made(path).then_some(Deed::MakeDirs(path)),
        Step::RemoveFile(path) => Some(Deed::RemoveFile(path)),
        Step::RemoveDir(path) => Some(Deed::RemoveDir(path)),
        Step::Rename(from, to) => (from != to).then_some(Deed::Rename(from, to)),
        Step::SyncDir(path) => Some(Deed::SyncDir(path)),
    };
    work(&mut state, deed)
}

fn draw(dice: &mut Dice) -> Step {
    let dir = |dice: &mut Dice| PathBuf::from(*dice.pick(&["/", "/", "/", "/a", "/b", "/a/c"]));
    let path = |dice: &mut Dice| dir(dice).join(*dice.pick(&["x", "x", "x", "y", "z"]));
    match dice.below(18) {
        0..=2 => Step::Create(path(dice)),
        3..=6 => {
            let length = 1 + dice.skewed(13) as usize;
            let mut bytes = vec![0; length];
            dice.fill(&mut bytes);
            Step::Write(path(dice), dice.skewed(13), bytes)
        }
        7 | 16 | 17 => Step::SetLen(path(dice), dice.skewed(14)),
        8..=9 => Step::Sync(path(dice)),
        10 => Step::MakeDir(PathBuf::from(*dice.pick(&["/a", "/b", "/a/c"]))),
        11 => Step::RemoveFile(path(dice)),
        12 => Step::RemoveDir(PathBuf::from(*dice.pick(&["/a", "/b", "/a/c"]))),
        13 => Step::Rename(path(dice), path(dice)),
        _ => Step::SyncDir(dir(dice)),
    }
}

/// A history, on a disk and in the model, and the step that is in progress when it ends.
fn history(seed: u64) -> (Disk, Model, Step) {
    let (disk, mut model) = (Disk::new("model"), Model::new());
    disk.track();
    let mut dice = Dice::new(seed, "history");
    for _ in 0..dice.between(1, 60) {
        let next = draw(&mut dice);
        assert_eq!(step(&disk, &next), model.step(&next), "seed {seed}: {next:?}");
    }
    (disk, model, draw(&mut dice))
}

#[test]
fn a_disk_is_what_a_naive_model_says_before_and_after_every_crash() {
    for seed in 0..600 {
        let (disk, model, last) = history(seed);
        assert!(image_of(&disk) == model.seen(), "seed {seed}");
        let used: usize = model.seen().values().flatten().map(Vec::len).sum();
        assert_eq!(disk.available_space(Path::new("/")).unwrap(), (1 << 30) - used as u64, "seed {seed}");
        let mut after = model.clone();
        let done = after.step(&last);
        let after = if done.is_some() { after } else { model.clone() };

        let crashed = |how, survivors| {
            let (disk, ..) = history(seed);
            crash(&disk, &last, how, survivors);
            image_of(&disk)
        };
        assert!(crashed(CrashKind::Process, 0) == model.seen(), "seed {seed}: {last:?}");
        assert!(crashed(CrashKind::Process, 1) == after.seen(), "seed {seed}: {last:?}");
        assert!(crashed(CrashKind::Power, 0) == model.durable(), "seed {seed}: {last:?}");
        assert!(crashed(CrashKind::Power, 1) == after.seen(), "seed {seed}: {last:?}");
        // A sync that did not return may have done its work, and nothing that was synced before may suffer by it.
        let promised = if matches!(last, Step::Sync(_) | Step::SyncDir(_)) { &model } else { &after };
        for survivors in 2..12 {
            let image = crashed(CrashKind::Power, survivors);
            let objection = promised.objection(&image);
            assert_eq!(objection, None, "seed {seed}, survivors {survivors}: {last:?}");
            if !matches!(last, Step::Write(..)) {
                let image = crashed(CrashKind::Process, survivors);
                let either = [model.seen(), after.seen()];
                assert!(either.contains(&image), "seed {seed}, survivors {survivors}: {last:?}");
            }
        }
    }
}

#[test]
fn a_second_power_loss_takes_nothing_that_the_first_one_left() {
    for seed in 0..100 {
        let (disk, ..) = history(seed);
        disk.went_down(CrashKind::Power, seed + 2);
        let left = image_of(&disk);
        disk.went_down(CrashKind::Power, 0);
        assert!(image_of(&disk) == left, "seed {seed}");
    }
}

#[test]
fn every_part_of_a_torn_write_can_survive_and_none_has_to() {
    let mut seen = BTreeSet::new();
    for survivors in 2..400 {
        let disk = Disk::new("torn");
        let path = PathBuf::from("/x");
        disk.track();
        step(&disk, &Step::Create(path.clone()));
        step(&disk, &Step::SetLen(path.clone(), 2 * SECTOR as u64));
        disk.sync_all();
        step(&disk, &Step::Write(path.clone(), 0, vec![7; 2 * SECTOR]));
        disk.went_down(CrashKind::Power, survivors);
        let bytes = image_of(&disk).remove(&path).flatten().unwrap();
        seen.insert((bytes[..SECTOR] == [7; SECTOR], bytes[SECTOR..] == [7; SECTOR]));
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn what_was_cut_off_and_synced_does_not_come_back() {
    let (disk, path) = (Disk::new("cut"), PathBuf::from("/x"));
    disk.track();
    step(&disk, &Step::Create(path.clone()));
    step(&disk, &Step::Write(path.clone(), 0, vec![7; 10_000]));
    disk.sync_all();
    step(&disk, &Step::SetLen(path.clone(), 100));
    step(&disk, &Step::SetLen(path.clone(), 10_000));
    step(&disk, &Step::Sync(path.clone()));
    disk.went_down(CrashKind::Power, 0);
    let bytes = image_of(&disk).remove(&path).flatten().unwrap();
    assert_eq!((&bytes[..100], &bytes[100..]), (&[7; 100][..], &[0; 9_900][..]));
}

#[test]
fn what_could_not_be_synced_once_is_durable_when_it_is_written_again_and_not_before() {
    let (disk, path) = (Disk::new("failed"), PathBuf::from("/x"));
    disk.track();
    step(&disk, &Step::Create(path.clone()));
    step(&disk, &Step::Write(path.clone(), 0, vec![1; 4 * 4096]));
    disk.sync_all();
    step(&disk, &Step::Write(path.clone(), 0, vec![2; 4 * 4096]));
    with_deed(&disk, &Step::Sync(path.clone()), |_, deed| match deed {
        Some(Deed::Sync(file)) => file.lock().fail_to_sync(),
        _ => panic!("the file is there"),
    });
    step(&disk, &Step::Write(path.clone(), 4096, vec![3; 4096]));
    step(&disk, &Step::Sync(path.clone()));
    let pages = || {
        let bytes = image_of(&disk).remove(&path).flatten().unwrap();
        bytes.chunks(4096).map(|page| page[0]).collect::<Vec<_>>()
    };
    disk.went_down(CrashKind::Process, 0);
    assert_eq!(pages(), [2, 3, 2, 2], "as long as the machine is up");
    // Whatever else survives.
    disk.went_down(CrashKind::Power, 1);
    assert_eq!(pages(), [1, 3, 1, 1]);
}
