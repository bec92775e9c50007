//! What is said about locks: acquiring, adopting, committing, extending and releasing them, and waiting for them.

mod readers_writers;
mod several;

use std::borrow::Cow;
use std::iter;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, RedisWrite as _};

use super::beside::Beside;
use super::{Script, whole_milliseconds};
use crate::node::{Action, Command, NewMark};
use crate::protocol::{Counter, PERMITS_RETENTION, Proposal, RETENTION};
use crate::rules::{Rule, holds};
use crate::values::keys::Keys;
use crate::values::permits::Slots;
use crate::values::subject::{Kind, Which};

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("../lua/acquire.lua"),
        include_str!("../lua/raise.lua"),
        include_str!("../lua/contend.lua"),
        include_str!("../lua/acquire_told.lua")
    ))
});
static PERMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("../lua/permit.lua"),
        include_str!("../lua/raise.lua"),
        include_str!("../lua/contend.lua"),
        include_str!("../lua/permit_told.lua")
    ))
});
static ADOPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/adopt.lua")));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/commit.lua")));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/extend.lua")));
static COMPLETE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/complete.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/release.lua")));
static RELEASE_PERMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/release_permit.lua")));

/// What stands before a script where one of its keys alone may be named.
const UNNAMED: &str = include_str!("../lua/unnamed.lua");

/// Those that a new connection loads: whoever adopts a lock, or completes a fire, does that seldom.
pub(in crate::node) static LOADED: [&LazyLock<Script>; 4] = [&ACQUIRE, &COMMIT, &EXTEND, &RELEASE];

fn script_of(command: &Command) -> &'static Script {
    let of_kind = match command.subject.kind() {
        None => None,
        Some(Kind::Permits { which, .. }) => match command.action {
            Action::Acquire { .. } if *which == Which::Any => Some(&*PERMIT),
            Action::Release { .. } if command.predecessor.is_none() => Some(&*RELEASE_PERMIT),
            _ => None,
        },
        Some(Kind::Reader(_)) => Some(readers_writers::script_of_reader(command.action)),
        Some(Kind::Writer(_)) => readers_writers::script_of_writer(command.action),
        Some(Kind::Several(_)) => Some(several::script_of(command.action)),
    };
    if let Some(script) = of_kind {
        return script;
    }
    match command.action {
        Action::Acquire { .. } => &ACQUIRE,
        Action::Adopt { .. } => &ADOPT,
        Action::Commit { .. } => &COMMIT,
        Action::Extend { .. } => &EXTEND,
        Action::Release { .. } if command.new_mark.is_none() => &RELEASE,
        Action::Release { .. } | Action::Mark => &COMPLETE,
    }
}

/// What a command depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Server {
    /// Whether it reports changes by itself; else a release is published.
    reports_changes: bool,
    /// What it says about a fencing counter that it does not have.
    missing_counter: Counter,
    /// Whether the slot of the keys is still on its way to it. It then does nothing for several keys one of which it does
    /// not have; so one is named, and the others are arguments. They are nowhere else, or it would not have been asked; and should it
    /// give the slot away again by now, `unnamed.lua` finds it out.
    is_asking: bool,
    /// Whether a SET that does nothing, because there is a value, tells the value.
    set_tells: bool,
    /// How scripts name keys beside the lock's.
    beside: Beside,
    /// The power of two of seconds for which it has run at least, where it is asked for marks: servers that were started together are
    /// asked alike.
    ran: Option<u32>,
}

impl Server {
    pub(in crate::node) fn new(
        reports_changes: bool,
        age: Duration,
        is_asking: bool,
        set_tells: bool,
        beside: Beside,
    ) -> Self {
        let missing_counter = Counter::read(None, age, RETENTION);
        Self {
            reports_changes,
            missing_counter,
            is_asking,
            set_tells,
            beside: if is_asking { beside.of_one_key() } else { beside },
            ran: None,
        }
    }

    /// With how long it has run: for a command that asks for a mark.
    pub(in crate::node) fn with_age(self, age: Duration) -> Self {
        Self { ran: age.as_secs().checked_ilog2(), ..self }
    }

