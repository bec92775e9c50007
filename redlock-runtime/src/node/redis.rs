//! A Redis server as a voter: what is sent for a command, and what an answer means.

mod counting;
mod inspecting;
mod server;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};

use super::commands;
use super::connection::{Dial, Links, Live, Now};
use super::{Action, Carrier, Changes, Command, Delivery, Failure, Known, Node, PendingReply, Reply};

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

impl Node for RedisNode {
    fn label(&self) -> &str {
        self.links.label()
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        match self.links.now() {
            Now::Up(live) => {
                let carrier = live.id.map_or(Carrier::Unknown, Carrier::Known);
                PendingReply::new(async move { send(live, &command).await }).carried_by(carrier)
            }
            Now::Down(reason) => PendingReply::new(std::future::ready(Reply::not_sent(reason))),
            Now::Connecting(link) => {
                let carrier = Arc::new(OnceLock::new());
                let known_later = Carrier::Later(Arc::clone(&carrier));
                let reply = async move {
                    match link.connected().await {
                        _ if command.is_recalled() => Reply::not_sent("nobody waits for it any more"),
                        Ok(live) => {
                            carrier.get_or_init(|| live.id);
                            send(live, &command).await
                        }
                        Err(reason) => Reply::not_sent(reason),
                    }
                };
                PendingReply::new(reply).with_extra_patience(self.links.connect_timeout()).carried_by(known_later)
            }
        }
    }

    fn known(&self) -> Known {
        self.links.known()
    }

    fn overdue(&self) {
        self.links.overdue();
    }

    fn report_to(&self, changes: Changes) {
        self.links.report_to(changes);
    }
}

/// Sends a command and reads its answer as a vote.
async fn send(mut live: Live, command: &Command) -> Reply {
    if let Action::Release { behind: Some(connection), .. } = command.action
        && live.is_to(connection)
    {
        // Without the right to kill, what the old connection still carries ends with its TTL.
        let _ = live.connection.send_packed_command(&commands::kill(connection)).await;
    }
    let is_watched = matches!(command.action, Action::Acquire { is_watched: true, .. });
    if let Some(subscription) = live.subscription.as_ref().filter(|_| is_watched) {
        // Before the attempt: a change behind it must not be missed.
        subscription.cover(&command.key).await;
        if command.is_recalled() {
            return Reply::not_sent("nobody waits for it any more");
        }
    }
    let reports_changes = live.reports_changes;
    let mut answer = answer(&mut live, commands::evaluate_known(command, reports_changes), is_watched).await;
    if answer.as_ref().is_err_and(is_unknown_script) {
        // This is the reload and the retry in one round trip.
        answer = self::answer(&mut live, commands::evaluate_unknown(command, reports_changes), is_watched).await;
    }
    match answer {
        Ok(value) => vote(&value),
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

fn is_acquire(command: &Command) -> bool {
    matches!(command.action, Action::Acquire { .. })
}

async fn answer(live: &mut Live, cmd: Cmd, is_watched: bool) -> Result<Value, RedisError> {
    if is_watched && live.reports_changes {
        let both = commands::watched(cmd);
        let mut answers = live.connection.send_packed_commands(&both, 0, both.len()).await?;
        return answers.pop().unwrap_or(Value::Nil).extract_error();
    }
    live.connection.send_packed_command(&cmd).await?.extract_error()
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

fn vote(value: &Value) -> Reply {
    match value {
        Value::Int(1) => Reply::Done,
        Value::Int(2) => Reply::DoneAndWanted,
        Value::Int(0) => Reply::NOT_OURS,
        Value::Int(-1) => Reply::Missing,
        Value::Array(holder) => match holder.as_slice() {
            [owner, Value::Int(milliseconds)] => Reply::NotOurs {
                owner: text(owner),
                // Negative for a key without an expiry, and for one that ended meanwhile.
                remaining: u64::try_from(*milliseconds).ok().map(Duration::from_millis),
            },
            _ => unexpected(value),
        },
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
    let reason = format!("an answer that the script never gives: {value:?}").into();
    Reply::Failed(Failure { reason, delivery: Delivery::Answered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_wrong_type_is_no_vote() {
        for value in [Value::Nil, Value::Okay, Value::Int(7), Value::Array(vec![Value::Int(1)])] {
            assert!(matches!(vote(&value), Reply::Failed(_)), "{value:?}");
        }
    }
}
