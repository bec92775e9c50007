use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::traffic::Traffic;

/// A stream that writes at once what nothing else is on its way with, and lets other tasks add to it first what comes
/// while answers are outstanding.
///
/// Nagle's algorithm saves small packets in the same situation, but waits for the peer: a command behind another one would
/// travel a round trip later. This waits for nothing but one turn of the runtime, and saves the calls into the kernel as well.
#[derive(Debug)]
pub(in crate::node) struct Corked<S> {
    stream: S,
    /// Told what is written, and when nothing is any more.
    traffic: Arc<Traffic>,
    /// Whether something was written since something was read.
    awaits_answer: bool,
    /// Whether the others have had their turn.
    has_yielded: bool,
    /// Why nothing can be written any more, until the reader has had what the peer said before.
    refusal: Option<io::Error>,
}

impl<S> Corked<S> {
    pub(in crate::node) fn new(stream: S, traffic: &Arc<Traffic>) -> Self {
        traffic.count();
        Self { stream, traffic: Arc::clone(traffic), awaits_answer: false, has_yielded: false, refusal: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > filled => {
                self.traffic.read(&buffer.filled()[filled..]);
                Ok(())
            }
            // A peer that takes nothing any more has said all that it has to say.
            read => match self.refusal.take() {
                Some(refusal) => Err(refusal),
                None => ready!(read),
            },
        };
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
        let written = match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)) {
            // A server that wants no more clients says so and closes the connection, before it has read anything. Its words
            // are worth more than that.
            Err(error) if self.refusal.is_none() && is_closed_by_peer(&error) => {
                self.refusal = Some(error);
                cx.waker().wake_by_ref();
                Ok(bytes.len())
            }
            written => written,
        };
        self.awaits_answer = true;
        if let Ok(written) = written {
            self.traffic.wrote(written);
        }
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

fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl<S> Drop for Corked<S> {
    fn drop(&mut self) {
        self.traffic.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Takes so many bytes at a time, and answers with one.
    #[derive(Default)]
    struct Peer {
        room: usize,
        written: Vec<u8>,
        is_broken: bool,
        has_said_its_last: bool,
    }

    impl AsyncRead for Peer {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.is_broken && self.has_said_its_last {
                return Poll::Pending;
            }
            self.has_said_its_last = self.is_broken;
            buffer.put_slice(b"+");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let taken = bytes.len().min(self.room);
            self.written.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A corked connection, and who writes to it as a driver does.
    struct Driver {
        corked: Corked<Peer>,
        woken: Arc<Woken>,
    }

    impl Driver {
        fn to(room: usize) -> Self {
            Self { corked: Corked::new(Peer { room, ..Peer::default() }, &Arc::default()), woken: Arc::default() }
        }

        /// Writes all of it and flushes; returns how often it had to be polled, each time because it was woken.
        fn send(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
            let waker = Arc::clone(&self.woken).into();
            let mut cx = Context::from_waker(&waker);
            let mut polls = 1;
            while !bytes.is_empty() {
                let woken = self.woken.0.load(Ordering::Relaxed);
                match Pin::new(&mut self.corked).poll_write(&mut cx, bytes) {
                    Poll::Ready(written) => bytes = &bytes[written?..],
                    Poll::Pending => {
                        assert!(self.woken.0.load(Ordering::Relaxed) > woken, "nobody would poll it again");
                        polls += 1;
                    }
                }
            }
            assert!(Pin::new(&mut self.corked).poll_flush(&mut cx).is_ready());
            Ok(polls)
        }

        fn hear(&mut self) {
            self.read().unwrap();
        }

        fn read(&mut self) -> io::Result<()> {
            let (waker, mut room) = (Arc::clone(&self.woken).into(), [0; 1]);
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.corked).poll_read(&mut Context::from_waker(&waker), &mut buffer) {
                Poll::Ready(read) => read,
                Poll::Pending => panic!("there is nothing to read"),
            }
        }
    }

    #[test]
    fn the_others_have_one_turn_while_an_answer_is_outstanding_and_none_otherwise() {
        let mut driver = Driver::to(100);
        assert_eq!(driver.send(b"a").unwrap(), 1);
        assert_eq!(driver.send(b"b").unwrap(), 2);
        assert_eq!(driver.send(b"c").unwrap(), 2, "each time anew");
        driver.hear();
        assert_eq!(driver.send(b"d").unwrap(), 1);
        assert_eq!(driver.corked.stream.written, b"abcd");
    }

    #[test]
    fn what_is_taken_in_parts_is_written_to_its_end() {
        let mut driver = Driver::to(3);
        for _ in 0..3 {
            assert!(driver.send(b"0123456789").unwrap() <= 2, "they have one turn for all of it");
        }
        assert_eq!(driver.corked.stream.written, b"0123456789".repeat(3));
    }

    #[test]
    fn a_connection_that_breaks_says_so_once_the_last_words_of_the_peer_were_read() {
        let mut driver = Driver::to(100);
        driver.send(b"a").unwrap();
        driver.corked.stream.is_broken = true;
        driver.send(b"b").unwrap();
        driver.hear();
        assert_eq!(driver.read().unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        let mut driver = Driver::to(100);
        driver.corked.stream.is_broken = true;
        driver.send(b"a").unwrap();
        assert_eq!(driver.send(b"b").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "it is not believed twice");
    }
}
