//! **parses**: the node's own server can make sense of every container that it could make sense of before: it never needs
//! more bytes than there are, and never sees less of the data (leasedb-and-storage §2.1).

use storage::share::ShareId;

use crate::classic::container::{Kept, header};

/// Checks a container with `size` bytes of data.
pub fn check_container(id: ShareId, file: &Kept, size: u64) -> Result<(), String> {
    match header(file) {
        None => Err(format!("the node cannot make sense of share {id}, of {} bytes", file.length)),
        Some(header) if header.derived < size => {
            Err(format!("the node sees {} bytes of the {size} of share {id}", header.derived))
        }
        Some(_) => Ok(()),
    }
}
