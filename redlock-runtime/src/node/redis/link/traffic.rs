//! What is on its way into a connection's stream, and how much more goes there for now.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::poll_fn;
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Notify;

use crate::node::Command;
use crate::platform::clock;

/// So many bytes may be on their way into the stream before an acquire waits for them: about as many commands as the
/// connection's queue has places, so that who passes finds one.
const ROOM: usize = 256 * 1024;

/// Those who wait go on when no more than this is left to write.
const LOW: usize = ROOM / 2;

/// What a short acquire takes: so many of those who wait are let on as would fill the room with that.
const SHORT: usize = 256;

/// A connection on which nothing was outstanding, and nothing moved for so long, was closed because it was idle.
// Source: redis.conf, `timeout`: whole seconds, one at least; less what the clocks of both sides are apart in precision.
const IDLE: Duration = Duration::from_millis(900);

/// The commands of one connection that were handed over and not written yet.
///
/// What was handed over cannot be taken back: the connection writes it, whoever is gone meanwhile. So of a flood only as much is
/// handed over as is written in one go, and the rest waits here, where it can still be recalled.
#[derive(Debug, Default)]
pub(in crate::node) struct Traffic {
    /// Whether what is written is counted: somebody else's stream does not tell.
    is_counted: AtomicBool,
    /// How many bytes were handed over and not written yet.
    unwritten: AtomicUsize,
    /// How many wait.
    waiting: AtomicUsize,
    /// Tells those who wait that there is room, or that the stream is gone.
    moved: Notify,
    /// Whether the stream is gone.
    is_closed: AtomicBool,
    /// The error that was read first, if it was one.
    greeting: OnceLock<Option<Box<str>>>,
    /// Tells the one who keeps the connection that it is.
    ended: Notify,
    /// When something was written or read last, and whether it was written. A std mutex: it is never held across an await.
    last: Mutex<Option<(Instant, Moved)>>,
}

/// What a stream did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Wrote,
    Read,
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

impl Traffic {
    /// Counts from now on what is written.
    pub(in crate::node) fn count(&self) {
        self.is_counted.store(true, Ordering::Release);
    }

    /// So many bytes were written.
    pub(in crate::node) fn wrote(&self, bytes: usize) {
        self.note(Moved::Wrote);
        self.make_room(bytes);
    }

    /// This was read.
    pub(in crate::node) fn read(&self, bytes: &[u8]) {
        self.note(Moved::Read);
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

    fn note(&self, moved: Moved) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::now(), moved));
    }

    /// Whether everything was answered that was written, and that a while ago.
    pub(in crate::node) fn is_idle(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(moment, moved)| {
            moved == Moved::Read && clock::now().saturating_duration_since(moment) >= IDLE
        })
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

    /// Hands a command over, however much is on its way.
    pub(in crate::node) fn hand_over(&self, cmd: &Cmd) -> HandedOver<'_> {
        let bytes = if self.is_counted.load(Ordering::Acquire) { packed_length(cmd) } else { 0 };
        self.unwritten.fetch_add(bytes, Ordering::AcqRel);
        HandedOver { traffic: self, bytes }
    }

    /// Whether a command may be handed over now.
    pub(in crate::node) fn has_room(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) < ROOM
    }

    /// Waits until there is room, as long as the command is wanted.
    pub(in crate::node) async fn room(&self, command: &Command) -> Result<(), NotHandedOver> {
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

/// How many bytes a command takes on the wire.
// Source: https://redis.io/docs/latest/develop/reference/protocol-spec/, an array of bulk strings.
fn packed_length(cmd: &Cmd) -> usize {
    let line = |number: usize| 1 + number.checked_ilog10().unwrap_or(0) as usize + 1 + 2;
    let (count, bytes) = cmd.args_iter().fold((0, 0), |(count, bytes), arg| {
        let length = match arg {
            Arg::Simple(bytes) => bytes.len(),
            _ => 1,
        };
        (count + 1, bytes + line(length) + length + 2)
    });
    line(count) + bytes
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

    fn cmd() -> Cmd {
        redis::cmd("EVALSHA").arg("x".repeat(200)).arg(1).arg("").clone()
    }

    /// A connection that was handed as much as it takes.
    fn full() -> (Traffic, usize) {
        let traffic = Traffic::default();
        traffic.count();
        let mut bytes = 0;
        while traffic.has_room() {
            bytes += cmd().get_packed_command().len();
            std::mem::forget(traffic.hand_over(&cmd()));
        }
        (traffic, bytes)
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_length_of_a_command_is_that_of_what_is_written() {
        for cmd in [cmd(), redis::cmd("PING"), redis::cmd("SET").arg("k".repeat(1000)).arg(vec![0_u8; 10]).clone()] {
            assert_eq!(packed_length(&cmd), cmd.get_packed_command().len());
        }
    }

    #[test]
    fn who_waits_goes_on_when_enough_was_written_and_not_before() {
        let (traffic, bytes) = full();
        let command = acquire();
        let mut room = pin!(traffic.room(&command));
        assert!(poll(room.as_mut()).is_pending());
        traffic.wrote(1);
        assert!(poll(room.as_mut()).is_pending());
        traffic.wrote(bytes);
        assert_eq!(poll(room), Poll::Ready(Ok(())));
        assert_eq!(traffic.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_recalled_waits_for_nothing() {
        let (traffic, _) = full();
        let command = acquire();
        let mut room = pin!(traffic.room(&command));
        assert!(poll(room.as_mut()).is_pending());
        command.recall();
        assert_eq!(poll(room), Poll::Ready(Err(NotHandedOver::Recalled)));
    }

    #[test]
    fn nobody_waits_for_a_stream_that_is_gone() {
        let (traffic, _) = full();
        let command = acquire();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(traffic.room(&command))).collect();
        assert!(waiting.iter_mut().all(|room| poll(room.as_mut()).is_pending()));
        traffic.close();
        waiting.push(Box::pin(traffic.room(&command)));
        for mut room in waiting {
            assert_eq!(poll(room.as_mut()), Poll::Ready(Err(NotHandedOver::Closed)));
        }
    }

    #[test]
    fn who_was_let_on_and_is_gone_keeps_nothing_from_the_others() {
        let (traffic, bytes) = full();
        let command = acquire();
        let mut waiting: Vec<_> = (0..2000).map(|_| Box::pin(traffic.room(&command))).collect();
        assert!(waiting.iter_mut().all(|room| poll(room.as_mut()).is_pending()));
        traffic.wrote(bytes);
        let mut last = waiting.pop().unwrap();
        drop(waiting);
        assert_eq!(poll(last.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn what_was_handed_over_and_never_written_makes_room_again() {
        let traffic = Traffic::default();
        traffic.count();
        drop(traffic.hand_over(&cmd()));
        assert_eq!(traffic.unwritten.load(Ordering::Relaxed), 0);
        traffic.hand_over(&cmd()).was_answered();
        assert_ne!(traffic.unwritten.load(Ordering::Relaxed), 0, "only what is written is taken off then");
    }
}
