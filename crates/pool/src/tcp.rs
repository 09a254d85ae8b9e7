//! Plain TCP: exclusive streams of one address, and streams by address.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::keyed::Connector;
use crate::manager::Manager;

/// Connects by TCP, with `TCP_NODELAY`. As a [`Manager`] it pools streams of the address that it was made for; as a [`Connector`], one stream an address.
///
/// A stream that the other side has closed or reset, or on which bytes wait that nobody read, is no good any more: an exchange that was left half-way would answer the next request.
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
    let peeked = stream.poll_peek(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte));
    matches!(peeked, Poll::Pending)
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
}
