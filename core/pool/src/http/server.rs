//! The server: its connections, their bounds, and its end (annex-p2p §13).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use runtime::net::{Listener, Stream};
use runtime::{Runtime, Scope, reached};
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::Peers;
use super::access::Access;
use super::answer::Refusal;
use super::body::Body;
use super::io::{Clock, Io};
use super::locks::Locks;
use super::serve::{Service, admit, refuse, serve};
use super::transfer::discard;
use crate::version::Version;
use crate::workers::Workers;

/// Headers of a request, at the most, and their bytes.
const HEADERS: usize = 64;
const HEAD: usize = 32 * 1024;

/// How a server serves.
#[derive(Debug)]
pub struct Config {
    /// Requests that are served at a time; the others wait.
    pub jobs: usize,
    /// Locks that are held at a time; further ones are refused.
    pub locked_files: usize,
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// For how long a client may neither send what it owes nor take what it is sent.
    pub patience: Duration,
    /// Who may do what.
    pub access: Access,
    /// The newest version that is spoken.
    pub newest: Version,
}

impl Default for Config {
    fn default() -> Config {
        let patience = Duration::from_secs(60);
        Config {
            jobs: 2,
            locked_files: 100,
            connections: 1000,
            patience,
            access: Access::default(),
            newest: Version::MAX,
        }
    }
}

/// A server. Dropped, it ends at once.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Runtime,
    address: Option<SocketAddr>,
}

struct Shared {
    service: Arc<Service>,
    connections: Arc<Semaphore>,
    /// Connections and requests; none when the server has ended.
    tasks: Mutex<Option<Arc<Scope>>>,
}

impl Server {
    /// A server that nobody can reach yet.
    pub fn new(runtime: Runtime, peers: impl Peers + 'static, config: Config) -> Server {
        let service = Service {
            peers: Box::new(peers),
            access: config.access,
            newest: config.newest,
            workers: Workers::new(config.jobs),
            locks: Locks::new(runtime.clone(), config.locked_files),
            patience: config.patience,
            closing: Semaphore::new(0),
            runtime: runtime.clone(),
        };
        let connections = Arc::new(Semaphore::new(config.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let tasks = Mutex::new(Some(Arc::new(runtime.scope())));
        Server {
            shared: Arc::new(Shared { service: Arc::new(service), connections, tasks }),
            runtime,
            address: None,
        }
    }

    /// Accepts connections at `address` from now on; port 0 picks a free one.
    pub async fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = self.runtime.network().listen(address).await?;
        let address = listener.address()?;
        self.address = Some(address);
        self.shared.spawn("http listener", accept(self.shared.clone(), listener));
        Ok(address)
    }

    /// Serves whoever is at the other end of a stream.
    pub fn attach(&self, stream: Box<dyn Stream>) {
        self.shared.spawn("http connection", converse(self.shared.clone(), stream));
    }

    /// The requests that are served now.
    pub fn busy(&self) -> usize {
        self.shared.service.workers.busy()
    }

    /// How many more locks there is room for.
    pub fn room_for_locks(&self) -> usize {
        self.shared.service.locks.room()
    }

    /// Connections, requests and locks that have not ended.
    pub fn tasks(&self) -> usize {
        self.shared.tasks().as_ref().map_or(0, |tasks| tasks.len())
    }

    /// Accepts nothing more, ends the locks (whose objects stay for their retention time), and waits until the requests
    /// that are under way have ended, but no longer than `limit`; then ends those. True: all have ended by themselves.
    pub async fn close(self, limit: Duration) -> bool {
        self.shared.service.closing.close();
        let Some(tasks) = self.shared.tasks().clone() else { return true };
        let drained = self.runtime.timeout(limit, tasks.drain()).await.is_ok();
        if !drained {
            reached!("http: requests are ended since the server is");
        }
        drained
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.service.closing.close();
        // Each task has the server's parts: none may keep the others.
        drop(self.shared.tasks().take());
    }
}

impl Shared {
    fn spawn(&self, kind: &'static str, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let tasks = self.tasks().clone();
        if let Some(tasks) = &tasks {
            tasks.spawn(kind, 0, task);
        }
        tasks.is_some()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Option<Arc<Scope>>> {
        // Nothing here can panic half-way through a change.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections while there is room for them.
async fn accept(shared: Arc<Shared>, listener: Box<dyn Listener>) {
    let accepting = async {
        loop {
            let room = shared.connections.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let conversation = converse(shared.clone(), stream);
                    shared.spawn("http connection", async move {
                        let _room = room;
                        conversation.await;
                    });
                }
                Err(error) => {
                    // Such as too many open files: it passes.
                    debug!(target: "http", %error, "cannot accept a connection");
                    shared.service.runtime.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    select(pin!(accepting), pin!(shared.service.closing.acquire())).await;
}

/// Serves one connection until its client has nothing more to ask.
async fn converse(shared: Arc<Shared>, stream: Box<dyn Stream>) {
    let service = &shared.service;
    let stream = Io::new(stream, &service.runtime, service.patience);
    let mut http = Builder::new();
    http.timer(Clock::new(service.runtime.clone())).header_read_timeout(service.patience);
    http.max_headers(HEADERS).max_buf_size(HEAD).auto_date_header(false);
    let answering =
        service_fn(|request| async { Ok::<_, std::convert::Infallible>(respond(&shared, request).await) });
    let mut conversation = pin!(http.serve_connection(stream, answering));
    let ended = match select(&mut conversation, pin!(service.closing.acquire())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        debug!(target: "http", %error, "a connection ended early");
    }
}

/// Starts a request's task, and waits for its answer.
async fn respond(shared: &Arc<Shared>, mut request: hyper::Request<Incoming>) -> Response<Body> {
    let (asked, length) = match admit(&shared.service, &request) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            discard(&shared.service, request.body_mut()).await;
            return refuse(refusal);
        }
    };
    let (reply, answer) = oneshot::channel();
    let service = shared.service.clone();
    shared.spawn("http request", serve(service, asked, length, request.into_body(), reply));
    let ended = |_| refuse(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends"));
    answer.await.unwrap_or_else(ended)
}
