//! What a client is told of an error. Never a secret, never a path.

use protocol::server::ServerError;

use super::{Closed, ReconcileError};
use crate::backend::BackendError;
use crate::database::{DatabaseError, Refused};

impl From<BackendError> for ServerError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NoSuchShare(_) => ServerError::NoSuchShare,
            BackendError::NoSpace => ServerError::NoSpace,
            BackendError::Refused(why) => ServerError::Refused(why),
            BackendError::Stale(_) => ServerError::Refused(error.to_string()),
            BackendError::Corrupted { .. } | BackendError::Failed(_) => ServerError::Disk(error.to_string()),
        }
    }
}

impl From<DatabaseError> for ServerError {
    fn from(error: DatabaseError) -> Self {
        ServerError::Disk(error.to_string())
    }
}

impl From<ReconcileError> for ServerError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Backend(error) => error.into(),
            ReconcileError::Database(error) => error.into(),
            ReconcileError::Closed(closed) => closed.into(),
        }
    }
}

impl From<Closed> for ServerError {
    fn from(closed: Closed) -> Self {
        ServerError::Refused(closed.to_string())
    }
}

impl From<Refused> for ServerError {
    fn from(refused: Refused) -> Self {
        ServerError::Refused(refused_words(&refused))
    }
}

/// Why a transition was refused, for people.
pub(crate) fn refused_words(refused: &Refused) -> String {
    match refused.row {
        Some(row) => format!("the share has moved on to state {:?}", row.state),
        None => "the share has gone".into(),
    }
}
