//! How long a call to a server is waited for: until it is overdue, and then until it is given up.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use runtime::{Runtime, relapse};

/// The two limits of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub overdue: Duration,
    pub abandon: Option<Duration>,
}

impl Patience {
    /// Waits for `call`. Calls `on_overdue` once if that takes long; `None` if the call was given up.
    pub async fn wait_for<T>(
        self,
        runtime: &Runtime,
        call: impl Future<Output = T>,
        on_overdue: impl FnOnce(),
    ) -> Option<T> {
        let mut call = pin!(call);
        if relapse!("tahoe-B22") {
            return Some(call.await);
        }
        if let Ok(answer) = runtime.timeout(self.overdue, call.as_mut()).await {
            return Some(answer);
        }
        on_overdue();
        match self.abandon {
            Some(limit) => runtime.timeout(limit, call).await.ok(),
            None => Some(call.await),
        }
    }
}
