//! A Redis server as a voter: what is sent for a command, and what an answer means.

mod announce;
mod check;
pub(crate) mod cluster;
pub(super) mod commands;
mod counters;
mod inspect;
pub(crate) mod link;
mod pooled_request;
mod server;
pub(crate) mod tls;
pub(crate) mod url;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};

use self::commands::Preface;
use self::link::connection::{LinkState, Links, Live};
use self::link::dial::Dial;
use self::link::traffic::NotHandedOver;
use self::pooled_request::PooledRequest;
pub(super) use self::server::Server;
use crate::observe::NodeView;
use crate::platform::clock;
use crate::protocol::{
    Ballot, Counter, GrantedSlot, NoCounter, NoMark, OthersKey, PERMITS_RETENTION, RETENTION, Role, SaidPermits,
    StoredMark, ToldMark, ToldSlots, confirmation,
};
use crate::rules::{Rule, holds};
use crate::values::keys::{Keys, MOST_PERMITS};
use crate::values::permits::Slots;
use crate::values::subject::{Kind, Which};

use super::{
    Action, Carrier, Changes, Command, Delivery, Failure, MarkQuery, NodeStatus, Pending, PendingReply, Reply, Voter,
};

/// One Redis master.
#[derive(Debug)]
pub(crate) struct RedisNode {
    /// Its connections, one for each tokio runtime that uses it.
    links: Links,
}

impl RedisNode {
    pub(crate) fn new(dial: Dial) -> Self {
        Self { links: Links::new(dial) }
    }
}

impl Voter for RedisNode {
    fn label(&self) -> &str {
        self.links.label()
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        if !command.is_offered() {
            return PendingReply::new(std::future::ready(Reply::not_offered()));
        }
        self.put(command, Routing::Plainly)
    }

    fn known(&self, _: &str) -> NodeStatus {
        self.links.known()
    }

    fn overdue(&self, _: &str) {
        self.links.overdue();
    }

    fn report_to(&self, changes: Changes) {
        self.links.report_to(changes);
    }

    fn show_to(&self, view: NodeView) {
        self.links.show_to(view);
    }

    fn close(&self) {
        self.links.close();
    }
}

impl RedisNode {
    /// Puts a command as [`Voter::ask`] does.
    pub(super) fn put<T: Answer>(&self, command: Arc<Command>, routing: Routing) -> Pending<T> {
        let now = match command.action {
            Action::Release { .. } => self.links.now_or_alone(),
            Action::Acquire { .. }
            | Action::Adopt { .. }
            | Action::Commit { .. }
            | Action::Extend { .. }
            | Action::Mark => self.links.now(),
        };
        match now {
            LinkState::Up(live) => {
                let carrier = live.id.map_or(Carrier::Unknown, Carrier::Known);
                Pending::pooled(PooledRequest::begin(live, command, routing)).carried_by(carrier)
            }
            LinkState::Down(reason) => Pending::new(async move { T::of(Ok(Reply::not_sent(reason))) }),
            LinkState::Connecting(link) => {
                let carrier = Arc::new(OnceLock::new());
                let known_later = Carrier::Later(Arc::clone(&carrier));
                let reply = async move {
                    T::of(match link.connected().await {
                        _ if command.is_recalled() => Ok(recalled()),
                        Ok(mut live) => {
                            carrier.get_or_init(|| live.id);
                            send(&mut live, &command, routing).await
                        }
                        Err(reason) => Ok(Reply::not_sent(reason)),
                    })
                };
                Pending::new(reply).with_extra_time(self.links.connect_timeout()).carried_by(known_later)
            }
        }
    }

    /// Returns when it is known whether there is a connection.
    pub(super) async fn tried(&self) {
        if let LinkState::Connecting(link) = self.links.now() {
            let _ = link.connected().await;
        }
    }
}

/// How a command is put to a server of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// As to any server.
    Plainly,
    /// As to one that is just being given the key's slot, which does nothing for those keys that it is not told to.
    Asking,
}

