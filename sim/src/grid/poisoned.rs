//! Encodes a file of which one segment is inconsistent: every block and hash is authentic, and yet the blocks
//! decode to something else than the segment's hash says. Only whoever uploads a file can do that.

use bytes::Bytes;
use protocol::cap::ReadCap;
use protocol::chain_order::chain_order;
use protocol::codec::Codec;
use protocol::crypt::Cipher;
use protocol::hash_tree::HashTree;
use protocol::layout::{Layout, write_chain_entry};
use protocol::segmentation::Segmentation;
use protocol::ueb::Ueb;
use protocol::{Key, hash};

type Failure = Box<dyn std::error::Error>;

pub(super) fn encode(
    sizes: &Segmentation,
    key: Key,
    plaintext: &[u8],
    poisoned: u64,
) -> Result<(ReadCap, Vec<Bytes>), Failure> {
    let mut ciphertext = plaintext.to_vec();
    Cipher::at(&key, 0).apply(&mut ciphertext);
    let codec = Codec::new(sizes.k, sizes.n)?;
    let mut segment_hashes = Vec::new();
    let mut blocks = vec![Vec::new(); sizes.n as usize];
    for segment in 0..sizes.segments {
        let range = sizes.segment_range(segment).ok_or("no such segment")?;
        let mut bytes = ciphertext[range.start as usize..range.end as usize].to_vec();
        segment_hashes.push(hash::crypttext_segment(&bytes));
        if segment == poisoned {
            bytes[0] ^= 1;
        }
        bytes.resize(sizes.padded_len(segment).ok_or("no such segment")? as usize, 0);
        for (share, block) in codec.encode(&bytes.into())?.into_iter().enumerate() {
            blocks[share].push(block);
        }
    }
    let crypttext_tree = HashTree::new(&segment_hashes)?;
    let trees = blocks
        .iter()
        .map(|blocks| HashTree::new(&blocks.iter().map(|block| hash::block(block)).collect::<Vec<_>>()))
        .collect::<Result<Vec<_>, _>>()?;
    let share_tree = HashTree::new(&trees.iter().map(HashTree::root).collect::<Vec<_>>())?;
    let ueb = Ueb::new(
        sizes,
        hash::crypttext().chain(&ciphertext).finish(),
        crypttext_tree.root(),
        share_tree.root(),
    )
    .to_bytes();
    let layout = Layout::plan(sizes, None)?;
    let mut shares = Vec::new();
    for (share, (blocks, tree)) in blocks.iter().zip(&trees).enumerate() {
        let mut bytes = layout.header(sizes);
        blocks.iter().for_each(|block| bytes.extend_from_slice(block));
        bytes.resize(layout.crypttext_hash_tree as usize, 0);
        bytes.extend_from_slice(crypttext_tree.nodes().as_flattened());
        bytes.extend_from_slice(tree.nodes().as_flattened());
        bytes.extend_from_slice(&end_of_share(sizes, &layout, &share_tree, share as u32, &ueb)?);
        shares.push(bytes.into());
    }
    let cap = ReadCap { key, ueb_hash: hash::ueb(&ueb), k: sizes.k, n: sizes.n, size: sizes.size };
    Ok((cap, shares))
}

/// What follows a share's hash trees: its chain in the share tree, and the URI extension block.
pub(super) fn end_of_share(
    sizes: &Segmentation,
    layout: &Layout,
    share_tree: &HashTree,
    share: u32,
    ueb: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for node in chain_order(sizes.n, share)? {
        write_chain_entry(&mut bytes, node as u16, &share_tree.nodes()[node as usize]);
    }
    let length = (ueb.len() as u64).to_be_bytes();
    bytes.extend_from_slice(&length[8 - layout.version.field_len() as usize..]);
    bytes.extend_from_slice(ueb);
    Ok(bytes)
}
