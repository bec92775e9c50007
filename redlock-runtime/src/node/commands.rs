//! All that is said to a Redis server. With the files below it the only one that knows Redis commands.

pub(super) mod examining;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::counting::{GONE, LEASE, LISTED, Number, OTHERS, Unwanted};
use super::endpoint::Endpoint;
use super::identity::text;
use super::inspecting::{Cursor, Note};
use super::{Action, Command, ConnectionId};
use crate::keys::{CounterKeys, Keys, LockKeys};
use crate::protocol::{Counter, RETENTION};

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/acquire.lua")));
static ADOPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/adopt.lua")));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/commit.lua")));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/extend.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/release.lua")));

// Not loaded with those: whoever never waits never needs them.
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/settle.lua")));
static ENLIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/enlist.lua")));
static NOTE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/note.lua")));
static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/look.lua")));
static RESET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/reset.lua")));
static TAKE_OUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/take_out.lua")));
static TOUCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/touch.lua")));

/// A Lua script and the hash under which a server knows it.
struct Script {
    /// The source.
    code: &'static str,
    /// SHA-1 of the source, in hexadecimal.
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    fn of(action: Action) -> &'static Self {
        match action {
            Action::Acquire { .. } => &ACQUIRE,
            Action::Adopt { .. } => &ADOPT,
            Action::Commit { .. } => &COMMIT,
            Action::Extend { .. } => &EXTEND,
            Action::Release { .. } => &RELEASE,
        }
    }
}

/// What a new connection asks first: its number, the server's age and role; that the server reports changes of the keys
/// it is asked to, and knows the scripts; and how these may touch keys beside a lock's.
pub(super) fn handshake() -> Pipeline {
    let mut handshake = Pipeline::new();
    handshake.cmd("CLIENT").arg("ID");
    handshake.cmd("INFO").arg("server");
    handshake.cmd("INFO").arg("replication");
    handshake.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN");
    // What it is about is none of what follows.
    handshake.cmd("CLIENT").arg("CACHING").arg("YES");
    for script in [&ACQUIRE, &COMMIT, &EXTEND, &RELEASE] {
        handshake.cmd("SCRIPT").arg("LOAD").arg(script.code);
    }
    handshake.cmd("CLIENT").arg("INFO");
    // Nobody has a lock without a name.
    for key in [Keys::contention(""), Keys::note("")] {
        let declared = script(&TOUCH, Call::Unknown, &[&*key]);
        let mut undeclared = script(&TOUCH, Call::Unknown, &[]);
        undeclared.arg(key);
        handshake.add_command(undeclared).add_command(declared);
    }
    handshake
}

/// The answers to [`handshake`] that matter.
pub(super) struct Introduction<'a> {
    /// By which number the server knows the connection, if it told.
    pub(super) number: Option<i64>,
    /// What it calls our end of it, if it told; an empty name for an answer about another connection.
    pub(super) peer: Option<&'a str>,
    /// `INFO server` and `INFO replication`.
    pub(super) info: Option<(&'a Value, &'a Value)>,
    /// Whether it reports changes.
    pub(super) reports_changes: bool,
    /// Whether it took any of the scripts.
    pub(super) takes_scripts: bool,
    /// How scripts name keys beside a lock's.
    pub(super) beside: Beside,
}

pub(super) fn read_handshake(answers: &[Value]) -> Introduction<'_> {
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

/// Ends another connection at the server, if that is really ours.
pub(super) fn kill(connection: ConnectionId, endpoint: &Endpoint) -> Cmd {
    let mut kill = Cmd::new();
    kill.arg("CLIENT").arg("KILL").arg("ID").arg(connection.number);
    kill.arg("ADDR").arg(endpoint.write_peer(connection.peer));
    kill
}

/// The channel on which a Sentinel tells that a service has another master.
pub(super) const MASTER_SWITCHED: &str = "+switch-master";