/// Which other server of a cluster a command has to be put to: the one that was asked did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// This one, from now on.
    Moved(String),
    /// This one, just now: the slot is on its way there, and the server that was asked has none of the keys any more.
    Ask(String),
    /// The same again: the slot is on its way, and some of the keys are here and some are there.
    TryAgain,
}

impl Redirect {
    fn of(error: &RedisError) -> Option<Self> {
        match (error.kind(), error.redirect_node()) {
            (redis::ErrorKind::Server(ServerErrorKind::Moved), Some((address, _))) => {
                Some(Self::Moved(address.to_owned()))
            }
            (redis::ErrorKind::Server(ServerErrorKind::Ask), Some((address, _))) => Some(Self::Ask(address.to_owned())),
            (redis::ErrorKind::Server(ServerErrorKind::TryAgain), _) => Some(Self::TryAgain),
            _ => None,
        }
    }
}

/// What a server's answer is to whoever asked it.
pub(super) trait Answer: Send + 'static {
    fn of(answer: Result<Reply, Redirect>) -> Self;
}

/// Asked as a node of its own.
impl Answer for Reply {
    fn of(answer: Result<Reply, Redirect>) -> Self {
        answer.unwrap_or_else(|_| {
            Self::not_sent("it is one server of a Redis Cluster; write its URL as redis+cluster://host1,host2")
        })
    }
}

/// Asked as a server of a cluster.
impl Answer for Result<Reply, Redirect> {
    fn of(answer: Self) -> Self {
        answer
    }
}

/// Sends a command and reads its answer as a vote.
///
/// There is one such future for each command and node that is under way. What is seldom is boxed, so that it is small.
async fn send(live: &mut Live, command: &Command, routing: Routing) -> Result<Reply, Redirect> {
    if command.is_recalled() {
        return Ok(recalled());
    }
    if let Action::Release { behind: Some(connection), .. } = command.action
        && live.is_to(connection)
        && holds(Rule::KillCutConnection)
    {
        let endpoint = live.endpoint.clone();
        // Without the right to kill, what the old connection still carries ends with its TTL.
        let _ = Box::pin(
            live.connection.send_packed_command(&commands::kill(connection, &endpoint.write_peer(connection.peer))),
        )
        .await;
    }
    // What is asked of a key that its owner has depends on no age.
    let age = match command.action {
        Action::Acquire { .. } | Action::Adopt { .. } => live.server_info.age(clock::now()),
        Action::Commit { .. } | Action::Extend { .. } | Action::Release { .. } | Action::Mark => Duration::ZERO,
    };
    let is_asking = routing == Routing::Asking;
    let server = commands::Server::new(live.reports_changes, age, is_asking, live.set_tells, live.beside);
    let server = if command.mark.is_some() { server.with_age(age) } else { server };
    let is_watched = matches!(command.action, Action::Acquire { is_watched: true, .. });
    let preface = Preface {
        // Both would hold for the next command alone, whatever that is; the slow poll notices what is not reported.
        is_watched: is_watched && live.reports_changes && !is_asking,
        is_asking,
    };
    if let Some(subscription) = live.subscription.as_ref().filter(|_| is_watched) {
        // Before the attempt: a change behind it must not be missed.
        Box::pin(subscription.cover(command.subject.keys())).await;
        if command.is_recalled() {
            return Ok(recalled());
        }
    }
    // What was asked for already is waited for by its release, or by nobody: an acquire behind it makes room for both.
    if is_acquire(command)
        && !live.traffic.has_room()
        && let Err(reason) = Box::pin(live.traffic.capacity(command)).await
    {
        return Ok(not_handed_over(live, reason));
    }
    let about = live.about();
    let (cmd, length) = commands::evaluate_known(command, server);
    let handed_over = about.traffic.hand_over(length);
    let mut answer = if preface.is_empty() {
        live.connection.send_packed_command(&cmd).await
    } else {
        Box::pin(behind(preface, live, &cmd)).await
    };
    handed_over.was_answered();
    if is_unknown_script(&answer) {
        if command.is_recalled() {
            return Ok(recalled());
        }
        // This is the reload and the retry in one round trip.
        answer = Box::pin(behind(preface, live, &commands::evaluate_unknown(command, server))).await;
    }
    match answer.and_then(Value::extract_error) {
        Ok(value) => {
            // Where a slot is on its way to, the mark may not have come yet.
            let age = if is_asking && command.mark.is_some() { Duration::ZERO } else { age };
            let vote =
                if commands::is_plain(command, server) { plain_vote(&value) } else { vote(command, &value, age) };
            Ok(if is_relied_on(command, &vote) { confirmed(live, command, vote).await } else { vote })
        }
        // Whatever this key holds, no lock of ours does.
        Err(error) if error.code() == Some("WRONGTYPE") && !is_acquire(command) => Ok(Reply::NOT_OURS),
        // Its acquire has set the key; that is seen to as after any error.
        Err(error) if is_acquire(command) && command.fence.is_some() && is_about_a_counter(&error) => {
            Ok(answered_with(NoCounter::Text.about(&Keys::fence(command.key())).into()))
        }
        Err(error) if is_acquire(command) && is_about_the_time(command, &error) => {
            let reason = Arc::from(
                "readers need a server whose scripts may call TIME; allow it to the user of this URL (`ACL SETUSER ... +time`), or use \
                 Redis 5 or later",
            );
            Ok(Reply::Failed(Failure { reason, delivery: Delivery::Incapable }))
        }
        Err(error) => Redirect::of(&error).map_or_else(|| Ok(failed(live, &error)), Err),
    }
}

