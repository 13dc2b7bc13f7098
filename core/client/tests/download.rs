//! Downloads as Tahoe's own tests pin them (spec §21), against a grid in memory.

mod grid;

use client::{Config, ReadError};
use grid::{Manner, Setup, seconds, settle};
use protocol::cap::{Cap, Literal};
use protocol::layout::Version;

#[tokio::test(start_paused = true)]
async fn a_whole_file_is_read() {
    let grid = Setup::default().build();
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
}
