//! Streams, datagrams and name resolution, as traits.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a node can do on the network.
#[async_trait]
pub trait Network: Send + Sync {
    /// Opens a stream to `address`.
    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>>;

    /// Accepts streams at `address`; port 0 picks a free one.
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// Sends and receives datagrams at `address`; port 0 picks a free one.
    async fn bind(&self, address: SocketAddr) -> io::Result<Box<dyn Datagrams>>;

    /// The addresses of a host name, in a stable order, with `port` put in. `NotFound` when it has none.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// A byte stream in both directions; dropping it closes it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Accepts streams.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The address it listens at.
    fn address(&self) -> io::Result<SocketAddr>;

    /// Waits for the next stream, and says who opened it.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;
}

/// Sends and receives datagrams.
#[async_trait]
pub trait Datagrams: Send + Sync {
    /// The address it is bound to.
    fn address(&self) -> io::Result<SocketAddr>;

    /// Sends one datagram; it may be lost.
    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Waits for the next datagram; what does not fit into `buffer` is cut off. Says how long and from whom.
    async fn receive_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}