/// Whether this is what a server says that cannot raise a number: it is none, or the greatest there is.
// Source: incrDecrCommand, https://github.com/redis/redis/blob/7.0/src/t_string.c
fn is_about_a_counter(error: &RedisError) -> bool {
    let text = error.to_string();
    ["is not an integer or out of range", "increment or decrement would overflow"]
        .iter()
        .any(|told| text.contains(told))
}

/// Whether this is what `read.lua` comes to on a server that does not let scripts know the time, or write behind that.
// Source: scriptCall, https://github.com/redis/redis/blob/4.0/src/scripting.c
fn is_about_the_time(command: &Command, error: &RedisError) -> bool {
    let is_readers = matches!(command.subject.kind(), Some(Kind::Reader(_)));
    let is_told = |text: String| ["may call TIME", "non deterministic commands"].iter().any(|told| text.contains(told));
    is_readers && is_told(error.to_string())
}

/// It was not sent, because nobody wants it any more: there is nothing to undo.
pub(super) fn recalled() -> Reply {
    Reply::not_sent("it was cancelled before it was sent")
}

fn not_handed_over(live: &Live, reason: NotHandedOver) -> Reply {
    match reason {
        NotHandedOver::Recalled => recalled(),
        NotHandedOver::Closed => {
            live.note_broken();
            Reply::not_sent("the connection was closed")
        }
    }
}

fn failed(live: &Live, error: &RedisError) -> Reply {
    let delivery = if error.is_unrecoverable_error() || error.is_io_error() {
        live.note_broken();
        Delivery::Unknown(live.id)
    } else {
        Delivery::Answered
    };
    if error.kind() == redis::ErrorKind::Server(ServerErrorKind::ReadOnly) && live.server_info.role() == Role::Master {
        live.note_changed_role();
    }
    let reason = live.bound.reason(error);
    let reason = if !live.takes_scripts && is_refused_script(error) {
        format!("the server does not carry out scripts, which locks need: {reason}").into()
    } else {
        reason
    };
    Reply::Failed(Failure { reason, delivery })
}

/// Whether a server that takes no scripts may have refused to carry one out, in whatever words. What goes wrong in a script
/// names that script.
fn is_refused_script(error: &RedisError) -> bool {
    let is_about_something_else = |code: &str| code != "ERR" && code.bytes().all(|byte| byte.is_ascii_uppercase());
    !error.code().is_none_or(is_about_something_else)
        && error.detail().is_none_or(|detail| !detail.contains("script: "))
}

