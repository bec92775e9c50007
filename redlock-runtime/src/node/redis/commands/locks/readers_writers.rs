//! What is said about locks that readers share.

use std::borrow::Cow;
use std::sync::LazyLock;

use redis::Cmd;

use super::{RELEASED, Script, Server, arg_proposal, whole_milliseconds};
use crate::node::{Action, Command};
use crate::protocol::Asker;
use crate::values::keys::Keys;
use crate::values::readers_writers::SharedKeys;

static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("../../lua/write.lua"),
        include_str!("../../lua/raise.lua"),
        include_str!("../../lua/contend.lua"),
        include_str!("../../lua/write_told.lua")
    ))
});
static WRITE_RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("../../lua/write_release.lua"), include_str!("../../lua/release.lua")))
});
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/read.lua")));
static READ_EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/read_extend.lua")));
static READ_COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/read_commit.lua")));
static READ_RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/read_release.lua")));

/// The script of what a reader asks.
pub(super) fn script_of_reader(action: Action) -> &'static Script {
    match action {
        Action::Acquire { .. } => &READ,
        Action::Commit { .. } => &READ_COMMIT,
        Action::Release { .. } => &READ_RELEASE,
        // The last two are not offered.
        Action::Extend { .. } | Action::Adopt { .. } | Action::Mark => &READ_EXTEND,
    }
}

/// The script of what a writer asks that is not as for any lock with his key.
pub(super) fn script_of_writer(action: Action) -> Option<&'static Script> {
    match action {
        Action::Acquire { .. } => Some(&WRITE),
        Action::Release { .. } => Some(&WRITE_RELEASE),
        Action::Adopt { .. } | Action::Commit { .. } | Action::Extend { .. } | Action::Mark => None,
    }
}

/// A script with its keys: all are named, or the first alone, where the others come last among the arguments.
fn call<'a>(
    (verb, script): (&str, &str),
    keys: Vec<Cow<'a, str>>,
    declared: Option<String>,
    server: Server,
) -> (Cmd, Vec<Cow<'a, str>>) {
    let mut named = keys;
    let unnamed = if server.is_asking { named.split_off(1) } else { Vec::new() };
    let mut cmd = Cmd::with_capacity(16, 512);
    cmd.arg(verb).arg(script).arg(named.len() + usize::from(declared.is_some()));
    for key in &named {
        cmd.arg(&**key);
    }
    cmd.arg(declared);
    (cmd, unnamed)
}

/// The keys in the order of the scripts, with the fencing counter if that is wanted.
fn all(keys: &SharedKeys, is_fenced: bool) -> Vec<Cow<'_, str>> {
    let named = [keys.writer(), keys.readers(), keys.intent()].map(|key| Cow::Borrowed(&**key));
    let fence = is_fenced.then(|| Cow::Owned(Keys::fence(keys.writer())));
    named.into_iter().chain(fence).collect()
}

