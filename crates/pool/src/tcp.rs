//! Plain TCP: exclusive streams of one address, and streams by address.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use crate::keyed::Connector;
use crate::manager::Manager;

/// Connects by TCP, with `TCP_NODELAY`. As a [`Manager`] it pools streams of the address that it was made for; as a [`Connector`], one stream an address.
///
/// A stream that the other side has closed or reset is no good any more. An exclusive one is neither while bytes wait on it that nobody read: an exchange that was left half-way would answer
/// the next request.
#[derive(Clone, Debug)]
pub struct Tcp {
    address: String,
}

impl Tcp {
    /// For `address`, as `host:port`, which is looked up on each dial.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether nothing is to be read, not even the end. As far as the runtime has heard from the operating system.
fn is_quiet(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    let mut buffer = ReadBuf::new(&mut byte);
    looked_at(poll_fn(|context| stream.poll_peek(context, &mut buffer))).is_none()
}

/// Whether the other side will send no more. Takes no reader's place: others may be waiting for bytes.
fn is_closed(stream: &TcpStream) -> bool {
    match looked_at(stream.ready(Interest::READABLE)) {
        Some(Ok(ready)) => ready.is_read_closed(),
        Some(Err(_)) => true,
        None => false,
    }
}

/// What `work` is ready with at once. A task that has used up its turn gets `Pending` for everything, which says nothing of the stream, so that doesn't count here.
fn looked_at<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(unconstrained(work)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

impl Manager for Tcp {
    type Resource = TcpStream;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpStream> {
        connect(&self.address).await
    }

    async fn check(&self, stream: &mut TcpStream) -> io::Result<()> {
        if is_quiet(stream) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed, or bytes of an earlier exchange wait"))
    }

    fn has_broken(&self, stream: &mut TcpStream) -> bool {
        !is_quiet(stream)
    }
}

impl Connector for Tcp {
    type Connection = TcpStream;
    type Error = io::Error;

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        connect(address).await
    }

    fn has_broken(&self, stream: &TcpStream) -> bool {
        is_closed(stream)
    }
}
