//! The oracles of the classic directory: one checker per file, each from facts to evidence. What is looked at is the disk,
//! from outside, and what clients were told.

pub mod answers;
pub mod area;
pub mod counted;
pub mod data;
pub mod kept;
pub mod leases;
pub mod parses;
pub mod untouched;