    /// How many milliseconds are left, at least and at most, of the life of a mark that was certainly written since this server started,
    /// if that had so long to live then.
    fn of_young_marks(self, retention: Duration) -> Option<(u64, u64)> {
        let ran = Duration::from_secs(1 << self.ran.filter(|_| !self.is_asking)?);
        Some((whole_milliseconds(retention.saturating_sub(ran)), u64::try_from(retention.as_millis()).ok()?))
    }
}

/// Whether a command takes no script. An acquire whose refusal nobody waits behind takes none: how long the other owner's key
/// lives matters to those who wait alone.
pub(in crate::node) fn is_plain(command: &Command, server: Server) -> bool {
    let is_unwatched = matches!(command.action, Action::Acquire { is_watched: false, .. });
    let does_more = command.fence.is_some() || command.contender.is_some() || command.mark.is_some();
    let has_one_key = match command.subject.kind() {
        None => true,
        Some(Kind::Permits { which, .. }) => matches!(which, Which::One(_)),
        Some(Kind::Reader(_) | Kind::Writer(_) | Kind::Several(_)) => false,
    };
    is_unwatched && server.set_tells && !does_more && has_one_key
}

fn set(command: &Command, ttl: Duration) -> Cmd {
    let mut cmd = Cmd::with_capacity(7, 160);
    cmd.arg("SET")
        .arg(&**command.key())
        .arg(&*command.owner)
        .arg("NX")
        .arg("GET")
        .arg("PX")
        .arg(whole_milliseconds(ttl));
    cmd
}

/// A command as it is put to the first server that was asked. Most commands go to several servers that are alike.
struct PackedCommand {
    server: Server,
    cmd: Cmd,
    /// How many bytes it takes on the wire.
    length: usize,
}

