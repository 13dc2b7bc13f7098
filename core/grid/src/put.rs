//! `grid put`: a file becomes shares in storage directories, and a capability.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use protocol::cap::{Cap, Literal, MAX_LITERAL, ReadCap};
use protocol::crypt::{Cipher, ConvergentKey};
use protocol::encode::Encoder;
use protocol::segmentation::Segmentation;
use protocol::server::{Allocate, StorageServer};
use protocol::{Hash, Key, hash};
use runtime::Runtime;
use serde_json::{Value, json};

use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::servers::{Access, StorageDirs};
use crate::shares::Shares;

/// Upload a file: write its shares into the storage directories and print its capability.
///
/// It succeeds only when all N shares are in place. Shares that are there already are kept. Each gets a
/// lease of 31 days: a node that collects garbage deletes it after that, unless somebody renews it.
#[derive(clap::Args)]
pub struct Put {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    storage: StorageDirs,

    /// How many shares are needed to read the file.
    #[arg(long, default_value_t = 3)]
    k: u32,

    /// How many shares are made, at most 256.
    #[arg(long, default_value_t = 10)]
    n: u32,

    /// The largest segment. Each segment is held in memory as a whole, by the writer and every reader.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u64).range(1..=MAX_SEGMENT)
    )]
    max_segment_size: u64,

    /// Derive the key from the file's content and this secret, so that equal files share their shares.
    #[arg(long, value_name = "HEX", conflicts_with = "random_key")]
    convergence: Option<String>,

    /// Make up a new key. That is what happens without --convergence too.
    #[arg(long)]
    random_key: bool,
}

/// As much as our own client accepts.
const MAX_SEGMENT: u64 = 128 << 20;

impl Put {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let secret = self.convergence.as_deref().map(secret).transpose()?;
        let mut source = Source::open(self.file.clone())?;
        let (cap, mut object) = if source.size <= MAX_LITERAL as u64 {
            let data = source.read(source.size)?.freeze();
            source.ended()?;
            (Cap::Literal(Literal(data)), json!({}))
        } else {
            self.upload(&runtime, source, secret).await?
        };
        object["ok"] = true.into();
        object["cap"] = cap.to_string().into();
        object["size"] = cap.size().into();
        Ok(Answer::new(format!("{cap}\n"), object))
    }

    async fn upload(
        &self,
        runtime: &Runtime,
        mut source: Source,
        secret: Option<Vec<u8>>,
    ) -> Result<(Cap, Value), Failure> {
        let Put { k, n, max_segment_size, .. } = *self;
        let size = source.size;
        let file = Segmentation::plan(size, k, n, max_segment_size);
        let file = file.map_err(|error| Failure::Usage(error.to_string()))?;
        let mut ring = self.storage.open(runtime, Access::Write).await?;

        let key = match secret {
            Some(secret) => source.convergent_key(&file, &secret)?,
            None => Key(runtime.entropy()),
        };
        let index = key.storage_index();
        ring.sort_by_cached_key(|server| hash::permute(&index, &server.id().permutation_seed));

        let encoder = Encoder::new(file, None).map_err(Failure::failed("cannot encode the file"))?;
        let share_len = encoder.share_len().map_err(Failure::failed("cannot encode the file"))?;
        let request = Allocate {
            index,
            shares: BTreeSet::new(),
            size: share_len,
            renew: runtime.entropy(),
            cancel: runtime.entropy(),
        };
        let mut shares = Shares::default();
        let stored = unless_interrupted(async {
            shares.place(&ring, n, &request).await?;
            store(&file, encoder, &key, &mut source, &mut shares).await
        });
        match stored.await {
            Ok(ueb_hash) => {
                let (kept, written): (Vec<_>, Vec<_>) = (shares.kept().collect(), shares.written().collect());
                let report = json!({ "storage_index": index.to_string(), "kept": kept, "written": written });
                Ok((Cap::Read(ReadCap { key, ueb_hash, k, n, size }), report))
            }
            Err(failure) => {
                shares.abort().await;
                Err(failure)
            }
        }
    }
}

/// Encrypts and encodes the file into its shares, publishes them, and returns the hash for the capability.
async fn store(
    file: &Segmentation,
    mut encoder: Encoder,
    key: &Key,
    source: &mut Source,
    shares: &mut Shares,
) -> Result<Hash, Failure> {
    let mut cipher = Cipher::at(key, 0);
    let header = Bytes::from(encoder.header());
    shares.append(&vec![header; file.n as usize]).await?;
    for range in (0..file.segments).filter_map(|segment| file.segment_range(segment)) {
        let mut segment = source.read(range.end - range.start)?;
        cipher.apply(&mut segment);
        let blocks = encoder.segment(segment.freeze()).map_err(Failure::failed("cannot encode the file"))?;
        shares.append(&blocks).await?;
    }
    source.ended()?;
    let finished = encoder.finish().map_err(Failure::failed("cannot encode the file"))?;
    shares.append(&finished.tails).await?;
    shares.close().await?;
    Ok(finished.ueb_hash)
}

/// The file to upload.
struct Source {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Source {
    fn open(path: PathBuf) -> Result<Source, Failure> {
        let open = || -> io::Result<(File, fs::Metadata)> {
            // Looked at before it is opened: opening a pipe would wait.
            match fs::metadata(&path)?.is_file() {
                true => File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata))),
                false => Err(io::Error::other("it is no regular file")),
            }
        };
        let (file, metadata) = open().map_err(Failure::usage(format!("cannot upload {}", path.display())))?;
        Ok(Source { path, file, size: metadata.len() })
    }

    /// The next `length` bytes, at most a segment.
    fn read(&mut self, length: u64) -> Result<BytesMut, Failure> {
        let mut bytes = BytesMut::zeroed(length as usize);
        match self.file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(error) => Err(Failure::Failed(format!("cannot read {}: {error}", self.path.display()))),
            Ok(()) => Ok(bytes),
        }
    }

    /// Makes sure that the file has no more bytes than it had at first.
    fn ended(&mut self) -> Result<(), Failure> {
        match self.file.read(&mut [0]) {
            Ok(0) => Ok(()),
            _ => Err(self.changed()),
        }
    }

    /// Reads the whole file once for its key, and goes back to its start.
    fn convergent_key(&mut self, file: &Segmentation, secret: &[u8]) -> Result<Key, Failure> {
        let mut key = ConvergentKey::new(file, secret);
        for range in (0..file.segments).filter_map(|segment| file.segment_range(segment)) {
            key.update(&self.read(range.end - range.start)?);
        }
        self.ended()?;
        self.file.rewind().map_err(Failure::failed(format!("cannot read {} again", self.path.display())))?;
        Ok(key.finish())
    }

    fn changed(&self) -> Failure {
        Failure::Failed(format!("{} changed while it was read", self.path.display()))
    }
}

/// The bytes of a convergence secret, which may be none. An error does not repeat the text.
fn secret(hex: &str) -> Result<Vec<u8>, Failure> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
    let digits =
        digits.ok_or_else(|| Failure::Usage("--convergence takes pairs of hexadecimal digits".into()))?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}
