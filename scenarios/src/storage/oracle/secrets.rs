//! **secrets**: no secret of a client reaches an error (leasedb-and-storage §16, I14). The test `secrets` looks for
//! them in whole traces as well.

use protocol::base32;
use protocol::server::LeaseSecret;

/// Checks a text that others may read.
pub fn check_secrets(text: &str, secrets: &[LeaseSecret]) -> Result<(), String> {
    let shown = |secret: &LeaseSecret| {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{secret:?}");
        // Half of a secret is bad enough.
        [&base32::encode(secret)[..20], &hex[..24], &list[..40.min(list.len())]]
            .iter()
            .any(|piece| text.contains(piece))
    };
    match secrets.iter().any(shown) {
        true => Err("it tells a secret".into()),
        false => Ok(()),
    }
}
