//! Puts the containers of a storage directory through their paces, one command at a time: for the comparison with the
//! real Tahoe-LAFS (`.ci/interop_containers.py`), which reads what this writes and the other way round.
//!
//! ```text
//! containers put DIR INDEX SHARE                         an immutable share of the bytes on standard input
//! containers write DIR INDEX SHARE OFFSET NODE ENABLER   the bytes on standard input into a mutable share
//! containers read DIR INDEX SHARE                        the data of a share
//! containers lease DIR INDEX RENEW CANCEL                a lease on each share of the file
//! containers leases DIR                                  a line for each share: index, number, kind, size, owner:expiry…
//! containers expire DIR SECONDS                          ends leases renewed longer ago than that
//! ```
//! Storage indexes are in base32, secrets and node ids in hexadecimal.

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use protocol::server::{ServerId, StorageServer};
use protocol::{StorageIndex, base32};
use runtime::real::RealWorld;
use storage::ShareDirectory;
use storage::backend::disk::Disk;
use storage::backend::{Backend, SlotChange, WriteEnabler};
use storage::config::{Expire, ExpireMode};
use storage::share::{Prefix, ShareId};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done =
        tokio::runtime::Runtime::new().map_err(Into::into).and_then(|tokio| tokio.block_on(command(&words)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containers: {error}");
            ExitCode::from(2)
        }
    }
}

async fn command(words: &[&str]) -> Outcome<()> {
    match *words {
        ["put", dir, index, share] => {
            let (disk, id, data) = (disk(dir).await?, id(index, share)?, input()?);
            let incoming = disk.create(id, data.len() as u64, 1).await?;
            incoming.write(0, data).await?;
            incoming.publish().await?;
        }
        ["write", dir, index, share, offset, node, enabler] => {
            let enabler = WriteEnabler { node: hex(node)?, secret: hex(enabler)? };
            let writes = vec![(offset.parse()?, input()?)];
            let change = SlotChange { enabler, writes, new_length: None };
            disk(dir).await?.change(id(index, share)?, change, 1).await?;
        }
        ["read", dir, index, share] => {
            let data = disk(dir).await?.read(id(index, share)?, 0, u64::MAX).await?;
            std::io::stdout().write_all(&data)?;
        }
        ["lease", dir, index, renew, cancel] => {
            let index = id(index, "0")?.index;
            directory(dir).await?.add_lease(index, hex(renew)?, hex(cancel)?).await?;
        }
        ["leases", dir] => {
            let directory = directory(dir).await?;
            for prefix in (0..Prefix::COUNT).filter_map(Prefix::nth) {
                for file in directory.leases(prefix).await? {
                    let found = file.found.map_or_else(
                        |why| format!("unusable: {why}"),
                        |held| {
                            let leases =
                                held.leases.iter().map(|lease| format!(" {}:{}", lease.owner, lease.expires));
                            format!("{:?} {}{}", held.kind, held.size, leases.collect::<String>())
                        },
                    );
                    println!("{} {} {found}", file.id.index, file.id.share);
                }
            }
        }
        ["expire", dir, seconds] => {
            let mode = ExpireMode::Age(Some(seconds.parse()?));
            let (directory, policy) =
                (directory(dir).await?, Expire { enabled: true, mode, ..Expire::default() });
            let (mut leases, mut shares) = (0, 0);
            for prefix in (0..Prefix::COUNT).filter_map(Prefix::nth) {
                let expired = directory.expire(prefix, policy.clone()).await?;
                leases += expired.leases;
                shares += expired.shares;
            }
            println!("{leases} leases, {shares} shares");
        }
        _ => return Err("no such command; the commands are at the top of containers.rs".into()),
    }
    Ok(())
}

async fn disk(dir: &str) -> Outcome<Disk> {
    Ok(Disk::open(RealWorld::runtime(), Path::new(dir)).await?)
}

async fn directory(dir: &str) -> Outcome<ShareDirectory> {
    let id = ServerId::new("containers", *b"containers");
    Ok(ShareDirectory::open(RealWorld::runtime(), Path::new(dir), id).await?)
}

fn id(index: &str, share: &str) -> Outcome<ShareId> {
    let index = base32::decode_array(index).map(StorageIndex).ok_or("that is no storage index")?;
    Ok(ShareId { index, share: share.parse()? })
}

fn input() -> Outcome<Bytes> {
    let mut data = Vec::new();
    std::io::stdin().read_to_end(&mut data)?;
    Ok(data.into())
}

fn hex<const N: usize>(text: &str) -> Outcome<[u8; N]> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(Box::from));
    let bytes: Vec<u8> = digits.collect::<Outcome<_>>()?;
    <[u8; N]>::try_from(bytes)
        .map_err(|bytes| format!("{} bytes were expected, not {}", N, bytes.len()).into())
}