/// Carries a command out with a script that the server knows, or with none; and how many bytes that takes on the wire.
pub(in crate::node) fn evaluate_known(command: &Command, server: Server) -> (Cow<'_, Cmd>, usize) {
    let evaluate = || match command.action {
        Action::Acquire { ttl, .. } if is_plain(command, server) => set(command, ttl),
        // Seldom, and not worth a round trip to learn that the server does not know it.
        Action::Adopt { .. } => evaluate_unknown(command, server),
        _ if server.is_asking => evaluate_unknown(command, server),
        _ => evaluate("EVALSHA", &script_of(command).hash, command, server).0,
    };
    let pack = || {
        let cmd = evaluate();
        PackedCommand { server, length: packed_length(&cmd), cmd }
    };
    let packed = command.packed.get_or_init(|| Box::new(pack()));
    match packed.downcast_ref::<PackedCommand>() {
        Some(first) if first.server == server => (Cow::Borrowed(&first.cmd), first.length),
        _ => {
            let PackedCommand { cmd, length, .. } = pack();
            (Cow::Owned(cmd), length)
        }
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

/// Carries a command out with its whole script, which the server knows from then on.
pub(in crate::node) fn evaluate_unknown(command: &Command, server: Server) -> Cmd {
    let script = script_of(command).code;
    if !server.is_asking || !holds(Rule::UnnamedKeysAreThere) {
        return evaluate("EVAL", script, command, server).0;
    }
    let (mut cmd, unnamed) = evaluate("EVAL", &format!("{UNNAMED}{script}"), command, server);
    cmd.arg(unnamed);
    cmd
}

/// What stands before a key in the name of the channel on which its releases are published.
pub(in crate::node) const RELEASED: &str = "redlock-released:";

/// What stands before the database and the key in the name of the channel on which a server tells of a key's changes.
const KEYSPACE: &str = "__keyspace@";

/// The channels on which changes of a key are told: by us, and by the server.
pub(in crate::node) fn channels(key: &str, database: i64) -> [String; 2] {
    [format!("{RELEASED}{key}"), format!("{KEYSPACE}{database}__:{key}")]
}

/// The key that a channel is about.
pub(in crate::node) fn key_of(channel: &str) -> Option<&str> {
    match channel.strip_prefix(KEYSPACE) {
        Some(rest) => rest.split_once("__:").map(|(_, key)| key),
        None => channel.strip_prefix(RELEASED),
    }
}

/// What is said in front of a command; each holds for the next command alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Preface {
    /// The server reports the next change of the keys that the command reads.
    pub(in crate::node) is_watched: bool,
    /// The server carries it out although the keys' slot is still on its way to it.
    pub(in crate::node) is_asking: bool,
}

impl Preface {
    pub(in crate::node) fn is_empty(self) -> bool {
        !self.is_watched && !self.is_asking
    }
}

/// A command behind its preface.
pub(in crate::node) fn prefaced(command: Cmd, preface: Preface) -> Pipeline {
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

/// The slots that a release looks at, and the one that its owner has. A permit that was adopted was nobody's but in its own slot, so
/// that it is released as any lock with that key.
fn slots_to_release(command: &Command) -> Option<(Vec<&str>, Option<u8>)> {
    let (slots, which) = command.subject.permits().filter(|_| command.predecessor.is_none())?;
    let but = |one: Option<u8>| (0..).zip(slots.keys()).filter(move |(slot, _)| Some(*slot) != one);
    Some(match which {
        Which::Any => (but(None).map(|(_, key)| &**key).collect(), None),
        Which::AllBut(slot) => (but(Some(slot)).map(|(_, key)| &**key).collect(), None),
        Which::One(slot) => {
            let others = but(Some(slot)).filter(|_| holds(Rule::AllSlotsAreReleased)).map(|(_, key)| &**key);
            (iter::once(&**slots.key(slot)).chain(others).collect(), Some(slot))
        }
    })
}

/// Asks for a permit: see `permit.lua`.
fn evaluate_permit(
    (verb, script): (&str, &str),
    command: &Command,
    slots: &Slots,
    ttl: Duration,
    server: Server,
) -> (Cmd, usize) {
    let contender = command.contender.as_deref().filter(|_| !server.is_asking);
    let (contention, declared) = server.beside.contenders.of(contender.map(|_| Keys::contention(slots.line())));
    let wanted = || slots.order().iter().map(|slot| slots.key(*slot));
    let fences = wanted().filter(|_| command.fence.is_some()).map(|key| Cow::Owned(Keys::fence(key)));
    let keys: Vec<_> = wanted().map(|key| Cow::Borrowed(&**key)).chain(fences).collect();
    let named = if server.is_asking { 0 } else { keys.len() };
    let mut cmd = Cmd::with_capacity(16 + keys.len(), 256 + 64 * keys.len());
    cmd.arg(verb).arg(script).arg(1 + named + usize::from(declared.is_some())).arg(&**slots.line());
    keys[..named].iter().for_each(|key| {
        cmd.arg(&**key);
    });
    cmd.arg(declared).arg(&*command.owner).arg(whole_milliseconds(ttl));
    arg_proposal(&mut cmd, command, server);
    match contender.zip(contention) {
        Some((process, contention)) => cmd.arg(process).arg(contention),
        None => cmd.arg("").arg(""),
    };
    cmd.arg(slots.count()).arg(slots.said()).arg(whole_milliseconds(PERMITS_RETENTION));
    cmd.arg(u8::from(command.fence.is_some_and(Proposal::asks_all)));
    keys[named..].iter().for_each(|key| {
        cmd.arg(&**key);
    });
    (cmd, keys.len() - named)
}

/// What the fencing counter of a fenced lock is raised to at least, what it begins with, and its retention; else nothing.
fn arg_proposal(cmd: &mut Cmd, command: &Command, server: Server) {
    let Some(proposal) = command.fence else {
        cmd.arg("").arg("").arg("");
        return;
    };
    cmd.arg(proposal.least());
    match server.missing_counter.grant(proposal).number() {
        Some(first) => cmd.arg(first),
        None => cmd.arg(""),
    };
    cmd.arg(whole_milliseconds(command.retention));
}

/// Releases whatever permit an owner has: see `release_permit.lua`.
fn evaluate_release_permit(
    (verb, script): (&str, &str),
    command: &Command,
    (keys, held): (Vec<&str>, Option<u8>),
    keep: Duration,
    server: Server,
) -> (Cmd, usize) {
    let noted = held.filter(|_| command.is_noted()).map(|_| Keys::owner_label(command.key()));
    let (note, declared) = server.beside.notes.of(noted);
    let named = if server.is_asking { 1 } else { keys.len() };
    let mut cmd = Cmd::with_capacity(9 + keys.len(), 256 + 64 * keys.len());
    cmd.arg(verb).arg(script).arg(named + usize::from(declared.is_some())).arg(&keys[..named]).arg(declared);
    cmd.arg(&*command.owner).arg(whole_milliseconds(keep)).arg(if server.reports_changes { "" } else { RELEASED });
    cmd.arg(note.unwrap_or_default()).arg(u8::from(held.is_some())).arg(&keys[named..]);
    (cmd, keys.len() - named)
}

/// What is asked of more than one key; `None` if it is asked as of any lock with its key.
fn evaluate_of_kind(called: (&str, &str), command: &Command, kind: &Kind, server: Server) -> Option<(Cmd, usize)> {
    match (command.action, kind) {
        (_, Kind::Reader(keys)) => Some(readers_writers::evaluate_reader(called, command, keys, server)),
        (_, Kind::Writer(keys)) => readers_writers::evaluate_writer(called, command, keys, server),
        (_, Kind::Several(keys)) => Some(several::evaluate(called, command, keys, server)),
        (Action::Acquire { ttl, .. }, Kind::Permits { slots, which: Which::Any }) => {
            Some(evaluate_permit(called, command, slots, ttl, server))
        }
        (Action::Release { keep, .. }, Kind::Permits { .. }) => {
            slots_to_release(command).map(|slots| evaluate_release_permit(called, command, slots, keep, server))
        }
        _ => None,
    }
}

/// What a completion says behind the owner: see `complete.lua`.
fn arg_new_mark(
    cmd: &mut Cmd,
    command: &Command,
    NewMark { stored, retention }: NewMark,
    note: Option<String>,
    unnamed: Option<String>,
    server: Server,
) {
    cmd.arg(stored.fire);
    cmd.write_arg_fmt(stored);
    cmd.arg(whole_milliseconds(retention));
    let keep = match command.action {
        Action::Release { keep, .. } => i64::try_from(whole_milliseconds(keep)).unwrap_or(i64::MAX),
        _ => -1,
    };
    let channel = (!server.reports_changes).then(|| format!("{RELEASED}{}", command.key()));
    if keep == 0 && channel.is_none() && note.is_none() && unnamed.is_none() {
        return;
    }
    cmd.arg(keep).arg(channel.unwrap_or_default());
    if unnamed.is_some() {
        cmd.arg(note.unwrap_or_default()).arg(unnamed);
    } else {
        cmd.arg(note);
    }
}

/// A command as a call of this script, and how many keys are its last arguments because they may not be named.
fn evaluate(verb: &str, script: &str, command: &Command, server: Server) -> (Cmd, usize) {
    const CAPACITY_FOR_THE_SCRIPT_AND_USUAL_NAMES: usize = 320;
    const CAPACITY_BESIDE_A_MARK: usize = 512;
    let of_kind = |kind| evaluate_of_kind((verb, script), command, kind, server);
    if let Some(cmd) = command.subject.kind().and_then(of_kind) {
        return cmd;
    }
    let Command { owner, fence, retention, .. } = command;
    let key = command.key();
    // A key that is noted where its slot is still on its way to could not be moved there any more.
    let contender = command.contender.as_deref().filter(|_| !server.is_asking);
    let (contention, declared) = server.beside.contenders.of(contender.map(|_| Keys::contention(key)));
    let contender = contender.zip(contention);
    let (note, note_declared) = server.beside.notes.of(command.is_noted().then(|| Keys::owner_label(key)));
    let declared = declared.or(note_declared);
    let is_about_fires = command.mark.is_some() || command.new_mark.is_some();
    let (arguments, capacity) =
        if is_about_fires { (18, CAPACITY_BESIDE_A_MARK) } else { (12, CAPACITY_FOR_THE_SCRIPT_AND_USUAL_NAMES) };
    let mut cmd = Cmd::with_capacity(arguments, capacity);
    let may_lack_counter = matches!(command.action, Action::Acquire { .. } | Action::Adopt { .. });
    let is_fenced = fence.is_some() || matches!(command.action, Action::Commit { .. });
    let beside = is_fenced.then(|| Keys::fence(key));
    // A commit finds both keys, because its acquire was granted.
    let (named, unnamed) = if server.is_asking && may_lack_counter { (None, beside) } else { (beside, None) };
    let mark = is_about_fires.then(|| Keys::done(key));
    // Whoever may not touch it gets no lock for a fire. A completion finds the lock's key, or does nothing.
    let named_mark = mark.as_deref().filter(|_| !server.is_asking);
    let keys = 1 + [named.is_some(), declared.is_some(), named_mark.is_some()].map(usize::from).iter().sum::<usize>();
    cmd.arg(verb).arg(script).arg(keys).arg(&**key).arg(named).arg(declared).arg(named_mark);
    cmd.arg(&**owner);
    let retention = whole_milliseconds(*retention);
    let unnamed_mark = mark.filter(|_| server.is_asking);
    let count = usize::from(unnamed.is_some()) + usize::from(unnamed_mark.is_some());
    if let Some(new_mark) = command.new_mark {
        arg_new_mark(&mut cmd, command, new_mark, note, unnamed_mark, server);
        return (cmd, count);
    }
    match command.action {
        // It has a new mark.
        Action::Mark => {}
        Action::Acquire { ttl, .. } => {
            cmd.arg(whole_milliseconds(ttl));
            if fence.is_some() || contender.is_some() || command.mark.is_some() {
                arg_proposal(&mut cmd, command, server);
            }
            let room = fence.map(Proposal::room).filter(|room| *room > 0);
            let is_last = |is_there: [bool; 4]| !is_there.contains(&true);
            let behind = [command.mark.is_some(), room.is_some(), unnamed.is_some(), unnamed_mark.is_some()];
            match contender {
                Some((process, contention)) => cmd.arg(process).arg(contention),
                None if is_last(behind) => return (cmd, count),
                None => cmd.arg("").arg(""),
            };
            if is_last(behind) {
                return (cmd, count);
            }
            match command.mark.map(|mark| mark.refuse_from) {
                Some(Some(least)) => cmd.arg(least),
                Some(None) => cmd.arg("-"),
                None => cmd.arg(""),
            };
            if let Some((least, most)) = command.mark.and_then(|mark| server.of_young_marks(mark.retention)) {
                cmd.arg(least).arg(most);
                return (cmd, count);
            }
            match (room, unnamed.is_some() || unnamed_mark.is_some()) {
                (Some(room), _) => cmd.arg(room),
                (None, true) => cmd.arg(""),
                (None, false) => return (cmd, count),
            };
            match (unnamed, unnamed_mark) {
                (None, Some(mark)) => cmd.arg("").arg(mark),
                (unnamed, mark) => cmd.arg(unnamed).arg(mark),
            };
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
    (cmd, count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::MarkQuery;
    use crate::protocol::{FenceFallback, Quorum, StoredMark};
    use crate::values::name::Name;
    use crate::values::readers_writers::SharedKeys;
    use crate::values::several::Several;
    use crate::values::subject::Subject;

    #[test]
    fn servers_that_differ_are_asked_differently() {
        let ttl = Duration::from_secs(1);
        let fence_fallback = FenceFallback::Refuse;
        let proposal = Proposal::new(Duration::from_secs(1), 0, Quorum::of(3).unwrap(), fence_fallback);
        let acquire = Action::Acquire { ttl, is_watched: false };
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: false };
        for (action, fence) in [(acquire, Some(proposal)), (release, None)] {
            let command = Command::acquire(action, &"key".into(), &"owner".into(), None, fence, None);
            let asked = |reports, age| {
                evaluate_known(&command, Server::new(reports, age, false, false, Beside::default()))
                    .0
                    .get_packed_command()
            };
            let [usual, other] = [asked(true, RETENTION), asked(false, Duration::ZERO)];
            assert_ne!(usual, other, "{action:?}");
            assert_eq!(usual, asked(true, 2 * RETENTION), "{action:?}");
        }
    }

    #[test]
    fn the_length_of_a_command_is_that_of_what_is_written() {
        let evalsha = redis::cmd("EVALSHA").arg("x".repeat(200)).arg(1).arg("").clone();
        for cmd in [evalsha, redis::cmd("PING"), redis::cmd("SET").arg("k".repeat(1000)).arg(vec![0_u8; 10]).clone()] {
            assert_eq!(packed_length(&cmd), cmd.get_packed_command().len());
        }
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
    fn the_release_marks_a_key_that_it_keeps_as_everybody_else_reads_it() {
        assert!(RELEASE.code.contains(&format!("'{}'", crate::protocol::RELEASED)));
    }

    /// What a command says behind its verb: the script, its keys, and the rest.
    fn said(command: &Command, is_asking: bool) -> (String, Vec<String>, Vec<String>) {
        let server = Server::new(true, RETENTION, is_asking, false, Beside::default());
        let (cmd, _) = evaluate_known(command, server);
        let text = |word| match word {
            Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            other => panic!("{other:?}"),
        };
        let words: Vec<_> = cmd.args_iter().map(text).collect();
        let (keys, rest) = words[3..].split_at(words[2].parse().unwrap());
        (words[1].clone(), keys.into(), rest.into())
    }

    #[test]
    fn where_one_key_alone_may_be_named_a_script_looks_for_the_others_before_it_does_anything() {
        let (ttl, owner) = (Duration::from_secs(1), Arc::<str>::from("owner"));
        let name = |name: &str| Name::parse(name.to_owned()).unwrap();
        let fence = || Some(Proposal::new(ttl, 0, Quorum::of(1).unwrap(), FenceFallback::Refuse));
        let (acquire, commit) = (Action::Acquire { ttl, is_watched: true }, Action::Commit { token: 7 });
        let extend = Action::Extend { ttl, is_noted: true };
        let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: true };
        let new_mark = NewMark { stored: StoredMark { fire: 7, token: 5 }, retention: ttl };
        let mark = || Some(MarkQuery { refuse_from: Some(7), retention: ttl });
        let plain: Subject = "k".into();
        let slots = Slots::new(&Keys::default(), &name("x"), 2, |_| 2, |count| (0..count).collect());
        let permits = Subject::any_permit(slots);
        let shared = Arc::new(SharedKeys::new(&Keys::default(), &name("x")));
        let [reader, writer] = [Kind::Reader(Arc::clone(&shared)), Kind::Writer(shared)].map(Subject::from);
        let several = Several::new(&Keys::default(), [name("{x}1"), name("{x}2")]).unwrap();
        let several = Subject::from(Kind::Several(several));
        let asked = |subject: &Subject, fence, mark| {
            Command::acquire(acquire, subject, &owner, Some("process".into()), fence, mark)
        };
        let others = |subject: &Subject, action| Command::new(action, subject, &owner);
        for (command, expect) in [
            (asked(&plain, None, None), 0),
            (asked(&plain, fence(), None), 1),
            (asked(&plain, None, mark()), 1),
            (asked(&plain, fence(), mark()), 2),
            (others(&plain, extend), 0),
            (others(&plain, release), 0),
            (Command::marking(release, &plain, &owner, new_mark), 1),
            (Command::marking(Action::Mark, &plain, &owner, new_mark), 1),
            (asked(&permits, None, None), 2),
            (asked(&permits, fence(), None), 4),
            (others(&permits.about(Which::One(1)), release), 1),
            (others(&permits.about(Which::One(1)), extend), 0),
            (asked(&reader, fence(), None), 3),
            (others(&reader, extend), 1),
            (others(&reader, commit), 2),
            (others(&reader, release), 1),
            (asked(&writer, fence(), None), 3),
            (others(&writer, release), 1),
            (asked(&several, fence(), None), 3),
            (others(&several, commit), 3),
            (others(&several, extend), 1),
            (others(&several, release), 1),
        ] {
            let (script, keys, _) = said(&command, false);
            let (asked, named, rest) = said(&command, true);
            let what = (&command.subject, command.action);
            assert_eq!(asked, format!("{UNNAMED}{}", script_of(&command).code), "{what:?}");
            assert_eq!(script, script_of(&command).hash, "{what:?}");
            let (count, rest) = rest.split_last().unwrap();
            assert_eq!(count, &expect.to_string(), "{what:?}");
            let unnamed = &rest[rest.len() - expect..];
            let mut both = [&named[..], unnamed].concat();
            let mut all = keys;
            both.sort();
            all.sort();
            assert_eq!(both, all, "{what:?}: each is named, or one of the last arguments");
        }
    }
}
