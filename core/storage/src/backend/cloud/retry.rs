//! When an attempt at the store is made again (leasedb-and-storage §12): after 0, 2 and 10 seconds, if there is hope.

use std::time::Duration;

use runtime::{Runtime, reached};

use super::StoreError;

/// Before each further attempt.
const DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10)];

/// Attempts once, and again as long as there is hope. When no attempts are left the error is that of the first; one that
/// leaves no hope is given at once. Whatever went wrong is logged once, after the end: what was done to which key, and
/// never with what bytes.
pub(super) async fn retrying<T, F: Future<Output = Result<T, StoreError>>>(
    runtime: &Runtime,
    what: &'static str,
    key: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut first: Option<StoreError> = None;
    let mut delays = DELAYS.iter();
    loop {
        let error = match attempt().await {
            Ok(done) => {
                if let Some(error) = first {
                    let attempts = DELAYS.len() - delays.len() + 1;
                    tracing::info!(what, key, attempts, %error, "the store took more than one attempt");
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        let hope = is_hopeful(&error);
        let error = if hope { first.get_or_insert(error).clone() } else { error };
        match delays.next().filter(|_| hope) {
            Some(delay) => runtime.sleep(*delay).await,
            None if error == StoreError::Status(404) => return Err(error),
            None => {
                reached!("storage: a call to the object store failed for good");
                tracing::warn!(what, key, %error, "the store failed");
                return Err(error);
            }
        }
    }
}

/// Whether another attempt may go better: no service said that it will not.
fn is_hopeful(error: &StoreError) -> bool {
    match error {
        StoreError::Connection(_) => true,
        StoreError::Status(status) => (500..600).contains(status),
        StoreError::Service(_) | StoreError::Stale => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::real::RealWorld;

    /// What comes of attempts that fail so, one after the other, and then succeed; when each was made, in seconds.
    async fn outcome(errors: &[StoreError]) -> (Result<(), StoreError>, Vec<u64>) {
        let runtime = RealWorld::runtime();
        let (start, mut times, mut errors) = (runtime.now(), Vec::new(), errors.iter().cloned());
        let done = retrying(&runtime, "put", "key", || {
            times.push((runtime.now() - start).as_secs());
            std::future::ready(errors.next().map_or(Ok(()), Err))
        });
        (done.await, times)
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_are_survived_and_four_are_the_first() {
        let [a, b, c, d] = [500, 501, 502, 503].map(StoreError::Status);
        assert_eq!(outcome(&[]).await, (Ok(()), vec![0]));
        assert_eq!(outcome(&[a.clone(), b.clone(), c.clone()]).await, (Ok(()), vec![0, 0, 2, 12]));
        assert_eq!(outcome(&[a.clone(), b, c, d]).await, (Err(a), vec![0, 0, 2, 12]));
        let lost = StoreError::Connection("reset".into());
        assert_eq!(outcome(&[lost.clone(), lost]).await, (Ok(()), vec![0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn without_hope_there_is_no_other_attempt() {
        let service = StoreError::Service("no such bucket".into());
        for error in [StoreError::Status(404), StoreError::Status(403), service, StoreError::Stale] {
            assert_eq!(outcome(std::slice::from_ref(&error)).await, (Err(error.clone()), vec![0]));
            let later = [StoreError::Status(503), error.clone()];
            assert_eq!(outcome(&later).await, (Err(error), vec![0, 0]));
        }
    }
}
