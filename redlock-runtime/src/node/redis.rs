//! A Redis server as a voter. The only file that speaks Redis commands.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};

use super::connection::{Dial, Links, Live, Now};
use super::{Action, Carrier, Command, ConnectionId, Delivery, Failure, Known, Node, PendingReply, Reply};

/// The scripts, in the order in which a new connection loads them.
pub(super) static SCRIPTS: LazyLock<[Script; 3]> = LazyLock::new(|| {
    [
        Script::new(include_str!("lua/acquire.lua")),
        Script::new(include_str!("lua/extend.lua")),
        Script::new(include_str!("lua/release.lua")),
    ]
});

/// A Lua script and the hash under which a server knows it.
#[derive(Debug)]
pub(super) struct Script {
    /// The source.
    pub(super) code: &'static str,
    /// SHA-1 of the source, in hexadecimal.
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

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
    let (script, milliseconds) = match command.action {
        Action::Acquire { ttl } => (&SCRIPTS[0], ttl),
        Action::Extend { ttl } => (&SCRIPTS[1], ttl),
        Action::Release { keep, .. } => (&SCRIPTS[2], keep),
    };
    if let Action::Release { behind: Some(ConnectionId(id)), .. } = command.action {
        // Without the right to kill, what the old connection still carries ends with its TTL.
        let mut kill = Cmd::new();
        kill.arg("CLIENT").arg("KILL").arg("ID").arg(id);
        let _ = live.connection.send_packed_command(&kill).await;
    }
    let milliseconds = whole_milliseconds(milliseconds);
    let mut answer = answer(&mut live, &evaluation("EVALSHA", &script.hash, command, milliseconds)).await;
    if answer.as_ref().is_err_and(is_unknown_script) {
        // EVAL leaves the script with the server, so this is the reload and the retry in one round trip.
        answer = self::answer(&mut live, &evaluation("EVAL", script.code, command, milliseconds)).await;
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

fn evaluation(verb: &str, script: &str, command: &Command, milliseconds: u64) -> Cmd {
    const ROOM_FOR_THE_SCRIPT_AND_A_USUAL_NAME: usize = 256;
    let mut cmd = Cmd::with_capacity(6, ROOM_FOR_THE_SCRIPT_AND_A_USUAL_NAME);
    cmd.arg(verb).arg(script).arg(1).arg(&*command.key).arg(&*command.owner).arg(milliseconds);
    cmd
}

/// Rounded up: a key never lives shorter than asked, and never has an expiry of zero, which would delete it.
fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
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
    fn durations_are_sent_in_whole_milliseconds_and_never_as_zero() {
        assert_eq!(whole_milliseconds(Duration::from_secs(1)), 1000);
        assert_eq!(whole_milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(whole_milliseconds(Duration::ZERO), 0);
        assert_eq!(whole_milliseconds(Duration::from_micros(1500)), 2);
    }

    #[test]
    fn an_answer_of_the_wrong_type_is_no_vote() {
        for value in [Value::Nil, Value::Okay, Value::Int(7), Value::Array(vec![Value::Int(1)])] {
            assert!(matches!(vote(&value), Reply::Failed(_)), "{value:?}");
        }
    }
}