/// What a Sentinel answers that watches over no such service.
pub(super) const NO_SUCH_MASTER: &str = "No such master with that name";

/// Asks a Sentinel where the master of a service is, and for the state of the service.
pub(super) fn find_master(service: &str) -> Pipeline {
    let mut question = Pipeline::new();
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    question.cmd("SENTINEL").arg("MASTER").arg(service);
    question
}

/// Writes these keys, as far as the server has their slots, and counts the replicas that have them, once so many do or the
/// time is over. They have whatever was written before as well.
pub(super) fn count_replicas(marks: &[String], needed: usize, within: Duration) -> Pipeline {
    let mut question = Pipeline::with_capacity(marks.len() + 1);
    for mark in marks {
        question.cmd("SET").arg(mark).arg(1).arg("PX").arg(1000);
    }
    question.cmd("WAIT").arg(needed).arg(whole_milliseconds(within));
    question
}

/// Asks a server of a cluster how that is, and which servers have which slots.
pub(super) fn map_cluster() -> Pipeline {
    let mut question = Pipeline::new();
    question.cmd("CLUSTER").arg("INFO");
    question.cmd("CLUSTER").arg("SLOTS");
    question
}

/// Asks a server whether it follows another.
pub(super) fn ask_role() -> Cmd {
    let mut ask = Cmd::new();
    ask.arg("INFO").arg("replication");
    ask
}

/// Asks a server who it is.
pub(super) fn identify() -> Cmd {
    let mut identify = Cmd::new();
    identify.arg("INFO").arg("server");
    identify
}

/// Asks for nothing but an answer.
pub(super) fn ping() -> Cmd {
    let mut ping = Cmd::new();
    ping.arg("PING");
    ping
}

/// How scripts that acquire, extend and release a lock name the keys beside it, without which they go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// The key of those who wait for the lock.
    pub(super) contenders: Mention,
    /// The key of what is noted about the owner.
    pub(super) notes: Mention,
}

/// How a script names a key without which it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mention {
    /// As an argument: Redis lets scripts touch keys that are not declared, and refuses the whole script to a user who may not
    /// touch one that is.
    #[default]
    Argument,
    /// As one of its keys: the server refuses others, and the user may touch it.
    Key,
    /// Not at all: the server refuses those that are not declared, and the user may not touch it.
    Nowhere,
}

impl Mention {
    /// Reads what came of touching a key of this kind undeclared and declared.
    fn read(undeclared: &Value, declared: &Value) -> Self {
        let Some(refusal) = refusal(undeclared) else { return Self::Argument };
        // A server of a cluster may not have the key at all; some say why they refuse, and tell that the user may by sending on.
        let is_strict = refusal.contains("declar");
        match self::refusal(declared) {
            None => Self::Key,
            Some(other) if is_strict && ["moved", "ask", "clusterdown"].iter().any(|code| other.starts_with(code)) => {
                Self::Key
            }
            Some(_) if is_strict => Self::Nowhere,
            Some(_) => Self::Argument,
        }
    }

    /// The key where it is one of the script's arguments, and where it is one of its keys.
    fn of(self, key: Option<String>) -> (Option<String>, Option<String>) {
        match self {
            Self::Argument => (key, None),
            Self::Key => (key.clone(), key),
            Self::Nowhere => (None, None),
        }
    }
}

/// The words of an error, in lower case.
fn refusal(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else { return None };
    Some(format!("{} {}", error.code(), error.details().unwrap_or_default()).to_lowercase())
}

/// What a command depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Whether it reports changes by itself; else a release is published.
    reports_changes: bool,
    /// What it says about a fencing counter that it does not have.
    missing_counter: Counter,
    /// Whether the slot of the keys is still on its way to it. It then does nothing for several keys one of which it does
    /// not have; so one is named, and the others are arguments. They are nowhere else, or it would not have been asked.
    is_asking: bool,
    /// Whether a SET that does nothing, because there is a value, tells the value.
    set_tells: bool,
    /// How scripts name keys beside the lock's.
    beside: Beside,
}

