//! Containers in memory: byte for byte, against models, broken by any bytes, and cut off at any write.

use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::backend::{SlotChange, WriteEnabler};
use crate::config::LEASE;

/// A file in memory. After so many changes every further one fails, and changes nothing; but of a write that fails the sectors
/// of one kind may arrive, the even or the odd ones.
#[derive(Clone)]
struct Memory(Arc<Mutex<(Vec<u8>, usize)>>, Option<u64>);

impl Memory {
    fn new(bytes: &[u8]) -> Memory {
        Memory(Arc::new(Mutex::new((bytes.to_vec(), usize::MAX))), None)
    }

    fn failing_after(bytes: &[u8], changes: usize, torn: Option<u64>) -> Memory {
        Memory(Arc::new(Mutex::new((bytes.to_vec(), changes))), torn)
    }

    /// What arrives of a write that is torn.
    fn tear(&self, offset: u64, new: &[u8]) {
        let (bytes, left) = &mut *self.0.lock().unwrap();
        let Some(kind) = self.1.filter(|_| *left == 0) else { return };
        for (at, byte) in (offset..).zip(new).filter(|(at, _)| at / SECTOR % 2 == kind) {
            bytes.resize(bytes.len().max(at as usize + 1), 0);
            bytes[at as usize] = *byte;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    fn open(&self) -> Result<Container, StorageError> {
        Container::of(Box::new(self.clone()))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let (bytes, left) = &mut *self.0.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("planted"))?;
        change(bytes);
        Ok(())
    }
}

impl File for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = &*self.0.lock().unwrap();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let (start, end) = (offset as usize, offset as usize + new.len());
        self.tear(offset, new);
        self.change(|bytes| {
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(new);
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(length as usize, 0))
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

const ENABLER: WriteEnabler = WriteEnabler { secret: [b'E'; 32], node: [b'N'; 20] };

fn request(owner: u32, holder: u8, now: u64) -> LeaseRequest {
    LeaseRequest { owner, renew: [holder; 32], cancel: [holder ^ 0xff; 32], now, lasts: LEASE }
}

/// An immutable container with this data and no leases.
fn immutable_with(data: &[u8]) -> Vec<u8> {
    [&immutable::Header::bytes(data.len() as u64, 0)[..], data].concat()
}

/// A mutable container with this data and no leases.
fn mutable_with(data: &[u8]) -> Vec<u8> {
    let memory = Memory::new(&[]);
    let change = SlotChange { enabler: ENABLER, writes: vec![(0, data.to_vec().into())], new_length: None };
    mutable::write_changed(&memory, None, &change).unwrap();
    memory.bytes()
}

fn data(container: &Container) -> Vec<u8> {
    container.read(0, u64::MAX).unwrap().to_vec()
}

/// Owner and expiry of each lease.
fn leases(container: &Container) -> Vec<(u32, u32)> {
    container.leases().unwrap().iter().map(|held| (held.lease.owner, held.lease.expires)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file observed in §2.1: 48 bytes of data, two leases with one cancel secret, 204 bytes in all.
#[test]
fn an_immutable_container_byte_for_byte() {
    let now = 0x6b2a_0df3 - LEASE;
    let lease = |owner, renew| LeaseRequest { owner, renew, cancel: [b'C'; 32], now, lasts: LEASE };
    let memory = Memory::new(&[]);
    immutable::create(&memory, 48, &[lease(0, [b'R'; 32])]).unwrap();
    memory.write_all_at(12, &[b'x'; 48]).unwrap();
    memory.open().unwrap().add_or_renew_lease(&lease(1, [b'S'; 32])).unwrap();
    let renew = "0666d16d6f9960d32c9e59c59b33800be038644ece4cb3da310b258e6d852204";
    let cancel = "f23824449c1860ead7065f1539cca5ada8ddfdf84a5e4f7608634fed82c0eb24";
    let bytes = memory.bytes();
    assert_eq!(bytes.len(), 204);
    assert_eq!(hex(&bytes[..12]), "000000020000003000000002");
    assert_eq!(bytes[12..60], [b'x'; 48]);
    assert_eq!(hex(&bytes[60..132]), format!("00000000{renew}{cancel}6b2a0df3"));
    assert_eq!(hex(&bytes[132..136]), "00000001");
    assert_eq!(hex(&bytes[168..]), format!("{cancel}6b2a0df3"));
}

/// §2.2: an empty one has 472 bytes; the fifth lease is the first behind the data; a place that is free is used first.
#[test]
fn a_mutable_container_byte_for_byte() {
    let memory = Memory::new(&mutable_with(b""));
    let head = [&b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25"[..], &[b'N'; 20], &[b'E'; 32]].concat();
    let numbers = [0u64.to_be_bytes(), 468u64.to_be_bytes()].concat();
    assert_eq!(memory.bytes(), [&head[..], &numbers, &[0; 368], &[0; 4]].concat());

    let memory = Memory::new(&mutable_with(b"data"));
    for holder in 1..=6 {
        memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, 0)).unwrap();
    }
    let bytes = memory.bytes();
    assert_eq!(bytes.len(), 468 + 4 + 4 + 2 * 92);
    assert_eq!(&bytes[468..476], b"data\0\0\0\x02");
    for (holder, at) in [(1, 100), (2, 192), (3, 284), (4, 376), (5, 476), (6, 568)] {
        let lease = request(holder, holder as u8, 0).lease(Version::V2);
        assert_eq!(bytes[at..at + 92], lease.to_slot(&[b'N'; 20]), "lease {holder}");
    }
    assert_eq!(
        memory.open().unwrap().remove_leases(|lease| lease.owner == 2 || lease.owner == 5).unwrap(),
        4
    );
    memory.open().unwrap().add_or_renew_lease(&request(0, 7, 0)).unwrap();
    let container = memory.open().unwrap();
    assert_eq!(leases(&container).iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [1, 1, 3, 4, 6]);
    assert_eq!((data(&container), memory.bytes().len()), (b"data".to_vec(), bytes.len()));
}

/// Version 1 stays version 1, and keeps its secrets in clear.
#[test]
fn a_changed_container_keeps_its_version_its_enabler_and_four_leases() {
    let mut old = mutable_with(b"old data");
    old[..32].copy_from_slice(b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e");
    let memory = Memory::new(&old);
    for holder in 1..=5 {
        memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, 0)).unwrap();
    }
    assert_eq!(memory.bytes()[108..140], [1; 32], "in clear");
    let Container::Mutable(share) = memory.open().unwrap() else { panic!("it is mutable") };
    let other = WriteEnabler { secret: [1; 32], node: [2; 20] };
    let change = SlotChange { enabler: other, writes: vec![(4, b"DATA"[..].into())], new_length: None };
    let new = Memory::new(&[]);
    mutable::write_changed(&new, Some(&share), &change).unwrap();
    let container = new.open().unwrap();
    assert_eq!(data(&container), b"old DATA");
    assert_eq!(leases(&container).len(), 4);
    assert_eq!(new.bytes()[..84], memory.bytes()[..84]);
}

/// Sizes of data behind which records, and the fields of some of them, lie on two sectors; and how a write is torn.
fn cuts() -> impl Iterator<Item = (Vec<u8>, Option<u64>)> {
    let sizes = [5, 69, 141, 285, 300, 428, 429, 430, 431, 500];
    let files = sizes.map(|size| vec![b'd'; size]).into_iter();
    files.flat_map(|data| [None, Some(0), Some(1)].map(|torn| (data.clone(), torn)))
}

/// L15 and its like: whatever write a change of leases is cut off at, or torn at, the data stays, and leases are lost or
/// doubled at the most.
#[test]
fn leases_that_are_cut_off_are_not_data() {
    let kinds = |(bytes, torn): (Vec<u8>, _)| {
        [immutable_with(&bytes), mutable_with(&bytes)].map(|file| (file, bytes.clone(), torn))
    };
    for (file, bytes, torn) in cuts().flat_map(kinds) {
        let memory = Memory::new(&file);
        for holder in 1..=6 {
            memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, 0)).unwrap();
        }
        let file = memory.bytes();
        let owners = |container: &Container| -> Vec<u32> {
            leases(container).iter().map(|(owner, _)| *owner).collect()
        };
        for changes in 0.. {
            let memory = Memory::failing_after(&file, changes, torn);
            let added = memory.open().unwrap().add_or_renew_lease(&request(9, 9, 0));
            let memory = Memory::new(&memory.bytes());
            let container = memory.open().unwrap();
            assert_eq!(data(&container), bytes, "{changes} changes");
            assert_eq!(owners(&container)[..6], [1, 2, 3, 4, 5, 6], "{changes} changes");
            container.add_or_renew_lease(&request(9, 9, 0)).unwrap();
            let container = memory.open().unwrap();
            assert_eq!(data(&container), bytes, "{changes} changes");
            assert_eq!(owners(&container).last(), Some(&9), "{changes} changes");
            if added.is_ok() {
                break;
            }
        }
        for changes in 0.. {
            let memory = Memory::failing_after(&file, changes, torn);
            let removed = memory.open().unwrap().remove_leases(|lease| lease.owner % 2 == 0);
            let container = Memory::new(&memory.bytes()).open().unwrap();
            assert_eq!(data(&container), bytes, "{changes} changes");
            let wanted = |holder: u8| request(holder.into(), holder, 0).lease(Version::V2);
            let held = container.leases().unwrap();
            let remains = |holder| held.iter().any(|held| held.lease == wanted(holder));
            assert!([1, 3, 5].into_iter().all(remains), "{changes} changes, {torn:?}, {} bytes", bytes.len());
            if let Ok(remaining) = removed {
                assert_eq!((remaining, held.len()), (3, 3));
                break;
            }
        }
    }
}

