//! What both sides of a storage grid agree on.
//!
//! This crate is pure: no clock, no entropy, no input or output. Bytes in, bytes out, and a typed error
//! for whatever a hostile peer may send. "Spec" in these pages is the description of Tahoe-LAFS 1.20's
//! immutable files that the crate follows to the byte.
//!
//! # A tour
//!
//! A file is named and opened by a **capability** ([`cap`]). It carries the file's [`Key`], from which the
//! [`StorageIndex`] follows that servers know it by, and one hash from which everything else is checked.
//!
//! To store a file, it is **encrypted** ([`crypt`]), cut into segments ([`segmentation`]), each segment is
//! turned by the **erasure code** ([`codec`]) into one block for each of n shares, and three **hash trees**
//! ([`hash_tree`], over the tagged hashes of [`hash`]) are built: over the ciphertext's segments, over each
//! share's blocks, over all shares. Their roots go into the **URI extension block** ([`ueb`]). A share is its
//! blocks, trees and this block, in a fixed **layout** ([`layout`]). [`encode`] does all of it:
//!
//! ```
//! use protocol::encode::{KeySource, Params, Secret, encode};
//!
//! let file = b"It is a truth universally acknowledged, that a single share is in want of two more.";
//! let params = Params { k: 3, n: 10, max_segment_size: 32 };
//! let encoded = encode(file, params, KeySource::Convergent(Secret(b"our grid")), None)?;
//! assert_eq!(encoded.shares.len(), 10);
//! assert!(encoded.cap.to_string().starts_with("URI:CHK:"));
//! # Ok::<(), protocol::encode::EncodeError>(())
//! ```
//!
//! To read it, any k shares will do. What a share claims is believed only after it has been checked:
//!
//! ```
//! # use protocol::encode::{KeySource, Params, Secret, encode};
//! # let file = b"It is a truth universally acknowledged, that a single share is in want of two more.";
//! # let params = Params { k: 3, n: 10, max_segment_size: 32 };
//! # let encoded = encode(file, params, KeySource::Convergent(Secret(b"our grid")), None)?;
//! use std::ops::Range;
//! use protocol::{codec::Codec, crypt::Cipher, hash, hash_tree::IncompleteHashTree, layout, ueb::Ueb};
//!
//! let cap = encoded.cap;
//! let read = |share: u32, range: Range<u64>| {
//!     encoded.shares[share as usize].slice(range.start as usize..range.end as usize)
//! };
//!
//! // The layout says where things are; the URI extension block is checked against the capability.
//! let offsets = layout::Layout::parse(&encoded.shares[4])?;
//! let length = offsets.parse_ueb_length(&read(4, offsets.ueb_length()?))?;
//! let ueb = Ueb::parse_authentic(&read(4, offsets.ueb(length)?), &cap.ueb_hash)?;
//! let file_sizes = ueb.segmentation(cap.size, cap.k, cap.n)?;
//! let mut share_tree = IncompleteHashTree::with_root(cap.n.into(), ueb.share_root_hash)?;
//!
//! // Segment 1, from shares 4, 0 and 9.
//! let segment = 1;
//! let mut blocks = Vec::new();
//! for share in [4, 0, 9] {
//!     // The share chain proves the root of the share's block tree …
//!     share_tree.insert(layout::parse_share_chain(&read(share, offsets.share_chain())))?;
//!     let root = share_tree.leaf(share.into()).expect("the chain proves it");
//!     let mut block_tree = IncompleteHashTree::with_root(file_sizes.segments, root)?;
//!     let mut nodes = Vec::new();
//!     for node in block_tree.needed_with_leaf(segment)? {
//!         let hash = read(share, offsets.block_tree_node(node)?);
//!         nodes.push((node, hash[..].try_into()?));
//!     }
//!     block_tree.insert(nodes)?;
//!
//!     // … and that tree proves the block.
//!     let block = read(share, offsets.block(&file_sizes, segment).expect("there is a segment 1")?);
//!     assert_eq!(block_tree.leaf(segment), Some(hash::block(&block)));
//!     blocks.push((share, block));
//! }
//!
//! let mut plaintext = Codec::new(cap.k, cap.n)?.decode(&blocks)?;
//! let range = file_sizes.segment_range(segment).expect("there is a segment 1");
//! plaintext.truncate((range.end - range.start) as usize);
//! Cipher::at(&cap.key, range.start).apply(&mut plaintext);
//! assert_eq!(plaintext, file[range.start as usize..range.end as usize]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Around these: [`spans`] keeps the books of which bytes were asked for and received; [`chain_order`]
//! reproduces the one detail in which shares of real uploaders are not canonical; [`lease_secret`] derives
//! what a client shows a server to keep its shares alive, [`mutable_keys`] what it shows to change them;
//! [`server`] is the trait in which client and server meet; [`base32`] and [`netstring`] are the spellings
//! beneath.

pub mod base32;
pub mod cap;
pub mod chain_order;
pub mod codec;
pub mod crypt;
pub mod encode;
mod gf256;
pub mod hash;
pub mod hash_tree;
pub mod ids;
pub mod layout;
pub mod lease_secret;
pub mod mutable_keys;
pub mod netstring;
pub mod segmentation;
pub mod server;
pub mod spans;
pub mod ueb;

pub use hash::Hash;
pub use ids::{Key, StorageIndex};
