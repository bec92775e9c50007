//! Commands that tasks of one runtime send in the same turn, and one script that carries them out.
//!
//! To send a command, to carry out its script and to read its answer costs each of both sides more than what it does with its
//! key. While few are on their way, each is sent at once. From so many on that are not written yet, those that come are gathered, until all
//! tasks that are ready had their turn; then they are sent together. That is the rule of [`Corked`](super::corked::Corked), for commands instead
//! of bytes.
//!
//! The order of what is about one key stays: a script takes no key twice, and whatever is sent by itself has those sent first that are gathered.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, ServerErrorKind, Value};
use tokio::sync::oneshot;
use tokio::task::unconstrained;

use super::traffic::{SHORT, Traffic};
use crate::node::Command;
use crate::node::redis::commands::{self, Call, Part};
use crate::platform::tasks::Handle;
use crate::platform::{clock, gathering};

/// A script takes no more than so many: those who wait for the first go on while the server carries out the next, and it does nothing
/// else for a third of a millisecond at most.
const MOST: usize = 32;

/// A crowd that has sent nothing for so long is gone: the next command may be a lone one, which waits for nobody.
const LASTS: Duration = Duration::from_millis(10);

/// The commands of a connection that are gathered.
pub(in crate::node) struct Batches {
    connection: MultiplexedConnection,
    traffic: Arc<Traffic>,
    /// Where answers are awaited.
    runtime: Handle,
    /// How many commands are carried out with others and not answered yet.
    under_way: Arc<AtomicUsize>,
    /// A std mutex: it is never held across an await.
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// Whether a task is about to send them.
    has_turn: bool,
    /// How many were gathered since the last turn.
    joined: usize,
    /// Until when the next ones are gathered from the first on, because so many were in the last turn.
    crowd_until: Option<Instant>,
}

/// A command that is gathered, or carried out with others.
struct Entry {
    part: Part,
    command: Arc<Command>,
    server: commands::Server,
    told: oneshot::Sender<Told>,
}

/// What becomes of a command that was gathered. If nothing is told, its runtime has ended, and it may have been sent.
#[derive(Debug)]
pub(in crate::node) enum Told {
    /// It was sent by itself, and this is the answer.
    Answer(Result<Value, RedisError>),
    /// It was carried out with others, and this is the answer.
    Together(Result<Value, RedisError>),
    /// Nothing was done, and it is to be sent by itself.
    Alone,
    /// It was not sent, because nobody wants it any more.
    Recalled,
}

impl Batches {
    pub(in crate::node) fn new(connection: MultiplexedConnection, traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            traffic,
            runtime: Handle::current(),
            under_way: Arc::default(),
            gathered: Mutex::default(),
        })
    }

    /// Gathers a command if others are, or many are on their way; if not, it is to be sent now, and those that were gathered are.
    pub(in crate::node) fn join(
        self: &Arc<Self>,
        command: &Arc<Command>,
        server: commands::Server,
    ) -> Option<oneshot::Receiver<Told>> {
        let Some(part) = commands::part_of(command, server) else {
            self.make_way();
            return None;
        };
        let mut gathered = self.gathered();
        let are_many = || {
            let crowd = gathering::crowd();
            self.under_way.load(Ordering::Relaxed) >= crowd
                || self.traffic.unwritten() >= crowd.saturating_sub(1) * SHORT
        };
        let is_crowd = || gathered.crowd_until.is_some_and(|until| clock::now() < until);
        if gathered.entries.is_empty() && !is_crowd() && !are_many() {
            return None;
        }
        let (told, answer) = oneshot::channel();
        gathered.entries.push(Entry { part, command: Arc::clone(command), server, told });
        gathered.joined += 1;
        self.traffic.put_on(SHORT);
        if gathered.entries.len() >= MOST {
            // A script that is full gains nothing by waiting.
            self.send(&mut gathered);
        }
        let has_turn = mem::replace(&mut gathered.has_turn, true);
        drop(gathered);
        if !has_turn {
            let turn = Turn(Some(Arc::clone(self)));
            self.runtime.spawn(turn.take());
        }
        Some(answer)
    }

    /// Sends what is gathered, before something is sent by itself.
    pub(in crate::node) fn make_way(&self) {
        self.send(&mut self.gathered());
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what is gathered. Whoever holds the lock knows that nothing is between that and the connection.
    fn send(&self, gathered: &mut Gathered) {
        let entries = mem::take(&mut gathered.entries);
        if entries.is_empty() {
            return;
        }
        let bytes = entries.len() * SHORT;
        for entries in cut(entries) {
            let under_way = UnderWay::of(&self.under_way, entries.len());
            let call = carry_out(self.connection.clone(), Arc::clone(&self.traffic), entries);
            let call = async move {
                call.await;
                drop(under_way);
            };
            // What is handed over here comes in this order, whatever the task that polls this may do yet before others have their turn;
            // the one that awaits the answer runs whenever it does.
            let mut call = Box::pin(unconstrained(call));
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                self.runtime.spawn(call);
            }
        }
        // Not before: their bytes have been put on once more by now.
        self.traffic.make_room(bytes);
    }
}

