//! **content**: what is on a node's disk, and what a client is told is valid, is the object (annex-p2p §16, I5, I6).

/// Checks what a node has on its disk.
pub fn check_stored(node: usize, content: &[u8], stored: &[u8]) -> Result<(), String> {
    match stored == content {
        true => Ok(()),
        false => Err(format!(
            "node {node} has {} bytes that are not the {} of the object",
            stored.len(),
            content.len()
        )),
    }
}

/// Checks what came from `offset` on as a part of the object.
pub fn check_received(content: &[u8], offset: u64, received: &[u8]) -> Result<(), String> {
    let rest = content.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
    match received == rest {
        true => Ok(()),
        false => Err(format!(
            "{} bytes came from {offset} on, and they are not the {} of the object",
            received.len(),
            rest.len()
        )),
    }
}
