//! The storage server with a lease database, over a real directory, in a world whose clocks stand still until they are
//! moved; and over a backend that fails, waits and shows half-made shares as it is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod crawler;
mod dossier;
mod leases;
mod place;
mod recovery;
mod relapses;
mod scripted;
mod slots;
mod uploads;
mod views;
mod world;
