//! How many get a connection, and for how long one that says and takes nothing keeps it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::clock::now;

/// So many connections at most, and no more than half of the descriptors that this process may have: the rest is for the nodes.
const MOST: u64 = 512;

/// Longer than a page that is told of changes is ever told nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Where connections come in. Whoever comes when all places are taken waits for one.
pub(super) struct Gate {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(listener: TcpListener) -> Self {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST, |(soft, _)| soft);
        let places = usize::try_from(MOST.min(descriptors / 2)).unwrap_or(1).max(1);
        Self { listener, places: Arc::new(Semaphore::new(places)) }
    }
}

impl Listener for Gate {
    type Io = Guest<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // It is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guest { stream, idle: Box::pin(sleep(IDLE)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when for a while nothing came from it, and it took nothing.
pub(super) struct Guest<S> {
    stream: S,
    idle: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Guest<S> {
    /// What came of trying to move bytes.
    fn note<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.idle.as_mut().reset(now() + IDLE);
            return moved;
        }
        self.idle.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guest<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(cx, read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guest<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_is_silent_or_takes_nothing_is_sent_away_and_no_other() {
        let guest = |stream| Guest { stream, idle: Box::pin(sleep(IDLE)), _place: None };
        let (ours, mut theirs) = duplex(64);
        let mut ours = guest(ours);
        for _ in 0..3 {
            tokio::time::advance(IDLE * 2 / 3).await;
            theirs.write_all(b"x").await.unwrap();
            ours.read_u8().await.unwrap();
        }
        assert_eq!(ours.read_u8().await.unwrap_err().kind(), ErrorKind::TimedOut);
        let (ours, _theirs) = duplex(64);
        let mut ours = guest(ours);
        assert_eq!(ours.write_all(&[0; 100]).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
