//! A deterministic simulation harness for storage-grid clients.
#[cfg(not(madsim))]
compile_error!(
    "seedgrid must be built with `--cfg madsim`, which .cargo/config.toml sets. An environment RUSTFLAGS \
     replaces that setting: unset it, or type RUSTFLAGS=\"--cfg madsim $RUSTFLAGS\" instead."
);

pub mod case;
pub mod cli;
pub mod explore;
pub mod fault;
pub mod grid;
pub mod oracle;
mod panics;
pub mod schedule;
pub mod trace;
pub mod world;