/// Whether somebody relies on it that the server does not forget what it has answered.
fn is_relied_on(command: &Command, vote: &Reply) -> bool {
    match command.action {
        Action::Acquire { .. } | Action::Adopt { .. } => match vote {
            Reply::Granted { .. } => true,
            Reply::Slots(told) => told.granted.is_some(),
            // That a fire was completed is told to whoever asks for it.
            Reply::NotOurs { mark: Some(told), .. } => command.mark.is_some_and(|query| query.refuses(told.stored)),
            _ => false,
        },
        Action::Commit { .. } | Action::Extend { .. } | Action::Mark => *vote == Reply::Done,
        // Also that the key is not there: a replica that takes over may have it still, for its TTL.
        Action::Release { .. } => matches!(vote, Reply::Done | Reply::Covered | Reply::NotOurs { .. }),
    }
}

/// Such a vote, if as many replicas have it as must.
async fn confirmed(live: &Live, command: &Command, vote: Reply) -> Reply {
    if live.server_info.role() == Role::Replica {
        // It was promoted since it told.
        live.note_changed_role();
    }
    let Some(acknowledgements) = &live.acknowledgements else { return vote };
    match Box::pin(acknowledgements.of(command.key())).await {
        Ok(()) => vote,
        Err(reason) => answered_with(reason),
    }
}

fn answered_with(reason: Arc<str>) -> Reply {
    Reply::Failed(Failure { reason, delivery: Delivery::Answered })
}

/// Sends a command behind what is said in front of it.
async fn behind(preface: Preface, live: &mut Live, cmd: &Cmd) -> Result<Value, RedisError> {
    let all = commands::prefaced(cmd.clone(), preface);
    let mut answers = live.connection.send_packed_commands(&all, 0, all.len()).await?;
    Ok(answers.pop().unwrap_or(Value::Nil))
}

fn is_unknown_script(answer: &Result<Value, RedisError>) -> bool {
    matches!(answer, Ok(Value::ServerError(error)) if error.kind() == Some(ServerErrorKind::NoScript))
}

fn is_acquire(command: &Command) -> bool {
    matches!(command.action, Action::Acquire { .. })
}

fn vote(command: &Command, value: &Value, age: Duration) -> Reply {
    let counter = |stored| command.fence.map(|_| Counter::read(stored, age, RETENTION));
    let granted = |granted: i64, mark| {
        // A counter is never that small.
        let stored = Some(granted.unsigned_abs()).filter(|counter| *counter > 1);
        Reply::Granted { counter: counter(stored), is_wanted: granted < 0, mark }
    };
    if let (Action::Acquire { .. }, Some((slots, Which::Any))) = (command.action, command.subject.permits()) {
        return told_slots(slots, value, counter);
    }
    match (command.action, value) {
        (Action::Acquire { .. }, Value::Int(number @ (1.. | ..=-1))) => {
            // A smaller mark that was written since the server started says no more than one of no fire that was written just now.
            let told =
                |MarkQuery { retention, .. }| ToldMark { stored: Some(StoredMark::NONE), left: Some(retention), age };
            granted(*number, command.mark.map(|query| Box::new(told(query))))
        }
        (Action::Acquire { .. }, Value::Array(told)) => match told.as_slice() {
            [Value::Int(number @ (1.. | ..=-1))] if command.mark.is_some() => {
                granted(*number, Some(Box::new(ToldMark { stored: None, left: None, age })))
            }
            [Value::Int(number @ (1.. | ..=-1)), left, mark] if command.mark.is_some() => {
                match told_mark(command, mark, left, age) {
                    Ok(mark) => granted(*number, Some(mark)),
                    Err(reply) => reply,
                }
            }
            [owner, Value::Int(milliseconds), stored] => refusal(command, owner, *milliseconds, stored, None, counter),
            [owner, Value::Int(milliseconds), stored, mark, left] => match told_mark(command, mark, left, age) {
                Ok(mark) => refusal(command, owner, *milliseconds, stored, Some(mark), counter),
                Err(reply) => reply,
            },
            _ => unexpected(value),
        },
        (Action::Adopt { .. }, Value::Array(held)) => match held.as_slice() {
            [Value::Nil, Value::Int(_), _] => Reply::Missing,
            [owner, Value::Int(milliseconds), stored] => {
                match refusal(command, owner, *milliseconds, stored, None, counter) {
                    Reply::NotOurs { owner: Some(owner), counter, .. } if owner == command.owner => {
                        Reply::Granted { counter, is_wanted: false, mark: None }
                    }
                    reply => reply,
                }
            }
            _ => unexpected(value),
        },
        (Action::Commit { token }, Value::Int(_) | Value::Nil) => {
            let stored = if let Value::Int(stored) = value { u64::try_from(*stored).ok() } else { None };
            if confirmation(token, stored.map(Counter::Known)) == Ballot::Granted {
                Reply::Done
            } else {
                Reply::NOT_OURS
            }
        }
        (Action::Extend { .. } | Action::Release { .. } | Action::Mark, Value::Int(1)) => Reply::Done,
        (Action::Extend { .. } | Action::Release { .. } | Action::Mark, Value::Int(0)) => Reply::NOT_OURS,
        (Action::Release { .. } | Action::Mark, Value::Int(2)) if command.new_mark.is_some() => Reply::Covered,
        (Action::Release { .. } | Action::Mark, Value::Int(3)) if command.new_mark.is_some() => {
            answered_with(NoMark::about(&Keys::done(command.key())).into())
        }
        (Action::Extend { .. }, Value::Int(-1)) => Reply::Missing,
        _ => unexpected(value),
    }
}