/// So many commands that are carried out.
struct UnderWay(Arc<AtomicUsize>, usize);

impl UnderWay {
    fn of(all: &Arc<AtomicUsize>, count: usize) -> Self {
        all.fetch_add(count, Ordering::Relaxed);
        Self(Arc::clone(all), count)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Who sends in the next turn what is gathered until then. If its runtime ends before, nobody waits for what it will never say.
struct Turn(Option<Arc<Batches>>);

impl Turn {
    async fn take(mut self) {
        let mut has_yielded = false;
        poll_fn(|cx| {
            if mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if let Some(batches) = self.0.take() {
            let mut gathered = batches.gathered();
            gathered.has_turn = false;
            let is_crowd = mem::take(&mut gathered.joined) >= gathering::crowd();
            gathered.crowd_until = is_crowd.then(|| clock::now() + LASTS);
            batches.send(&mut gathered);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(batches) = &self.0 {
            let entries = {
                let mut gathered = batches.gathered();
                gathered.has_turn = false;
                mem::take(&mut gathered.entries)
            };
            batches.traffic.make_room(entries.len() * SHORT);
            // Not under the lock: this wakes who waits.
            drop(entries);
        }
    }
}

/// What goes into one script each. What is wanted no more is left out.
fn cut(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut calls: Vec<Vec<Entry>> = Vec::new();
    for entry in entries {
        if entry.command.is_recalled() {
            let _ = entry.told.send(Told::Recalled);
            continue;
        }
        match calls.last_mut() {
            Some(call) if call.len() < MOST && call.iter().all(|other| may_go_with(&entry.command, &other.command)) => {
                call.push(entry);
            }
            _ => calls.push(vec![entry]),
        }
    }
    calls
}

/// A script sees to its parts in an order of its own, so what is about one key goes into another one: a release must not overtake the
/// acquire that it is to undo.
fn may_go_with(command: &Command, other: &Command) -> bool {
    command.key() != other.key() && command.retention == other.retention
}

/// Carries out what is in one script, and tells what came of it.
async fn carry_out(mut connection: MultiplexedConnection, traffic: Arc<Traffic>, mut entries: Vec<Entry>) {
    // The order in which the script answers.
    entries.sort_by_key(|entry| entry.part);
    let mut call = Call::Known;
    let answer = loop {
        let answer = ask(&mut connection, &traffic, &mut entries, call).await;
        match answer {
            // Nobody waits for it.
            None => return,
            Some(Ok(Value::ServerError(error))) if error.kind() == Some(ServerErrorKind::NoScript) => {
                if call == Call::Unknown || entries.len() == 1 {
                    return tell_all(entries, || Told::Alone);
                }
                // What nobody waits for is not sent once more.
                entries.retain(|entry| !entry.told.is_closed());
                entries = cut(entries).into_iter().flatten().collect();
                if entries.is_empty() {
                    return;
                }
                call = Call::Unknown;
            }
            Some(answer) => break answer,
        }
    };
    match answer {
        answer if entries.len() == 1 => tell_all(entries, || Told::Answer(answer.clone())),
        // One who may not touch one of the keys is refused all of them.
        Ok(Value::ServerError(error)) if !is_from_within(&error) => tell_all(entries, || Told::Alone),
        Ok(Value::Array(answers)) if answers.len() == entries.len() => {
            for (entry, answer) in entries.into_iter().zip(answers) {
                let _ = entry.told.send(Told::Together(Ok(answer)));
            }
        }
        answer @ (Err(_) | Ok(Value::ServerError(_))) => tell_all(entries, || Told::Together(answer.clone())),
        // The script never gives that, and none of them is what it would be taken for.
        Ok(_) => tell_all(entries, || Told::Together(Ok(Value::Okay))),
    }
}

fn tell_all(entries: Vec<Entry>, told: impl Fn() -> Told) {
    for entry in entries {
        let _ = entry.told.send(told());
    }
}

/// Whether a script was begun, so that something may have been done. What goes wrong in one names it.
fn is_from_within(error: &redis::ServerError) -> bool {
    error.details().is_some_and(|detail| detail.contains("script"))
}

/// Sends one call and awaits its answer, as long as somebody waits for any of it.
async fn ask(
    connection: &mut MultiplexedConnection,
    traffic: &Traffic,
    entries: &mut [Entry],
    call: Call,
) -> Option<Result<Value, RedisError>> {
    let command;
    let (cmd, length) = match &*entries {
        // Alone it is sent as ever.
        [entry] => {
            command = Arc::clone(&entry.command);
            commands::evaluate_known(&command, entry.server)
        }
        _ => {
            let each = entries.iter().map(|entry| (entry.part, &*entry.command, entry.server));
            let (cmd, length) = commands::evaluate_together(call, each);
            (Cow::Owned(cmd), length)
        }
    };
    let handed_over = traffic.hand_over(length);
    let mut answer = pin!(connection.send_packed_command(&cmd));
    let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if entries.iter_mut().all(|entry| entry.told.poll_closed(cx).is_ready()) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    handed_over.was_answered();
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Action;
    use crate::node::redis::commands::Beside;
    use crate::protocol::RETENTION;

    const RELEASE: Action = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };

    fn entry(action: Action, key: &str) -> (Entry, oneshot::Receiver<Told>) {
        let server = commands::Server::new(true, RETENTION, false, true, Beside::default());
        let command = Command::new(action, &key.into(), &"owner".into());
        let part = commands::part_of(&command, server).expect("it may be among others");
        let (told, answer) = oneshot::channel();
        (Entry { part, command, server, told }, answer)
    }

    /// The keys of each script.
    fn keys(calls: &[Vec<Entry>]) -> Vec<Vec<String>> {
        calls.iter().map(|call| call.iter().map(|entry| entry.command.key().to_string()).collect()).collect()
    }

    #[test]
    fn a_key_that_comes_again_goes_into_the_next_script_and_what_follows_it_too() {
        let acquire = Action::Acquire { ttl: Duration::from_secs(1), is_watched: false };
        let all = [(acquire, "a"), (acquire, "b"), (RELEASE, "a"), (acquire, "c"), (RELEASE, "b"), (acquire, "a")];
        let (entries, _answers): (Vec<_>, Vec<_>) = all.into_iter().map(|(action, key)| entry(action, key)).unzip();
        assert_eq!(keys(&cut(entries)), [vec!["a", "b"], vec!["a", "c", "b"], vec!["a"]]);
    }

    #[test]
    fn no_script_takes_more_than_so_many() {
        let (entries, _answers): (Vec<_>, Vec<_>) =
            (0..2 * MOST + 1).map(|number| entry(RELEASE, &number.to_string())).unzip();
        assert_eq!(cut(entries).iter().map(Vec::len).collect::<Vec<_>>(), [MOST, MOST, 1]);
    }

    #[test]
    fn what_is_recalled_is_told_so_and_not_sent() {
        let ((recalled, mut answer), (other, _other)) = (entry(RELEASE, "a"), entry(RELEASE, "a"));
        recalled.command.recall();
        assert_eq!(keys(&cut(vec![recalled, other])), [vec!["a"]]);
        assert!(matches!(answer.try_recv(), Ok(Told::Recalled)));
    }
}