impl Server {
    pub(super) fn new(reports_changes: bool, age: Duration, is_asking: bool, set_tells: bool, beside: Beside) -> Self {
        let missing_counter = Counter::read(None, age, RETENTION);
        Self {
            reports_changes,
            missing_counter,
            is_asking,
            set_tells,
            beside: if is_asking { beside.of_one_key() } else { beside },
        }
    }
}

impl Beside {
    /// The same where a second key is not to be declared.
    fn of_one_key(self) -> Self {
        let without = |mention| if mention == Mention::Key { Mention::Nowhere } else { mention };
        Self { contenders: without(self.contenders), notes: without(self.notes) }
    }
}

/// Whether a command takes no script. An acquire whose refusal nobody waits behind takes none: how long the other owner's key
/// lives matters to those who wait alone.
pub(super) fn is_plain(command: &Command, server: Server) -> bool {
    let is_unwatched = matches!(command.action, Action::Acquire { is_watched: false, .. });
    is_unwatched && server.set_tells && command.fence.is_none() && command.contender.is_none()
}

fn set(command: &Command, ttl: Duration) -> Cmd {
    let mut cmd = Cmd::with_capacity(7, 160);
    cmd.arg("SET").arg(&*command.key).arg(&*command.owner).arg("NX").arg("GET").arg("PX").arg(whole_milliseconds(ttl));
    cmd
}

/// How a command is put to the first server that was asked. Most commands go to several servers that are alike.
#[derive(Debug, Default)]
pub(super) struct Wording(OnceLock<(Server, Cmd)>);

/// Carries a command out with a script that the server knows, or with none.
pub(super) fn evaluate_known(command: &Command, server: Server) -> Cow<'_, Cmd> {
    let evaluate = || match command.action {
        Action::Acquire { ttl, .. } if is_plain(command, server) => set(command, ttl),
        // Seldom, and not worth a round trip to learn that the server does not know it.
        Action::Adopt { .. } => evaluate_unknown(command, server),
        action => evaluate("EVALSHA", &Script::of(action).hash, command, server),
    };
    match command.wording.0.get_or_init(|| (server, evaluate())) {
        (first, cmd) if *first == server => Cow::Borrowed(cmd),
        _ => Cow::Owned(evaluate()),
    }
}

/// Carries a command out with its whole script, which the server knows from then on.
pub(super) fn evaluate_unknown(command: &Command, server: Server) -> Cmd {
    evaluate("EVAL", Script::of(command.action).code, command, server)
}

/// What stands before a key in the name of the channel on which its releases are published.
const RELEASED: &str = "redlock-released:";

/// What stands before the database and the key in the name of the channel on which a server tells of a key's changes.
const KEYSPACE: &str = "__keyspace@";

/// The channels on which changes of a key are told: by us, and by the server.
pub(super) fn channels(key: &str, database: i64) -> [String; 2] {
    [format!("{RELEASED}{key}"), format!("{KEYSPACE}{database}__:{key}")]
}

/// The key that a channel is about.
pub(super) fn key_of(channel: &str) -> Option<&str> {
    match channel.strip_prefix(KEYSPACE) {
        Some(rest) => rest.split_once("__:").map(|(_, key)| key),
        None => channel.strip_prefix(RELEASED),
    }
}

/// What is said in front of a command; each holds for the next command alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preface {
    /// The server reports the next change of the keys that the command reads.
    pub(super) is_watched: bool,
    /// The server carries it out although the keys' slot is still on its way to it.
    pub(super) is_asking: bool,
}

impl Preface {
    pub(super) fn is_empty(self) -> bool {
        !self.is_watched && !self.is_asking
    }
}

/// A command behind its preface.
pub(super) fn prefaced(command: Cmd, preface: Preface) -> Pipeline {
    let mut prefaced = Pipeline::with_capacity(3);
    if preface.is_watched {
        prefaced.cmd("CLIENT").arg("CACHING").arg("YES");
    }
    if preface.is_asking {
        prefaced.cmd("ASKING");
    }
    prefaced.add_command(command);
    prefaced
}

