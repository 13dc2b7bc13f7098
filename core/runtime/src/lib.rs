//! The one door between the storage grid's logic and the world.
//!
//! Everything in `core` reaches time, tasks, entropy, files and the network through a [`Runtime`]
//! handle and through nothing else. What is behind the door is a [`World`]: the real one
//! ([`real::RealWorld`], on tokio) or a simulated one, in which the same build of the same code runs
//! by seed.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`Runtime`], [`World`] | the handle that core is given, and what a world must provide |
//! | [`Scope`] | tasks belong to a scope; dropping it aborts them |
//! | [`Instant`], [`Elapsed`] | monotonic time |
//! | [`files`] | files and directories, as traits |
//! | [`net`] | streams, datagrams, name resolution, as traits |
//! | [`real`] | the real world, on tokio |
//! | [`wait!`], [`hold!`] | the convention from which a hang can be explained |
//! | [`reached!`], [`relapse!`] | coverage marks, and known bugs that can be put back |
//!
//! ```
//! use std::time::Duration;
//! let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! tokio.block_on(async {
//!     let runtime = runtime::real::RealWorld::runtime();
//!     let scope = runtime.scope();
//!     let (answer, question) = tokio::sync::oneshot::channel();
//!     scope.spawn("adder", 0, async move { let _ = answer.send(6 * 7); });
//!     let sum = runtime.timeout(Duration::from_secs(5), question).await;
//!     assert_eq!(sum.unwrap().unwrap(), 42);
//! });
//! ```

pub mod files;
mod marks;
pub mod net;
pub mod real;
mod relapse;
mod scope;
mod time;
mod waits;
mod world;

pub use futures::future::BoxFuture;
pub use marks::{MARKS, Mark};
pub use relapse::{RELAPSES, Relapse, arm_relapses, relapse_armed};
pub use scope::Scope;
pub use time::{Elapsed, Instant};
pub use world::{JobLost, Runtime, TaskHandle, World};

#[doc(hidden)]
pub mod macros {
    //! What the exported macros expand to.
    pub use linkme;
    pub use tracing;
}