/// Reads whose key it is, for how long, and the fencing counter, which a script tells that found the key.
fn refusal(
    command: &Command,
    owner: &Value,
    milliseconds: i64,
    stored: &Value,
    mark: Option<Box<ToldMark>>,
    counter: impl Fn(Option<u64>) -> Option<Counter>,
) -> Reply {
    match text(stored).map_or(Ok(None), |stored| Counter::parse(&stored)) {
        Ok(stored) => Reply::NotOurs {
            owner: text(owner),
            // Negative for a key without an expiry, and for one that ended meanwhile.
            remaining: u64::try_from(milliseconds).ok().map(Duration::from_millis),
            counter: counter(stored),
            mark,
        },
        Err(fault) => answered_with(fault.about(&Keys::fence(command.key())).into()),
    }
}

/// Reads what `permit.lua` tells.
fn told_slots(slots: &Slots, value: &Value, counter: impl Fn(Option<u64>) -> Option<Counter>) -> Reply {
    let read = || {
        let Value::Array(told) = value else { return None };
        let [Value::Int(granted), Value::Int(number), permits, held, counters, lives] = told.as_slice() else {
            return None;
        };
        let granted = match usize::try_from(*granted).ok()?.checked_sub(1) {
            None => None,
            Some(position) => {
                let slot = *slots.order().get(position)?;
                // A counter is never that small.
                let stored = Some(number.unsigned_abs()).filter(|counter| *counter > 1);
                Some(GrantedSlot { slot, counter: counter(stored), is_wanted: *number < 0 })
            }
        };
        let permits = match permits {
            Value::Int(permits) => u8::try_from(*permits).ok().filter(|permits| *permits <= MOST_PERMITS),
            _ => None,
        };
        let lives = match lives {
            // Negative for a key without an expiry, which is not ours.
            Value::Int(lives) => Some(u64::try_from(*lives).map_or(PERMITS_RETENTION, Duration::from_millis)),
            _ => None,
        };
        let said = |(permits, lives): (u8, Duration)| SaidPermits { permits, lives: lives.min(PERMITS_RETENTION) };
        let permits = permits.zip(lives).map(said);
        let told = text(held)?;
        let mut held = vec![None; slots.order().len()];
        let mut words = told.split(' ');
        for slot in slots.order() {
            let word = words.next()?;
            let (owner, remaining) = word.split_once(':').map_or((word, None), |(owner, left)| (owner, Some(left)));
            // Negative for a key without an expiry, and for one that ended meanwhile.
            let remaining = remaining.and_then(|left| left.parse().ok()).map(Duration::from_millis);
            *held.get_mut(usize::from(*slot))? =
                (owner != "-").then(|| OthersKey::told(Some(owner), None, remaining, clock::now));
        }
        let counters = match counters {
            Value::Nil => Vec::new(),
            told => {
                let told = text(told)?;
                let mut counters = vec![None; slots.order().len()];
                for (slot, word) in slots.order().iter().zip(told.split(' ')) {
                    let stored = if word == "-" { Ok(None) } else { Counter::parse(word) };
                    *counters.get_mut(usize::from(*slot))? = stored.ok().and_then(&counter);
                }
                counters
            }
        };
        Some(Reply::Slots(Box::new(ToldSlots { granted, held, counters, permits })))
    };
    read().unwrap_or_else(|| unexpected(value))
}