/// The four bytes that say when a lease ends may lie on two sectors: wherever a renewal is cut off, or torn, the lease lasts
/// as long as before.
#[test]
fn a_renewal_that_is_torn_shortens_no_lease() {
    for (bytes, torn) in cuts() {
        for file in [immutable_with(&bytes), mutable_with(&bytes)] {
            let memory = Memory::new(&file);
            for holder in 1..=6 {
                memory.open().unwrap().add_or_renew_lease(&request(1, holder, 0x1234_ffff)).unwrap();
            }
            let expires = |file: &Memory, holder: usize| leases(&file.open().unwrap())[holder - 1].1;
            let before = expires(&memory, 1);
            for (holder, changes) in (1..=6).flat_map(|holder| (0..3).map(move |changes| (holder, changes))) {
                let cut = Memory::failing_after(&memory.bytes(), changes, torn);
                let renewal = request(1, holder, 0x1301_0000);
                let renewed = cut.open().unwrap().add_or_renew_lease(&renewal);
                let after = expires(&Memory::new(&cut.bytes()), holder.into());
                assert!(after >= before, "{before:x} became {after:x}");
                assert!(renewed.is_err() || u64::from(after) == 0x1301_0000 + LEASE);
            }
        }
    }
}

/// What a node has appended behind a torn lease, and counted, is a lease like the others: nothing takes its place.
#[test]
fn leases_behind_a_torn_one_are_kept() {
    let lease = |holder| request(u32::from(holder), holder, 0).lease(Version::V2).to_record().to_vec();
    let file = [immutable_with(b"data"), lease(1), lease(2), lease(3)].concat();
    let memory = Memory::new(&[&file[..8], &[0, 0, 0, 2], &file[12..]].concat());
    assert_eq!(data(&memory.open().unwrap()), b"data");
    for holder in [4, 3] {
        memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, 0)).unwrap();
        assert_eq!(memory.bytes()[8..12], 4u32.to_be_bytes(), "the count is right again");
        let owners: Vec<_> = leases(&memory.open().unwrap()).iter().map(|(owner, _)| *owner).collect();
        assert_eq!(owners, [1, 2, 3, 4]);
        assert_eq!(data(&memory.open().unwrap()), b"data");
    }
}

