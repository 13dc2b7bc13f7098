//! A network between the actors of a run: streams, datagrams and names, without faults of its own.
//!
//! Everything is delivered at once and in order. Calls in the `no_network` grid do not come by here.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use runtime::net::{Datagrams, Listener, Network, Stream};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::duplex;
use tokio::sync::{Notify, mpsc};
use xxhash_rust::xxh3::xxh3_64;

use super::executor;
use crate::trace;

/// How many bytes a stream holds before its writer must wait.
const STREAM_BUFFER: usize = 64 * 1024;
/// How many datagrams wait at an address before further ones are lost.
const DATAGRAM_BUFFER: usize = 1024;

type Connection = (Box<dyn Stream>, SocketAddr);

#[derive(Default)]
struct Wires {
    listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<Connection>>,
    mailboxes: BTreeMap<SocketAddr, Arc<Mailbox>>,
    next_port: u16,
}

thread_local! {
    static WIRES: RefCell<Wires> = RefCell::default();
}

/// Forgets the network of an earlier run on this thread.
pub(crate) fn reset() {
    WIRES.take();
}

/// One actor's place on the network. Actor n has the address 10.0.n/256.n%256 and its own name.
pub(crate) struct SimNetwork {
    host: IpAddr,
}

impl SimNetwork {
    pub(crate) fn of(actor: u32) -> Self {
        SimNetwork { host: host_of(actor) }
    }

    /// The address asked for, with the actor's own host for "any" and a free port for 0.
    fn local(&self, wanted: SocketAddr) -> io::Result<SocketAddr> {
        if !wanted.ip().is_unspecified() && wanted.ip() != self.host {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match wanted.port() {
            0 => WIRES.with_borrow_mut(|wires| {
                wires.next_port = wires.next_port.wrapping_add(1);
                49152 + wires.next_port % 16384
            }),
            port => port,
        };
        Ok(SocketAddr::new(self.host, port))
    }
}

fn host_of(actor: u32) -> IpAddr {
    let [_, _, high, low] = actor.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

#[async_trait]
impl Network for SimNetwork {
    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let local = self.local(SocketAddr::new(self.host, 0))?;
        let (near, far) = duplex(STREAM_BUFFER);
        let far: Box<dyn Stream> = Box::new(far);
        let delivered = WIRES.with_borrow(|wires| match wires.listeners.get(&address) {
            Some(listener) => listener.send((far, local)).is_ok(),
            None => false,
        });
        match delivered {
            true => Ok(Box::new(near)),
            false => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let address = self.local(address)?;
        let (sender, arrivals) = mpsc::unbounded_channel();
        let taken = WIRES.with_borrow_mut(|wires| match wires.listeners.get(&address) {
            Some(listener) if !listener.is_closed() => true,
            _ => {
                wires.listeners.insert(address, sender);
                false
            }
        });
        match taken {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => Ok(Box::new(SimListener { address, arrivals: tokio::sync::Mutex::new(arrivals) })),
        }
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        let address = self.local(address)?;
        let mailbox = Arc::<Mailbox>::default();
        WIRES.with_borrow_mut(|wires| wires.mailboxes.insert(address, mailbox.clone()));
        Ok(Box::new(SimDatagrams { address, mailbox }))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let actor = executor::with(|executor| executor.actors.iter().position(|actor| actor.name == host));
        match actor {
            Some(actor) => Ok(vec![SocketAddr::new(host_of(actor as u32), port)]),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address"))),
        }
    }
}

struct SimListener {
    address: SocketAddr,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Connection>>,
}

#[async_trait]
impl Listener for SimListener {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn accept(&self) -> io::Result<Connection> {
        let arrival = self.arrivals.lock().await.recv().await;
        arrival.ok_or(io::ErrorKind::ConnectionAborted.into())
    }
}

#[derive(Default)]
struct Mailbox {
    letters: Mutex<VecDeque<(Vec<u8>, SocketAddr)>>,
    arrived: Notify,
}

struct SimDatagrams {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
}

#[async_trait]
impl Datagrams for SimDatagrams {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let hash = xxh3_64(bytes);
        trace::with_recording(|recording| {
            recording.effect("send a datagram, whose bytes have the hash", hash)
        });
        let mailbox = WIRES.with_borrow(|wires| wires.mailboxes.get(&to).cloned());
        if let Some(mailbox) = mailbox {
            let mut letters = mailbox.letters.lock().unwrap_or_else(PoisonError::into_inner);
            if letters.len() < DATAGRAM_BUFFER {
                letters.push_back((bytes.to_vec(), self.address));
                mailbox.arrived.notify_one();
            }
        }
        Ok(())
    }

    async fn receive_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let letter = self.mailbox.letters.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some((bytes, from)) = letter {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                return Ok((count, from));
            }
            self.mailbox.arrived.notified().await;
        }
    }
}
