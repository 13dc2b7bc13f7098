//! The files that scenarios read: shares that the real Tahoe-LAFS 1.20 made (`fixtures/make.sh`), and synthetic ones.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use protocol::Key;
use protocol::cap::{Cap, ReadCap};
use protocol::encode::{KeySource, Params, Secret, encode};
use protocol::segmentation::Segmentation;
use seedgrid::grid::StoredFile;
use serde::{Deserialize, Serialize};

/// Which file a case reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FileSpec {
    /// A file made by the real Tahoe-LAFS, by name.
    Fixture {
        /// Its name in the manifest.
        name: String,
    },
    /// The plaintext of the fixture `standard`, encoded by somebody malicious: one segment is inconsistent.
    Poisoned {
        /// Which of its five segments.
        segment: u64,
    },
    /// A file of 2^56 bytes and more that never exists in memory: 2^50 segments of 96 bytes, 3-of-10.
    Sparse,
    /// The least file that has all there is to a file: 100 bytes in 2 segments, 2-of-4. For searches that leave nothing out.
    Small,
}

impl FileSpec {
    /// The fixture of that name.
    pub fn fixture(name: &str) -> FileSpec {
        FileSpec::Fixture { name: name.into() }
    }

    /// The file itself; an error when there is none of that name or number.
    pub fn load(&self) -> Result<&'static StoredFile, String> {
        let file = match self {
            FileSpec::Fixture { name } => FIXTURES.get(name.as_str()),
            FileSpec::Poisoned { segment } => POISONED.get(*segment as usize),
            FileSpec::Sparse => Some(&*SPARSE),
            FileSpec::Small => Some(&*SMALL),
        };
        file.ok_or_else(|| match self {
            FileSpec::Fixture { name } => format!("there is no fixture `{name}`"),
            _ => format!("there is no file {self:?}"),
        })
    }
}

/// One file of the manifest.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its read capability.
    pub cap: String,
    /// Its verify capability.
    pub verify_cap: String,
    /// Its storage index in base32.
    pub storage_index: String,
    /// Shares needed.
    pub k: u32,
    /// Shares made.
    pub n: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The largest segment size that the encoder was allowed.
    pub max_segment_size: u64,
    /// The convergence secret in hex.
    pub convergence: String,
    /// The share layout's version.
    pub layout: u32,
    /// The SHA-256 of its plaintext, in hex.
    pub plaintext_sha256: String,
    /// The length of each share in bytes.
    pub share_length: usize,
    /// The SHA-256 of each share, in hex.
    pub share_sha256: Vec<String>,
}

/// A literal file of the manifest.
#[derive(Debug, Deserialize)]
pub struct LiteralEntry {
    /// Its name.
    pub name: String,
    /// Its capability.
    pub cap: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The manifest of the fixtures.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// The files with shares.
    #[serde(rename = "file")]
    pub files: Vec<Entry>,
    /// The files without.
    #[serde(rename = "literal")]
    pub literals: Vec<LiteralEntry>,
}

impl Manifest {
    /// The manifest that is compiled in.
    pub fn load() -> Manifest {
        toml::from_str(include_str!("../fixtures/fixtures.toml"))
            .expect("the fixtures' manifest is well-formed")
    }
}

impl Entry {
    /// The shares, in the order of their numbers.
    pub fn shares(&self) -> Vec<Bytes> {
        let bytes = Bytes::from_static(share_bytes(&self.name));
        let numbers = 0..self.n as usize;
        numbers.map(|share| bytes.slice(share * self.share_length..(share + 1) * self.share_length)).collect()
    }

    /// The plaintext.
    pub fn plaintext(&self) -> Bytes {
        plaintext(self.size)
    }

    /// The read capability.
    pub fn read_cap(&self) -> ReadCap {
        match self.cap.parse() {
            Ok(Cap::Read(cap)) => cap,
            other => panic!("the fixture {} has no read capability: {other:?}", self.name),
        }
    }
}

/// The plaintext of every fixture: byte i is (7i + 13) mod 251.
pub fn plaintext(size: u64) -> Bytes {
    (0..size).map(|place| ((7 * place + 13) % 251) as u8).collect()
}

static FIXTURES: LazyLock<BTreeMap<String, StoredFile>> = LazyLock::new(|| {
    let stored = |entry: Entry| {
        let sizes = Segmentation::plan(entry.size, entry.k, entry.n, entry.max_segment_size);
        let segment_size = sizes.expect("a fixture has possible sizes").segment_size;
        let file = StoredFile::new(entry.read_cap(), segment_size, entry.plaintext(), entry.shares());
        (entry.name, file.expect("a fixture is whole"))
    };
    Manifest::load().files.into_iter().map(stored).collect()
});

static POISONED: LazyLock<Vec<StoredFile>> = LazyLock::new(|| {
    let sizes = Segmentation::plan(300, 3, 10, 60).expect("possible sizes");
    let poisoned = |segment| StoredFile::poisoned(sizes, Key(*b"poisoned poisone"), plaintext(300), segment);
    (0..sizes.segments).map(|segment| poisoned(segment).expect("encodable")).collect()
});

static SMALL: LazyLock<StoredFile> = LazyLock::new(|| {
    let params = Params { k: 2, n: 4, max_segment_size: 60 };
    let key = KeySource::Convergent(Secret(b"small"));
    let encoded = encode(&plaintext(100), params, key, None).expect("encodable");
    let segment_size = Segmentation::plan(100, 2, 4, 60).expect("possible sizes").segment_size;
    StoredFile::new(encoded.cap, segment_size, plaintext(100), encoded.shares).expect("a whole file")
});

static SPARSE: LazyLock<StoredFile> =
    LazyLock::new(|| StoredFile::sparse(3, 10, 96, 50).expect("a possible file"));

fn share_bytes(name: &str) -> &'static [u8] {
    macro_rules! shares {
        ($($name:literal),* $(,)?) => {
            match name {
                $($name => include_bytes!(concat!("../fixtures/", $name, ".shares")),)*
                _ => panic!("the fixture {name} is in the manifest and not in this list"),
            }
        };
    }
    shares!(
        "smallest",
        "tiny",
        "standard",
        "standard_v2",
        "padded",
        "defaults",
        "ten_segments",
        "odd_tail",
        "all_needed",
        "replicated",
        "wide",
        "widest",
        "many_segments",
        "large",
    )
}