/// A7: the lease that is one too many is refused before a byte of it is written.
#[test]
fn one_lease_too_many_changes_nothing() {
    let head = immutable::Header::bytes(4, MAX_LEASES as u32);
    let memory = Memory::new(&[&head[..], b"data", &vec![1; 72 * MAX_LEASES as usize]].concat());
    let before = memory.bytes();
    let added = memory.open().unwrap().add_or_renew_lease(&request(1, 7, 0));
    assert!(matches!(added, Err(StorageError::TooManyLeases)));
    assert!(memory.bytes() == before);
}

#[test]
fn hostile_counts_are_refused_before_they_are_allocated() {
    let mut file = mutable_with(b"data");
    file[472..476].copy_from_slice(&u32::MAX.to_be_bytes());
    for extra in [0u64, 471, 472, 473, 1 << 40, u64::MAX - 3, u64::MAX] {
        file[92..100].copy_from_slice(&extra.to_be_bytes());
        let container = Memory::new(&file).open().unwrap();
        assert!(matches!(container.leases(), Err(StorageError::Unusable(Flaw::Extra { .. }))), "{extra}");
        assert_eq!(data(&container), b"data", "what is wrong with leases does no harm to data");
    }
    let mut file = mutable_with(&[0; 8]);
    file[92..100].copy_from_slice(&470u64.to_be_bytes());
    let leases = Memory::new(&file).open().unwrap().leases();
    assert!(matches!(leases, Err(StorageError::Unusable(Flaw::Extra { .. }))), "data is no place for leases");
    for data_len in [5u64, 1 << 40, u64::MAX - 467, u64::MAX] {
        let mut file = mutable_with(b"");
        file[84..92].copy_from_slice(&data_len.to_be_bytes());
        assert!(
            matches!(Memory::new(&file).open(), Err(StorageError::Unusable(Flaw::Data { .. }))),
            "{data_len}"
        );
    }
    let mut file = immutable_with(b"data");
    for leases in [1, 1 << 20, u32::MAX] {
        file[8..12].copy_from_slice(&leases.to_be_bytes());
        assert!(matches!(Memory::new(&file).open(), Err(StorageError::Unusable(Flaw::Leases { .. }))));
    }
    let many = (MAX_LEASES + 1) as u32;
    let file = [&immutable::Header::bytes(0, many)[..], &vec![0; 72 * many as usize]].concat();
    assert!(matches!(Memory::new(&file).open().unwrap().leases(), Err(StorageError::TooManyLeases)));
}

