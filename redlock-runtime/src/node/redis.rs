//! A Redis server as a voter: what is sent for a command, and what an answer means.

mod counting;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};

use super::commands;
use super::connection::{Dial, Links, Live, Now};
use super::{Action, Carrier, Command, Delivery, Failure, Known, Node, PendingReply, Reply};

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
                            if let Some(id) = live.id {
                                carrier.get_or_init(|| id);
                            }
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
}

/// Sends a command and reads its answer as a vote.
async fn send(mut live: Live, command: &Command) -> Reply {
    if let Action::Release { behind: Some(connection), .. } = command.action
        && live.is_to(connection)
    {
        // Without the right to kill, what the old connection still carries ends with its TTL.
        let _ = live.connection.send_packed_command(&commands::kill(connection)).await;
    }
    let mut answer = answer(&mut live, &commands::evaluate_known(command)).await;
    if answer.as_ref().is_err_and(is_unknown_script) {
        // This is the reload and the retry in one round trip.
        answer = self::answer(&mut live, &commands::evaluate_unknown(command)).await;
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

async fn answer(live: &mut Live, cmd: &Cmd) -> Result<Value, RedisError> {
    live.connection.send_packed_command(cmd).await?.extract_error()
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

fn vote(value: &Value) -> Reply {
    match value {
        Value::Int(1) => Reply::Done,
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
