//! **area**: never a byte of the lease area is handed out: who reads past the end of a share learns no secret
//! (lease-bugs A6).

use storage::share::ShareId;

use crate::classic::container::Record;

/// As many bytes of a secret are no accident.
const TELLING: usize = 8;

/// Checks an answer against the lease records behind the data.
pub fn check_answer(id: ShareId, answer: &[u8], records: &[Record]) -> Result<(), String> {
    let mut secrets = records.iter().flat_map(|record| [&record.renew, &record.cancel]);
    let pieces = |secret: &[u8; 32]| [secret[..TELLING].to_vec(), secret[32 - TELLING..].to_vec()];
    let told = |secret: &[u8; 32]| {
        let mut pieces = pieces(secret).into_iter().filter(|piece| piece.iter().any(|byte| *byte != 0));
        pieces.any(|piece| answer.windows(TELLING).any(|window| window == piece))
    };
    match secrets.any(told) {
        true => Err(format!("a read of share {id} tells what is stored of a lease's secret")),
        false => Ok(()),
    }
}
