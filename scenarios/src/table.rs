//! Workloads as tables that people read and write: how one is read, and what need not be said in one.

use std::sync::Arc;

use seedgrid::case::Workload;
use serde::de::DeserializeOwned;

/// The workload that a table is of. `check` says what about it makes no sense.
///
/// # Errors
/// What is wrong with the table, in a line.
pub fn load<W: Workload + DeserializeOwned>(
    table: toml::Table,
    check: impl FnOnce(&W) -> Result<(), String>,
) -> Result<Arc<dyn Workload>, String> {
    let workload: W = table.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
    check(&workload)?;
    Ok(Arc::new(workload))
}

/// Whether a value is what it is when nothing is said of it.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
