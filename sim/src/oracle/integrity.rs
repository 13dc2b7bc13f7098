//! **integrity**: every byte that a reader is given is the plaintext's, at its place (tahoe-immutable §17, D1).
//!
//! Checked piece by piece, as they are delivered: a wrong byte is a finding even if the read fails later.

use crate::grid::StoredFile;

/// Checks a piece that was delivered as the bytes from `offset` on.
pub fn check_bytes(file: &StoredFile, offset: u64, piece: &[u8]) -> Result<(), String> {
    if piece.is_empty() {
        return Err(format!("a reader was given an empty piece at {offset}"));
    }
    let expected = file.plaintext(offset, piece.len() as u64);
    if expected == piece {
        return Ok(());
    }
    match expected.iter().zip(piece).position(|(expected, got)| expected != got) {
        Some(place) => Err(format!(
            "byte {} is {:#04x} and was delivered as {:#04x}",
            offset + place as u64,
            expected[place],
            piece[place]
        )),
        None => Err(format!(
            "{} bytes were delivered at {offset} of a file of {} bytes",
            piece.len(),
            file.cap.size
        )),
    }
}