fn arg_all(cmd: &mut Cmd, keys: &[Cow<'_, str>]) {
    for key in keys {
        cmd.arg(&**key);
    }
}

/// What a reader asks.
pub(super) fn evaluate_reader(
    call_of: (&str, &str),
    command: &Command,
    keys: &SharedKeys,
    server: Server,
) -> (Cmd, usize) {
    let (writer, readers) = (Cow::Borrowed(&**keys.writer()), Cow::Borrowed(&**keys.readers()));
    let retention = whole_milliseconds(command.retention);
    let prefix = if server.reports_changes { "" } else { RELEASED };
    match command.action {
        Action::Acquire { ttl, .. } => {
            let (mut cmd, unnamed) = call(call_of, all(keys, command.fence.is_some()), None, server);
            cmd.arg(&*command.owner).arg(whole_milliseconds(ttl));
            match command.fence {
                Some(proposal) => {
                    match server.missing_counter.share(proposal).number() {
                        Some(first) => cmd.arg(first),
                        None => cmd.arg(""),
                    };
                    cmd.arg(retention);
                }
                None => drop(cmd.arg("").arg("")),
            }
            cmd.arg(u8::from(command.asker == Asker::Holds));
            arg_all(&mut cmd, &unnamed);
            (cmd, unnamed.len())
        }
        Action::Extend { ttl, .. } => {
            let channel = if prefix.is_empty() { String::new() } else { format!("{prefix}{writer}") };
            let (mut cmd, unnamed) = call(call_of, vec![writer, readers], None, server);
            cmd.arg(&*command.owner).arg(whole_milliseconds(ttl)).arg(channel);
            arg_all(&mut cmd, &unnamed);
            (cmd, unnamed.len())
        }
        Action::Commit { token } => {
            let fence = Cow::Owned(Keys::fence(keys.writer()));
            let (mut cmd, unnamed) = call(call_of, vec![writer, readers, fence], None, server);
            cmd.arg(&*command.owner).arg(token).arg(retention);
            arg_all(&mut cmd, &unnamed);
            (cmd, unnamed.len())
        }
        Action::Release { keep, .. } => {
            let note = command.is_noted().then(|| Keys::owner_label(&writer));
            let (note, declared) = server.beside.notes.of(note);
            let (mut cmd, unnamed) = call(call_of, vec![writer, readers], declared, server);
            cmd.arg(&*command.owner).arg(whole_milliseconds(keep)).arg(prefix).arg(note.unwrap_or_default());
            arg_all(&mut cmd, &unnamed);
            (cmd, unnamed.len())
        }
        // It is not offered.
        Action::Adopt { .. } | Action::Mark => (Cmd::new(), 0),
    }
}

/// What a writer asks that is not as for any lock with his key: see `write.lua` and `write_release.lua`.
pub(super) fn evaluate_writer(
    call_of: (&str, &str),
    command: &Command,
    keys: &SharedKeys,
    server: Server,
) -> Option<(Cmd, usize)> {
    match command.action {
        Action::Acquire { ttl, .. } => {
            // A key that is noted where its slot is still on its way to could not be moved there any more.
            let contender = command.contender.as_deref().filter(|_| !server.is_asking);
            let (contention, declared) =
                server.beside.contenders.of(contender.map(|_| Keys::contention(keys.writer())));
            let (mut cmd, unnamed) = call(call_of, all(keys, command.fence.is_some()), declared, server);
            cmd.arg(&*command.owner).arg(whole_milliseconds(ttl));
            arg_proposal(&mut cmd, command, server);
            match contender.zip(contention) {
                Some((process, contention)) => cmd.arg(process).arg(contention),
                None => cmd.arg("").arg(""),
            };
            // The intent is noted also where processes may not be.
            cmd.arg(contender.unwrap_or_default());
            arg_all(&mut cmd, &unnamed);
            Some((cmd, unnamed.len()))
        }
        Action::Release { keep, .. } => {
            let note = command.is_noted().then(|| Keys::owner_label(keys.writer()));
            let (note, declared) = server.beside.notes.of(note);
            let intent = Cow::Borrowed(&**keys.intent());
            let (mut cmd, unnamed) = call(call_of, vec![Cow::Borrowed(&**keys.writer()), intent], declared, server);
            let channel = if server.reports_changes { String::new() } else { format!("{RELEASED}{}", keys.writer()) };
            cmd.arg(&*command.owner).arg(whole_milliseconds(keep)).arg(channel).arg(note.unwrap_or_default());
            let before = command.predecessor.as_ref();
            cmd.arg(before.map_or("", |before| &*before.owner));
            cmd.arg(if before.is_some_and(|before| before.gets_back.is_some()) { "back" } else { "" });
            cmd.arg(u8::from(command.contender.is_some()));
            arg_all(&mut cmd, &unnamed);
            Some((cmd, unnamed.len()))
        }
        Action::Adopt { .. } | Action::Commit { .. } | Action::Extend { .. } | Action::Mark => None,
    }
}