/// Reads what a script found under the key of the mark, on a server of this age; else what the node's answer comes to.
fn told_mark(command: &Command, value: &Value, left: &Value, age: Duration) -> Result<Box<ToldMark>, Reply> {
    let stored = match value {
        Value::Nil => return Ok(Box::new(ToldMark { stored: None, left: None, age })),
        Value::BulkString(stored) => stored.as_slice(),
        _ => &[],
    };
    let Ok(Ok(stored)) = std::str::from_utf8(stored).map(StoredMark::parse) else {
        return Err(answered_with(NoMark::about(&Keys::done(command.key())).into()));
    };
    // Negative for a mark without an expiry, which nobody of ours wrote.
    let left = if let Value::Int(left) = left { u64::try_from(*left).ok() } else { None };
    Ok(Box::new(ToldMark { stored: Some(stored), left: left.map(Duration::from_millis), age }))
}

/// What the answer to an acquire without script means: the value that was there before.
fn plain_vote(value: &Value) -> Reply {
    match value {
        Value::Nil => Reply::Granted { counter: None, is_wanted: false, mark: None },
        Value::BulkString(_) => Reply::NotOurs { owner: text(value), remaining: None, counter: None, mark: None },
        _ => unexpected(value),
    }
}

fn text(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().map(Arc::from),
        _ => None,
    }
}

fn unexpected(value: &Value) -> Reply {
    answered_with(never_given(value))
}

/// Tells of an answer that no script gives, but no text in it: whoever reads an owner's value can release its lock.
fn never_given(value: &Value) -> Arc<str> {
    let shown = match value {
        Value::Int(number) => format!("the number {number}"),
        Value::Nil => "nothing".to_owned(),
        Value::Array(values) => format!("{} values", values.len()),
        _ => "a text, or something else".to_owned(),
    };
    format!("an answer that the script never gives: {shown}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_wrong_type_is_no_vote() {
        let (key, owner) = ("key".into(), "owner".into());
        let ttl = Duration::from_secs(1);
        let actions = [
            Action::Acquire { ttl, is_watched: false },
            Action::Adopt { ttl },
            Action::Commit { token: 5 },
            Action::Extend { ttl, is_noted: false },
            Action::Release { keep: Duration::ZERO, behind: None, is_noted: false },
        ];
        for action in actions {
            let command = Command::new(action, &key, &owner);
            for value in
                [Value::Okay, Value::Boolean(true), Value::Array(vec![Value::Int(1)]), Value::SimpleString("1".into())]
            {
                assert!(matches!(vote(&command, &value, Duration::MAX), Reply::Failed(_)), "{action:?}: {value:?}");
                let secret = Value::Array(vec![Value::BulkString(b"secret".to_vec())]);
                assert!(!format!("{:?}", vote(&command, &secret, Duration::MAX)).contains("secret"), "{action:?}");
            }
        }
        let release = Command::new(actions[4], &key, &owner);
        assert!(matches!(vote(&release, &Value::Int(7), Duration::MAX), Reply::Failed(_)));
    }
}
