//! What is said about locks of several names.

use std::borrow::Cow;
use std::sync::LazyLock;

use redis::Cmd;

use super::{RELEASED, Script, Server, arg_proposal, whole_milliseconds};
use crate::node::{Action, Command};
use crate::platform::clock;
use crate::values::keys::Keys;
use crate::values::several::Several;

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/several.lua")));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/several_commit.lua")));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/several_extend.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/several_release.lua")));

/// The script of what is asked of several keys.
pub(super) fn script_of(action: Action) -> &'static Script {
    match action {
        Action::Acquire { .. } => &ACQUIRE,
        Action::Commit { .. } => &COMMIT,
        Action::Release { .. } => &RELEASE,
        // The last two are not offered.
        Action::Extend { .. } | Action::Adopt { .. } | Action::Mark => &EXTEND,
    }
}

pub(super) fn evaluate(
    (verb, script): (&str, &str),
    command: &Command,
    several: &Several,
    server: Server,
) -> (Cmd, usize) {
    let locks = several.keys();
    let is_fenced = command.fence.is_some() || matches!(command.action, Action::Commit { .. });
    let fences = locks.iter().filter(|_| is_fenced).map(|key| Cow::Owned(Keys::fence(key)));
    let keys: Vec<_> = locks.iter().map(|key| Cow::Borrowed(&**key)).chain(fences).collect();
    let (named, unnamed) = keys.split_at(if server.is_asking { 1 } else { keys.len() });
    // A key that is noted where its slot is still on its way to could not be moved there any more.
    let is_acquire = matches!(command.action, Action::Acquire { .. });
    let is_noted = is_acquire && !server.is_asking;
    let contender = command.contender.as_deref().filter(|_| is_noted);
    let waiting = several.waiting(clock::now()).filter(|_| is_noted);
    let contentions = locks
        .iter()
        .filter(|_| contender.is_some() || waiting.is_some())
        .map(|key| server.beside.contenders.of(Some(Keys::contention(key))));
    let (contentions, declared): (Vec<_>, Vec<_>) = contentions.unzip();
    let (contentions, declared): (Vec<_>, Vec<_>) =
        (contentions.into_iter().flatten().collect(), declared.into_iter().flatten().collect());
    // Where they may not be named at all, nobody is noted.
    let contender = contender.filter(|_| !contentions.is_empty());
    let waiting = waiting.filter(|_| !contentions.is_empty());

    let mut cmd = Cmd::with_capacity(16 + 2 * keys.len(), 256 + 96 * keys.len());
    cmd.arg(verb).arg(script).arg(named.len() + declared.len());
    for key in named {
        cmd.arg(&**key);
    }
    cmd.arg(&declared).arg(&*command.owner);
    match command.action {
        Action::Acquire { ttl, .. } => {
            cmd.arg(whole_milliseconds(ttl));
            arg_proposal(&mut cmd, command, server);
            cmd.arg(contender.unwrap_or_default()).arg(locks.len());
            match waiting {
                None => cmd.arg(&[""; 4]),
                Some(waiting) => {
                    cmd.arg(whole_milliseconds(waiting.time)).arg(waiting.number);
                    cmd.arg(whole_milliseconds(waiting.gives_way_to())).arg(whole_milliseconds(waiting.precedence))
                }
            };
        }
        Action::Commit { token } => {
            cmd.arg(token).arg(whole_milliseconds(command.retention)).arg(locks.len());
        }
        Action::Extend { ttl, .. } => {
            cmd.arg(whole_milliseconds(ttl));
        }
        Action::Release { keep, .. } => {
            cmd.arg(whole_milliseconds(keep)).arg(if server.reports_changes { "" } else { RELEASED });
        }
        // They are not offered.
        Action::Adopt { .. } | Action::Mark => {}
    }
    for key in unnamed {
        cmd.arg(&**key);
    }
    cmd.arg(&contentions);
    (cmd, unnamed.len())
}
