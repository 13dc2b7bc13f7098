//! The command line of a storage grid.
fn main() {}
