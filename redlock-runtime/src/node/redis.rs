//! A Redis server as a voter: what is sent for a command, and what an answer means.

mod counting;
mod errand;
mod inspecting;
mod server;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};

use super::commands::{self, Server};
use super::connection::{Dial, Links, Live, Now};
use crate::clock;
use crate::protocol::{Ballot, Counter, RETENTION, confirmation};

pub(super) use self::errand::Errand;
use super::{Action, Carrier, Changes, Command, Delivery, Failure, Known, PendingReply, Reply, Voter};

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
        let now = match command.action {
            Action::Release { .. } => self.links.now_or_alone(),
            Action::Acquire { .. } | Action::Commit { .. } | Action::Extend { .. } => self.links.now(),
        };
        match now {
            Now::Up(live) => {
                let carrier = live.id.map_or(Carrier::Unknown, Carrier::Known);
                PendingReply::to(Errand::begin(live, command)).carried_by(carrier)
            }
            Now::Down(reason) => PendingReply::new(std::future::ready(Reply::not_sent(reason))),
            Now::Connecting(link) => {
                let carrier = Arc::new(OnceLock::new());
                let known_later = Carrier::Later(Arc::clone(&carrier));
                let reply = async move {
                    match link.connected().await {
                        _ if command.is_recalled() => Reply::not_sent("nobody waits for it any more"),
                        Ok(mut live) => {
                            carrier.get_or_init(|| live.id);
                            send(&mut live, &command).await
                        }
                        Err(reason) => Reply::not_sent(reason),
                    }
                };
                PendingReply::new(reply).with_extra_patience(self.links.connect_timeout()).carried_by(known_later)
            }
        }
    }

    fn known(&self, _: &str) -> Known {
        self.links.known()
    }

    fn overdue(&self, _: &str) {
        self.links.overdue();
    }

    fn report_to(&self, changes: Changes) {
        self.links.report_to(changes);
    }

    fn close(&self) {
        self.links.close();
    }
}

/// Sends a command and reads its answer as a vote.
///
/// There is one such future for each command and node that is under way. What is seldom is boxed, so that it is small.
async fn send(live: &mut Live, command: &Command) -> Reply {
    if let Action::Release { behind: Some(connection), .. } = command.action
        && live.is_to(connection)
    {
        // Without the right to kill, what the old connection still carries ends with its TTL.
        let _ = Box::pin(live.connection.send_packed_command(&commands::kill(connection))).await;
    }
    let age = live.papers.age(clock::now());
    let server = Server::new(live.reports_changes, age);
    let is_watched = matches!(command.action, Action::Acquire { is_watched: true, .. });
    let mut answer = if is_watched {
        if let Some(subscription) = &live.subscription {
            // Before the attempt: a change behind it must not be missed.
            Box::pin(subscription.cover(&command.key)).await;
            if command.is_recalled() {
                return Reply::not_sent("nobody waits for it any more");
            }
        }
        Box::pin(watch(live, &commands::evaluate_known(command, server))).await
    } else {
        live.connection.send_packed_command(&commands::evaluate_known(command, server)).await
    };
    if is_unknown_script(&answer) {
        // This is the reload and the retry in one round trip.
        let reload = commands::evaluate_unknown(command, server);
        answer = if is_watched {
            Box::pin(watch(live, &reload)).await
        } else {
            Box::pin(live.connection.send_packed_command(&reload)).await
        };
    }
    match answer.and_then(Value::extract_error) {
        Ok(value) => vote(command, &value, age),
        // Whatever this key holds, no lock of ours does.
        Err(error) if error.code() == Some("WRONGTYPE") && !is_acquire(command) => Reply::NOT_OURS,
        Err(error) => {
            let delivery = if error.is_unrecoverable_error() || error.is_io_error() {
                live.note_broken();
                Delivery::Unknown(live.id)
            } else {
                Delivery::Answered
            };
            Reply::Failed(Failure { reason: error.to_string().into(), delivery })
        }
    }
}

/// Sends a command, of whose keys the server reports the next change if it can.
async fn watch(live: &mut Live, cmd: &Cmd) -> Result<Value, RedisError> {
    if !live.reports_changes {
        return live.connection.send_packed_command(cmd).await;
    }
    let both = commands::watched(cmd.clone());
    let mut answers = live.connection.send_packed_commands(&both, 0, both.len()).await?;
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
    match (command.action, value) {
        (Action::Acquire { .. }, Value::Int(granted @ (1.. | ..=-1))) => {
            // A counter is never that small.
            let stored = Some(granted.unsigned_abs()).filter(|counter| *counter > 1);
            Reply::Granted { counter: counter(stored), is_wanted: *granted < 0 }
        }
        (Action::Acquire { .. }, Value::Array(holder)) => match holder.as_slice() {
            [owner, Value::Int(milliseconds), stored] => Reply::NotOurs {
                owner: text(owner),
                // Negative for a key without an expiry, and for one that ended meanwhile.
                remaining: u64::try_from(*milliseconds).ok().map(Duration::from_millis),
                counter: counter(text(stored).and_then(|stored| stored.parse().ok())),
            },
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
        (Action::Extend { .. } | Action::Release { .. }, Value::Int(1)) => Reply::Done,
        (Action::Extend { .. } | Action::Release { .. }, Value::Int(0)) => Reply::NOT_OURS,
        (Action::Extend { .. }, Value::Int(-1)) => Reply::Missing,
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
    Reply::Failed(Failure { reason: never_given(value), delivery: Delivery::Answered })
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
        let release = Command::new(actions[3], &key, &owner);
        assert!(matches!(vote(&release, &Value::Int(7), Duration::MAX), Reply::Failed(_)));
    }
}