/// What one does with leases.
#[derive(Clone, Debug)]
enum LeaseStep {
    Renew { holder: u8, now: u32 },
    End { before: u32 },
}

fn lease_step() -> impl Strategy<Value = LeaseStep> {
    prop_oneof![
        3 => (1u8..9, 0u32..100).prop_map(|(holder, now)| LeaseStep::Renew { holder, now }),
        1 => (0u32..100).prop_map(|before| LeaseStep::End { before }),
    ]
}

fn writes() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    prop::collection::vec((0u64..60, prop::collection::vec(any::<u8>(), 0..30)), 0..5)
}

/// Anything, and what begins like a container.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let magic = prop_oneof![
        Just(vec![]),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0, 0, 0, 2, 0, 0, 0, 40, 0, 0, 0]),
        Just(b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e".to_vec()),
        Just(mutable_with(b"data")[..83].to_vec()),
        Just([&mutable_with(b"data")[..98], &[1][..]].concat()),
        Just(mutable_with(b"data")[..475].to_vec()),
    ];
    (magic, prop::collection::vec(any::<u8>(), 0..600)).prop_map(|(magic, rest)| [magic, rest].concat())
}

proptest! {
    #[test]
    fn no_bytes_make_a_container_panic(bytes in hostile(), writes in writes()) {
        let memory = Memory::new(&bytes);
        if let Ok(container) = memory.open() {
            let data = data(&container);
            prop_assert_eq!(data.len() as u64, container.data_len());
            let _ = container.read(u64::MAX, u64::MAX);
            let before = container.leases().map(|leases| leases.len());
            if container.add_or_renew_lease(&request(1, 7, 0)).is_ok() {
                let container = memory.open().unwrap();
                prop_assert_eq!(self::data(&container), data);
                prop_assert!(container.leases().unwrap().len() >= before.unwrap());
                container.remove_leases(|_| true).unwrap();
                prop_assert_eq!(memory.open().unwrap().leases().unwrap().len(), 0);
            }
            if let Container::Mutable(share) = memory.open().unwrap() {
                let writes = writes.into_iter().map(|(offset, bytes)| (offset, bytes.into())).collect();
                let change = SlotChange { enabler: ENABLER, writes, new_length: None };
                mutable::write_changed(&Memory::new(&[]), Some(&share), &change).unwrap();
            }
        }
    }

    #[test]
    fn changes_of_a_mutable_share_are_those_of_a_vector(
        changes in prop::collection::vec((writes(), prop::option::of(0u64..90)), 1..6)
    ) {
        let mut model = Vec::new();
        let mut file: Option<Memory> = None;
        for (writes, new_length) in changes {
            for (offset, bytes) in &writes {
                let end = *offset as usize + bytes.len();
                model.resize(model.len().max(end), 0);
                model[*offset as usize..end].copy_from_slice(bytes);
            }
            model.truncate(new_length.unwrap_or(u64::MAX) as usize);
            let writes = writes.into_iter().map(|(offset, bytes)| (offset, bytes.into())).collect();
            let old = match file.map(|file| file.open().unwrap()) {
                Some(Container::Mutable(share)) => Some(share),
                _ => None,
            };
            let new = Memory::new(&[]);
            let change = SlotChange { enabler: ENABLER, writes, new_length };
            let used = mutable::write_changed(&new, old.as_ref(), &change).unwrap();
            prop_assert_eq!(used, new.bytes().len() as u64);
            let container = new.open().unwrap();
            prop_assert_eq!(&data(&container), &model);
            prop_assert_eq!(container.leases().unwrap().len(), 0);
            file = Some(new);
        }
    }

    #[test]
    fn leases_are_those_of_a_list(mutable: bool, steps in prop::collection::vec(lease_step(), 1..30)) {
        let memory = Memory::new(&if mutable { mutable_with(b"data") } else { immutable_with(b"data") });
        let mut model: Vec<(u8, u32)> = Vec::new();
        for step in steps {
            match step {
                LeaseStep::Renew { holder, now } => {
                    memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, now.into())).unwrap();
                    let expires = now + LEASE as u32;
                    match model.iter_mut().find(|(held, _)| *held == holder) {
                        Some((_, held)) => *held = expires.max(*held),
                        None => model.push((holder, expires)),
                    }
                }
                LeaseStep::End { before } => {
                    let before = before + LEASE as u32;
                    memory.open().unwrap().remove_leases(|lease| lease.expires < before).unwrap();
                    model.retain(|(_, expires)| *expires >= before);
                }
            }
            let container = memory.open().unwrap();
            let mut held = leases(&container);
            let mut expected: Vec<_> = model.iter().map(|(holder, expires)| (u32::from(*holder), *expires)).collect();
            // Places are used again.
            held.sort();
            expected.sort();
            if !mutable {
                prop_assert_eq!(memory.bytes().len(), 12 + 4 + 72 * model.len());
            }
            prop_assert_eq!(held, expected);
            prop_assert_eq!(data(&container), b"data");
        }
    }
}