fn evaluate(verb: &str, script: &str, command: &Command, server: Server) -> Cmd {
    const ROOM_FOR_THE_SCRIPT_AND_USUAL_NAMES: usize = 320;
    let Command { key, owner, fence, retention, .. } = command;
    // A key that is noted where its slot is still on its way to could not be moved there any more.
    let contender = command.contender.as_deref().filter(|_| !server.is_asking);
    let (contention, declared) = server.beside.contenders.of(contender.map(|_| Keys::contention(key)));
    let contender = contender.zip(contention);
    let (note, note_declared) = server.beside.notes.of(command.is_noted().then(|| Keys::note(key)));
    let declared = declared.or(note_declared);
    let mut cmd = Cmd::with_capacity(12, ROOM_FOR_THE_SCRIPT_AND_USUAL_NAMES);
    let may_lack_counter = matches!(command.action, Action::Acquire { .. } | Action::Adopt { .. });
    let is_fenced = fence.is_some() || matches!(command.action, Action::Commit { .. });
    let beside = is_fenced.then(|| Keys::fence(key));
    // A commit finds both keys, because its acquire was granted.
    let (named, unnamed) = if server.is_asking && may_lack_counter { (None, beside) } else { (beside, None) };
    let keys = 1 + usize::from(named.is_some()) + usize::from(declared.is_some());
    cmd.arg(verb).arg(script).arg(keys).arg(&**key).arg(named).arg(declared);
    cmd.arg(&**owner);
    let retention = whole_milliseconds(*retention);
    match command.action {
        Action::Acquire { ttl, .. } => {
            cmd.arg(whole_milliseconds(ttl));
            if let Some(proposal) = fence {
                cmd.arg(proposal.least());
                match server.missing_counter.grant(*proposal).number() {
                    Some(first) => cmd.arg(first),
                    None => cmd.arg(""),
                };
                cmd.arg(retention);
            } else if contender.is_some() {
                cmd.arg("").arg("").arg("");
            }
            if let Some((process, contention)) = contender {
                cmd.arg(process).arg(contention);
            } else if unnamed.is_some() {
                cmd.arg("").arg("");
            }
            cmd.arg(unnamed);
        }
        Action::Adopt { ttl } => {
            let before = command.predecessor.as_ref().map_or("", |before| &*before.owner);
            cmd.arg(whole_milliseconds(ttl)).arg(before).arg(unnamed);
        }
        Action::Commit { token } => {
            cmd.arg(token).arg(retention);
        }
        Action::Extend { ttl, .. } => {
            cmd.arg(whole_milliseconds(ttl)).arg(note);
        }
        Action::Release { keep, .. } => {
            cmd.arg(whole_milliseconds(keep));
            if !server.reports_changes {
                cmd.arg(format!("{RELEASED}{key}"));
            } else if note.is_some() || command.predecessor.is_some() {
                cmd.arg("");
            }
            if let Some(before) = &command.predecessor {
                cmd.arg(note.unwrap_or_default()).arg(&*before.owner);
                if before.gets_back.is_some() {
                    cmd.arg("back");
                }
            } else {
                cmd.arg(note);
            }
        }
    }
    cmd
}

/// How to call a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// By its hash: the server is believed to know it.
    Known,
    /// With its source, after which the server knows it.
    Unknown,
}

/// Settles the numbers of a process, one answer each. `moment` is now by our clock, since 1970, as in the next ones.
pub(super) fn settle(process: &str, numbers: &[Number], moment: Duration, call: Call) -> Pipeline {
    each(numbers, call, |call, number| {
        let keys = &number.keys;
        let waiting = number.waiting.map(|waiting| waiting.to_string()).unwrap_or_default();
        let mut cmd = script(&SETTLE, call, &[&*keys.counter, &*keys.leases, &*keys.counts]);
        cmd.arg(process).arg(waiting).arg(whole_milliseconds(LEASE));
        cmd.arg(whole_milliseconds(GONE)).arg(whole_milliseconds(OTHERS));
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Reads the counters, whoever is counted in them, one answer each.
pub(super) fn peek(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("GET").arg(&*keys.counter);
        cmd
    }))
}

