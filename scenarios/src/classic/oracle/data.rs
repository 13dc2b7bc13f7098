//! **data**: length and bytes of a share's data are those of the reference, whatever became of its leases: on the disk as in
//! every answer (lease-bugs L15).

use storage::share::ShareId;

use crate::classic::container::{HEADER, Kept, RECORD, header};

/// Checks what is on the disk. What a torn lease has left behind the data can be told from it by the recorded length.
pub fn check_disk(id: ShareId, file: &Kept, data: &[u8]) -> Result<(), String> {
    if file.bytes.get(HEADER..HEADER + data.len()) != Some(data) {
        return Err(format!("the bytes of share {id} on the disk have changed"));
    }
    let Some(header) = header(file) else { return Ok(()) };
    let excess = header.derived.saturating_sub(data.len() as u64);
    let told = u64::from(header.recorded) == data.len() as u64 && excess % RECORD as u64 == 0;
    match told {
        true => Ok(()),
        false => Err(format!(
            "nothing tells that share {id} has {} bytes: {header:?} in a file of {}",
            data.len(),
            file.length
        )),
    }
}

/// Checks the answer to a read of `[offset, offset + length)`.
pub fn check_answer(id: ShareId, data: &[u8], offset: u64, length: u64, answer: &[u8]) -> Result<(), String> {
    let cut = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
    let expected = &data[cut(offset)..cut(offset.saturating_add(length))];
    match answer == expected {
        true => Ok(()),
        false => Err(format!(
            "{} bytes were read at {offset} of share {id}, which are not the {} that it has there",
            answer.len(),
            expected.len()
        )),
    }
}

/// Checks the length that a listing gives.
pub fn check_length(id: ShareId, data: &[u8], length: u64) -> Result<(), String> {
    match length == data.len() as u64 {
        true => Ok(()),
        false => Err(format!("share {id} is listed with {length} bytes, and has {}", data.len())),
    }
}