/// L15, where the header does not tell the length of the data: of 4 GiB or more, or by one of before v1.3.
#[test]
fn leases_of_a_share_of_unknown_length_are_removed_in_place() {
    for recorded in [0, u32::MAX] {
        let data = b"some data";
        let mut file = immutable_with(data);
        file[4..8].copy_from_slice(&recorded.to_be_bytes());
        let memory = Memory::new(&file);
        for holder in 1..=5 {
            memory.open().unwrap().add_or_renew_lease(&request(holder.into(), holder, 0)).unwrap();
        }
        let (file, length) = (memory.bytes(), memory.bytes().len());
        let owners = |memory: &Memory| -> Vec<u32> {
            leases(&memory.open().unwrap()).iter().map(|(owner, _)| *owner).collect()
        };
        for changes in 0.. {
            let memory = Memory::failing_after(&file, changes, None);
            let removed = memory.open().unwrap().remove_leases(|lease| lease.owner % 2 == 0);
            let memory = Memory::new(&memory.bytes());
            assert_eq!(self::data(&memory.open().unwrap()), data, "{changes} changes");
            if let Ok(remaining) = removed {
                assert_eq!((remaining, owners(&memory)), (3, vec![1, 3, 5]));
                memory.open().unwrap().add_or_renew_lease(&request(9, 9, 0)).unwrap();
                assert_eq!((owners(&memory), memory.bytes().len()), (vec![1, 9, 3, 5], length));
                break;
            }
        }
    }
}