/// Has the list name the counters, one answer each.
pub(super) fn enlist(counters: &[Arc<CounterKeys>], call: Call) -> Pipeline {
    each(counters, call, |call, keys| {
        let mut cmd = script(&ENLIST, call, &[&*keys.list]);
        cmd.arg(&keys.listed_as);
        cmd
    })
}

/// How many entries a list has; one answer.
pub(super) fn length(list: &str) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("LLEN").arg(list);
    pipeline(std::iter::once(cmd))
}

/// The entries at these positions of a list; one answer.
pub(super) fn entries(list: &str, positions: Range<usize>) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("LRANGE").arg(list).arg(positions.start).arg(positions.end.saturating_sub(1));
    pipeline(std::iter::once(cmd))
}

/// Takes entries out of a list, those at the greatest positions first; one answer.
pub(super) fn take_out(list: &str, unwanted: &[Unwanted], call: Call) -> Pipeline {
    each(&[()], call, |call, ()| {
        let mut cmd = script(&TAKE_OUT, call, &[list]);
        for Unwanted { position, entry, same_as } in unwanted {
            cmd.arg(*position).arg(&**entry);
            match same_as {
                Some(other) => cmd.arg(*other),
                None => cmd.arg(""),
            };
        }
        cmd
    })
}

/// How long the markers of counters live, one answer each, for [`Marker::read`].
pub(super) fn markers(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("TTL").arg(&keys.marker);
        cmd
    }))
}

/// What says that the list has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// Nothing does.
    Missing,
    /// It has to be made anew before it expires.
    Worn,
    /// It was made lately, or by Python, for ever.
    Lasting,
}

impl Marker {
    pub(super) fn read(answer: &Value) -> Option<Self> {
        let Value::Int(seconds) = answer else { return None };
        Some(match u64::try_from(*seconds) {
            Ok(seconds) if seconds < LISTED.as_secs() * 6 / 7 => Self::Worn,
            Err(_) if *seconds == -2 => Self::Missing,
            Ok(_) | Err(_) => Self::Lasting,
        })
    }
}

/// Lets the markers of counters live for as long as unused counters are listed.
pub(super) fn mark(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("SET").arg(&keys.marker).arg(1).arg("PX").arg(whole_milliseconds(LISTED));
        cmd
    }))
}

