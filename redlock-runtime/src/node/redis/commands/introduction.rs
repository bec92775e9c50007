//! What a new connection says first, and what is said about a connection.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, Value};

use super::beside::{Beside, Mention};
use super::info::text;
use super::locks::LOADED;
use super::{Call, Script, script};
use crate::node::ConnectionId;
use crate::values::keys::Keys;

static TOUCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/touch.lua")));

/// What a new connection asks first: its number, the server's age and role; that the server reports changes of the keys
/// it is asked to, and knows the scripts; and how these may touch keys beside a lock's.
pub(in crate::node) fn handshake() -> Pipeline {
    let mut handshake = Pipeline::new();
    handshake.cmd("CLIENT").arg("ID");
    handshake.cmd("INFO").arg("server");
    handshake.cmd("INFO").arg("replication");
    handshake.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN");
    // What it is about is none of what follows.
    handshake.cmd("CLIENT").arg("CACHING").arg("YES");
    for script in LOADED {
        handshake.cmd("SCRIPT").arg("LOAD").arg(script.code);
    }
    handshake.cmd("CLIENT").arg("INFO");
    // Nobody has a lock without a name.
    for key in [Keys::contention(""), Keys::owner_label("")] {
        let declared = script(&TOUCH, Call::Unknown, &[&*key]);
        let mut undeclared = script(&TOUCH, Call::Unknown, &[]);
        undeclared.arg(key);
        handshake.add_command(undeclared).add_command(declared);
    }
    handshake
}

/// The answers to [`handshake`] that matter.
pub(in crate::node) struct Introduction<'a> {
    /// By which number the server knows the connection, if it told.
    pub(in crate::node) number: Option<i64>,
    /// What it calls our end of it, if it told; an empty name for an answer about another connection.
    pub(in crate::node) peer: Option<&'a str>,
    /// `INFO server` and `INFO replication`.
    pub(in crate::node) info: Option<(&'a Value, &'a Value)>,
    /// Whether it reports changes.
    pub(in crate::node) reports_changes: bool,
    /// Whether it took any of the scripts.
    pub(in crate::node) takes_scripts: bool,
    /// How scripts name keys beside a lock's.
    pub(in crate::node) beside: Beside,
}

pub(in crate::node) fn read_handshake(answers: &[Value]) -> Introduction<'_> {
    let number = match answers.first() {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    let info = match answers {
        [_, server, replication, ..] => Some((server, replication)),
        _ => None,
    };
    // Who may not ask for a key of his own is told of none.
    let reports_changes = matches!(answers, [_, _, _, Value::Okay, Value::Okay, ..]);
    let loaded = answers.get(5..9).unwrap_or_default();
    let takes_scripts = !loaded.iter().all(|answer| matches!(answer, Value::ServerError(_)));
    let client = answers.get(9).and_then(text).unwrap_or_default();
    let of_client =
        |name: &str| client.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let is_same = of_client("id").and_then(|id| id.parse().ok()) == number;
    let peer = of_client("addr").map(|address| if is_same { address } else { "" });
    let beside = match answers {
        [.., contenders, contenders_declared, notes, notes_declared] => Beside {
            contenders: Mention::read(contenders, contenders_declared),
            notes: Mention::read(notes, notes_declared),
        },
        _ => Beside::default(),
    };
    Introduction { number, peer, info, reports_changes, takes_scripts, beside }
}

/// Ends another connection at the server, if our end of it is called `peer` there.
pub(in crate::node) fn kill(connection: ConnectionId, peer: &str) -> Cmd {
    let mut kill = Cmd::new();
    kill.arg("CLIENT").arg("KILL").arg("ID").arg(connection.number);
    kill.arg("ADDR").arg(peer);
    kill
}

/// Asks a server whether it follows another.
pub(in crate::node) fn ask_role() -> Cmd {
    let mut ask = Cmd::new();
    ask.arg("INFO").arg("replication");
    ask
}

/// Asks a server who it is.
pub(in crate::node) fn identify() -> Cmd {
    let mut identify = Cmd::new();
    identify.arg("INFO").arg("server");
    identify
}

/// Asks for nothing but an answer.
pub(in crate::node) fn ping() -> Cmd {
    let mut ping = Cmd::new();
    ping.arg("PING");
    ping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beside_a_lock_are_declared_where_they_must_and_may_be() {
        let error = |text: &str| {
            let (code, details) = text.split_once(' ').unwrap_or((text, ""));
            let error = redis::parse_redis_value(format!("-{code} {details}\r\n").as_bytes()).unwrap();
            assert!(matches!(error, Value::ServerError(_)), "{error:?}");
            error
        };
        let undeclared = error("ERR script tried accessing undeclared key, key: redlock-waiting:{}");
        let other_slot = error("ERR Script attempted to access a non local key in a cluster node");
        let forbidden = error("NOPERM this user has no permissions to access one of the keys used as arguments");
        let moved = error("MOVED 7 127.0.0.1:7001");
        for (touched, declared, expect) in [
            (&Value::Nil, &Value::Nil, Mention::Argument),
            (&Value::Nil, &forbidden, Mention::Argument),
            (&forbidden, &forbidden, Mention::Argument),
            (&other_slot, &moved, Mention::Argument),
            (&undeclared, &Value::Nil, Mention::Key),
            (&error("ERR no"), &Value::Nil, Mention::Key),
            (&undeclared, &moved, Mention::Key),
            (&undeclared, &forbidden, Mention::Nowhere),
        ] {
            assert_eq!(Mention::read(touched, declared), expect, "{touched:?}, {declared:?}");
        }
        let answers = [Value::Okay, undeclared, Value::Nil, Value::Nil, Value::Nil];
        let beside = read_handshake(&answers).beside;
        assert_eq!(beside, Beside { contenders: Mention::Key, notes: Mention::Argument });
        assert_eq!(beside.of_one_key().contenders, Mention::Nowhere);
    }
}
