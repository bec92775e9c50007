//! What is on its way into a connection's stream, and how much more goes there for now.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::poll_fn;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Notify;

use crate::node::Command;
use crate::platform::clock;

/// So many bytes may be on their way into the stream before an acquire waits for them: about as many commands as the
/// connection's queue has places, so that who passes finds one.
const ROOM: usize = 256 * 1024;

/// Those who wait go on when no more than this is left to write.
const LOW: usize = ROOM / 2;

/// What a short acquire takes: so many of those who wait are let on as would fill the capacity with that.
const SHORT: usize = 256;

/// A connection on which nothing was outstanding, and nothing moved for so long, was closed because it was idle.
// Source: redis.conf, `timeout`: whole seconds, one at least; less what the clocks of both sides are apart in precision.
const IDLE: Duration = Duration::from_millis(900);

/// The commands of one connection that were handed over and not written yet.
///
/// What was handed over cannot be taken back: the connection writes it, whoever is gone meanwhile. So of a flood only as much is
/// handed over as is written in one go, and the rest waits here, where it can still be recalled.
#[derive(Debug)]
pub(in crate::node) struct Traffic {
    /// Whether what is written is counted: somebody else's stream does not tell.
    is_counted: AtomicBool,
    /// How many bytes were handed over and not written yet.
    unwritten: AtomicUsize,
    /// How many wait.
    waiting: AtomicUsize,
    /// Tells those who wait that there is capacity, or that the stream is gone.
    moved: Notify,
    /// Whether the stream is gone.
    is_closed: AtomicBool,
    /// The error that was read first, if it was one.
    greeting: OnceLock<Option<Box<str>>>,
    /// Tells the one who keeps the connection that it is.
    ended: Notify,
    /// What [`Self::last_read`] counts from.
    start: Instant,
    /// When something was read last, if nothing was written since; else zero. In nanoseconds. A connection that has written is not
    /// idle, whenever that was.
    last_read: AtomicU64,
}

/// Why a command is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum NotHandedOver {
    /// Nobody wants it any more.
    Recalled,
    /// The stream is gone.
    Closed,
}

/// A command that is handed over. Dropped without [`Self::was_answered`], it may never have been written, and is not
/// counted any more.
pub(in crate::node) struct HandedOver<'a> {
    traffic: &'a Traffic,
    bytes: usize,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            is_counted: AtomicBool::default(),
            unwritten: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
            moved: Notify::default(),
            is_closed: AtomicBool::default(),
            greeting: OnceLock::default(),
            ended: Notify::default(),
            start: clock::now(),
            last_read: AtomicU64::default(),
        }
    }
}

impl Traffic {
    /// Counts from now on what is written.
    pub(in crate::node) fn count(&self) {
        self.is_counted.store(true, Ordering::Release);
    }

    /// So many bytes were written.
    pub(in crate::node) fn wrote(&self, bytes: usize) {
        self.last_read.store(0, Ordering::Release);
        self.make_room(bytes);
    }

    /// This was read.
    pub(in crate::node) fn read(&self, bytes: &[u8]) {
        self.last_read.store(self.nanoseconds().max(1), Ordering::Release);
        self.greeting.get_or_init(|| {
            let error = bytes.strip_prefix(b"-")?;
            let line = error.split(|byte| *byte == b'\r').next()?;
            Some(String::from_utf8_lossy(line).into())
        });
    }

    /// Why the connection ended while it was being made, in the server's own words if it said something: some say why they let
    /// nobody in, and close it.
    pub(in crate::node) fn explain(&self, error: RedisError) -> RedisError {
        match self.greeting.get() {
            Some(Some(said)) if error.is_io_error() => {
                let said = said.strip_prefix("ERR ").unwrap_or(said).to_owned();
                (ErrorKind::Server(ServerErrorKind::ResponseError), "the server closed the connection", said).into()
            }
            _ => error,
        }
    }

    /// The present moment, since it was made.
    fn nanoseconds(&self) -> u64 {
        let since = clock::now().saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether everything was answered that was written, and that a while ago.
    pub(in crate::node) fn is_idle(&self) -> bool {
        let last_read = self.last_read.load(Ordering::Acquire);
        last_read != 0 && Duration::from_nanos(self.nanoseconds().saturating_sub(last_read)) >= IDLE
    }

    /// Whether the stream is gone.
    pub(in crate::node) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns once the stream is gone; for one who waits for that.
    pub(in crate::node) async fn ended(&self) {
        while !self.is_closed() {
            self.ended.notified().await;
        }
    }

    fn make_room(&self, bytes: usize) {
        self.take_off(bytes);
        let waiting = self.waiting.load(Ordering::Acquire);
        if waiting > 0 {
            let left = self.unwritten.load(Ordering::Acquire);
            if left <= LOW {
                // First come, first served. Who is let on and gone, or does not come, keeps nothing from the others.
                let most = (ROOM - left) / SHORT;
                (0..waiting.min(most)).for_each(|_| self.moved.notify_one());
            }
        }
    }

    /// The stream is gone: nothing is written any more.
    pub(in crate::node) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.ended.notify_one();
        self.moved.notify_waiters();
        // Who is about to wait.
        self.moved.notify_one();
    }