/// Notes who the owners of locks are, one answer each.
pub(super) fn note(notes: &[Note], moment: Duration, call: Call) -> Pipeline {
    each(notes, call, |call, Note { keys, owner, label, held_for, fencing_token }| {
        let mut cmd = around(&NOTE, call, keys);
        cmd.arg(&**owner).arg(&**label).arg(whole_milliseconds(*held_for)).arg(*fencing_token);
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Looks at a lock; one answer.
pub(super) fn look(keys: &LockKeys, moment: Duration, call: Call) -> Pipeline {
    each(&[()], call, |call, ()| {
        let mut cmd = around(&LOOK, call, keys);
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Deletes locks, one answer each, and publishes it if the server does not report changes.
pub(super) fn reset(locks: &[Arc<LockKeys>], reports_changes: bool, call: Call) -> Pipeline {
    each(locks, call, |call, keys| {
        let mut cmd = around(&RESET, call, keys);
        if !reports_changes {
            cmd.arg(format!("{RELEASED}{}", keys.lock));
        }
        cmd
    })
}

/// How many keys a server looks at for one page; it does nothing else meanwhile, for less than a millisecond.
const PAGE: usize = 1000;

/// Some of the keys that begin with this, and where the next ones begin; one answer.
pub(super) fn page(prefix: &str, from: Cursor) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("SCAN").arg(from.at).arg("MATCH").arg(format!("{}*", literally(prefix))).arg("COUNT").arg(PAGE);
    pipeline(std::iter::once(cmd))
}

/// A pattern that matches this text alone.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// What these keys hold, one answer each.
pub(super) fn values(keys: &[String]) -> Pipeline {
    pipeline(keys.iter().map(|key| {
        let mut cmd = Cmd::new();
        cmd.arg("GET").arg(key);
        cmd
    }))
}

/// How long the texts are that keys hold, one answer each: zero for no key, an error for what is no text.
pub(super) fn lengths(keys: &[String]) -> Pipeline {
    pipeline(keys.iter().map(|key| {
        let mut cmd = Cmd::new();
        cmd.arg("STRLEN").arg(key);
        cmd
    }))
}

fn around(called: &Script, call: Call, keys: &LockKeys) -> Cmd {
    script(called, call, &[&*keys.lock, &*keys.note])
}

/// The first call tells the server the script, if it has to be told, and the others find it there.
fn each<T>(subjects: &[T], call: Call, command: impl Fn(Call, &T) -> Cmd) -> Pipeline {
    let calls = std::iter::once(call).chain(std::iter::repeat(Call::Known));
    pipeline(subjects.iter().zip(calls).map(|(subject, call)| command(call, subject)))
}

fn pipeline(commands: impl Iterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn script(script: &Script, call: Call, keys: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    match call {
        Call::Known => cmd.arg("EVALSHA").arg(&script.hash),
        Call::Unknown => cmd.arg("EVAL").arg(script.code),
    };
    cmd.arg(keys.len()).arg(keys);
    cmd
}

/// Rounded up: a key never lives shorter than asked, and never has an expiry of zero, which would delete it.
fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Proposal, Quorum};

    #[test]
    fn servers_that_differ_are_asked_differently() {
        let ttl = Duration::from_secs(1);
        let doubt = crate::protocol::Doubt::Refuse;
        let proposal = Proposal::new(Duration::from_secs(1), 0, Quorum::of(3).unwrap(), doubt);
        let acquire = Action::Acquire { ttl, is_watched: false };
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        for (action, fence) in [(acquire, Some(proposal)), (release, None)] {
            let command = Command::acquire(action, &"key".into(), &"owner".into(), None, fence);
            let asked = |reports, age| {
                evaluate_known(&command, Server::new(reports, age, false, false, Beside::default()))
                    .get_packed_command()
            };
            let [usual, other] = [asked(true, RETENTION), asked(false, Duration::ZERO)];
            assert_ne!(usual, other, "{action:?}");
            assert_eq!(usual, asked(true, 2 * RETENTION), "{action:?}");
        }
    }

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

    #[test]
    fn channels_are_about_their_key() {
        for key in ["a", "redlock:ConfigurableLock.x", "a__:b"] {
            for channel in channels(key, 3) {
                assert_eq!(key_of(&channel), Some(key));
            }
        }
        assert_eq!(key_of("other"), None);
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literally(r"a*b?[c]\d^-e"), r"a\*b\?\[c\]\\d\^\-e");
        assert_eq!(literally("redlock:ConfigurableLock."), "redlock:ConfigurableLock.");
    }

    #[test]
    fn the_release_marks_a_key_that_it_keeps_as_everybody_else_reads_it() {
        assert!(RELEASE.code.contains(&format!("'{}'", crate::protocol::RELEASED)));
    }

    #[test]
    fn durations_are_sent_in_whole_milliseconds_and_never_as_zero() {
        assert_eq!(whole_milliseconds(Duration::from_secs(1)), 1000);
        assert_eq!(whole_milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(whole_milliseconds(Duration::ZERO), 0);
        assert_eq!(whole_milliseconds(Duration::from_micros(1500)), 2);
    }
}
