use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that writes at once what nothing else is on its way with, and lets other tasks add to it first what comes
/// while answers are outstanding.
///
/// Nagle's algorithm saves small packets in the same situation, but waits for the peer: a command behind another one would
/// travel a round trip later. This waits for nothing but one turn of the runtime, and saves the calls into the kernel as well.
#[derive(Debug)]
pub(super) struct Corked<S> {
    stream: S,
    /// Whether something was written since something was read.
    awaits_answer: bool,
    /// Whether the others have had their turn.
    has_yielded: bool,
}

impl<S> Corked<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, awaits_answer: false, has_yielded: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.awaits_answer = false;
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.awaits_answer && !self.has_yielded {
            self.has_yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.awaits_answer = true;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_yielded = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