    /// Hands a command of so many bytes over, however much is on its way.
    pub(in crate::node) fn hand_over(&self, bytes: usize) -> HandedOver<'_> {
        let bytes = if self.is_counted.load(Ordering::Acquire) { bytes } else { 0 };
        self.unwritten.fetch_add(bytes, Ordering::AcqRel);
        HandedOver { traffic: self, bytes }
    }

    /// Whether a command may be handed over now.
    pub(in crate::node) fn has_room(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) < ROOM
    }

    /// Waits until there is capacity, as long as the command is wanted.
    pub(in crate::node) async fn capacity(&self, command: &Command) -> Result<(), NotHandedOver> {
        let _waiting = Waiting::of(self);
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if command.is_recalled() {
                return Err(NotHandedOver::Recalled);
            }
            if self.is_closed() {
                self.moved.notify_one();
                return Err(NotHandedOver::Closed);
            }
            if self.has_room() {
                return Ok(());
            }
            // Whoever takes over what was recalled looks at it once more.
            poll_fn(|cx| if command.is_recalled() { Poll::Ready(()) } else { moved.as_mut().poll(cx) }).await;
        }
    }

    fn take_off(&self, bytes: usize) {
        // What others wrote, to sign in, was never put on.
        let _ = self
            .unwritten
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |unwritten| Some(unwritten.saturating_sub(bytes)));
    }
}

impl HandedOver<'_> {
    /// It was answered, so it was written.
    pub(in crate::node) fn was_answered(mut self) {
        self.bytes = 0;
    }
}

impl Drop for HandedOver<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.traffic.make_room(self.bytes);
        }
    }
}

/// Somebody who waits.
struct Waiting<'a>(&'a Traffic);

impl<'a> Waiting<'a> {
    fn of(traffic: &'a Traffic) -> Self {
        traffic.waiting.fetch_add(1, Ordering::AcqRel);
        Self(traffic)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::node::Action;

    fn acquire() -> Arc<Command> {
        let action = Action::Acquire { ttl: Duration::from_secs(1), is_watched: false };
        Command::new(action, &"key".into(), &"owner".into())
    }

    /// As long as a command of ours.
    const BYTES: usize = 250;

    /// A connection that was handed as much as it takes.
    fn full() -> (Traffic, usize) {
        let traffic = Traffic::default();
        traffic.count();
        let mut bytes = 0;
        while traffic.has_room() {
            bytes += BYTES;
            std::mem::forget(traffic.hand_over(BYTES));
        }
        (traffic, bytes)
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_goes_on_when_enough_was_written_and_not_before() {
        let (traffic, bytes) = full();
        let command = acquire();
        let mut capacity = pin!(traffic.capacity(&command));
        assert!(poll(capacity.as_mut()).is_pending());
        traffic.wrote(1);
        assert!(poll(capacity.as_mut()).is_pending());
        traffic.wrote(bytes);
        assert_eq!(poll(capacity), Poll::Ready(Ok(())));
        assert_eq!(traffic.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_recalled_waits_for_nothing() {
        let (traffic, _) = full();
        let command = acquire();
        let mut capacity = pin!(traffic.capacity(&command));
        assert!(poll(capacity.as_mut()).is_pending());
        command.recall();
        assert_eq!(poll(capacity), Poll::Ready(Err(NotHandedOver::Recalled)));
    }

    #[test]
    fn nobody_waits_for_a_stream_that_is_gone() {
        let (traffic, _) = full();
        let command = acquire();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(traffic.capacity(&command))).collect();
        assert!(waiting.iter_mut().all(|capacity| poll(capacity.as_mut()).is_pending()));
        traffic.close();
        waiting.push(Box::pin(traffic.capacity(&command)));
        for mut capacity in waiting {
            assert_eq!(poll(capacity.as_mut()), Poll::Ready(Err(NotHandedOver::Closed)));
        }
    }

    #[test]
    fn who_was_let_on_and_is_gone_keeps_nothing_from_the_others() {
        let (traffic, bytes) = full();
        let command = acquire();
        let mut waiting: Vec<_> = (0..2000).map(|_| Box::pin(traffic.capacity(&command))).collect();
        assert!(waiting.iter_mut().all(|capacity| poll(capacity.as_mut()).is_pending()));
        traffic.wrote(bytes);
        let mut last = waiting.pop().unwrap();
        drop(waiting);
        assert_eq!(poll(last.as_mut()), Poll::Ready(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_a_while_after_it_read_and_not_while_an_answer_is_outstanding() {
        let traffic = Traffic::default();
        tokio::time::sleep(2 * IDLE).await;
        assert!(!traffic.is_idle(), "nothing was said on it");
        traffic.wrote(1);
        traffic.read(b"+OK\r\n");
        assert!(!traffic.is_idle());
        tokio::time::sleep(IDLE).await;
        assert!(traffic.is_idle());
        traffic.wrote(1);
        tokio::time::sleep(2 * IDLE).await;
        assert!(!traffic.is_idle(), "that is not answered");
    }

    #[test]
    fn what_was_handed_over_and_never_written_makes_room_again() {
        let traffic = Traffic::default();
        traffic.count();
        drop(traffic.hand_over(BYTES));
        assert_eq!(traffic.unwritten.load(Ordering::Relaxed), 0);
        traffic.hand_over(BYTES).was_answered();
        assert_ne!(traffic.unwritten.load(Ordering::Relaxed), 0, "only what is written is taken off then");
    }
}
