//! What is said while somebody waits for a lock: who has it, and that too few nodes answer.

use std::convert::Infallible;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::Args;
use redlock_runtime::{LockInfo, LockManager, LockState, NodeStanding, PermitInfo, SharedInfo};
use tokio::time::sleep;

use crate::duration::short;
use crate::output::plain;

/// Whether it is said.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Telling {
    /// Say on stderr, after a second, that it waits, and who has the lock; on a terminal it does so anyway
    #[arg(short = 'v', long)]
    verbose: bool,
}

impl Telling {
    /// Whether somebody is told of a wait that takes a while: whoever looks on, and no script, unless it asks.
    pub(crate) fn is_wanted(self) -> bool {
        self.verbose || stderr().is_terminal()
    }
}

/// Who waits for less has no time to read.
const A_WHILE: Duration = Duration::from_secs(1);

/// Nodes that cannot be asked for so long are worth a word to whoever waits for a lock on them.
const BLIND: Duration = Duration::from_secs(3);

/// Says after a while who has the lock, once and if that is wanted; and whenever too few nodes can be asked: else nobody would know why
/// nothing happens. Never ends.
pub(crate) async fn say_why(
    locks: &LockManager,
    names: &[String],
    tells_waits: bool,
    say: impl Fn(String),
) -> Infallible {
    if tells_waits {
        sleep(A_WHILE).await;
        // Where too few nodes answer, that is what is to be said.
        if let Some(told) = awaited(locks, names).await {
            say(told);
        }
    }
    let mut is_said = false;
    loop {
        sleep(BLIND).await;
        let Ok(nodes) = locks.nodes().await else { continue };
        let there = nodes.iter().filter(|node| node.standing != NodeStanding::Unreachable).count();
        let needed = nodes.len() / 2 + 1;
        if there < needed && !is_said {
            say(format!(
                "still waiting for lock `{}`: {there} of {} nodes answer, and {needed} are needed; `redlock doctor` says what to do",
                plain(&names.join(" + ")),
                nodes.len()
            ));
        }
        is_said = there < needed;
    }
}

/// What is waited for, and who has it, or the first of several names that somebody has.
async fn awaited(locks: &LockManager, names: &[String]) -> Option<String> {
    for name in names {
        let info = locks.inspect(name.as_str()).await.ok()?;
        if let Some(holder) = holder(&info) {
            let all = if names.len() > 1 { format!(" (one of {})", names.len()) } else { String::new() };
            return Some(format!("waiting for lock `{}`{all}, {holder}", plain(name)));
        }
    }
    // It passes from one to the next, and others stand in the line.
    Some(format!("waiting for lock `{}`", plain(&names.join(" + "))))
}

/// Who has it, behind "the lock, …"; `None` if nobody has.
fn holder(info: &LockInfo) -> Option<String> {
    let taken: Vec<_> = info.permits.iter().filter(|permit| permit.is_taken()).collect();
    let of_shared = || info.shared.as_ref().and_then(sharing);
    match info.state {
        LockState::Free if taken.is_empty() => of_shared(),
        LockState::Free => Some(permits(&taken)),
        LockState::Held => Some(held(info.owner_label.as_deref(), info.held_for)),
        LockState::Kept => {
            let most = info.remaining.map(|remaining| format!(", {} at most", short(remaining))).unwrap_or_default();
            Some(format!("which is kept until its min_hold is over{most}"))
        }
        _ => Some("which several ask for at the same time".to_owned()),
    }
}

fn held(label: Option<&str>, held_for: Option<Duration>) -> String {
    let by = label.map_or_else(|| "somebody who did not say who it is".to_owned(), plain);
    let since = held_for.map(|held_for| format!(", for {}", short(held_for))).unwrap_or_default();
    format!("held by {by}{since}")
}

fn permits(taken: &[&PermitInfo]) -> String {
    let longest = taken.iter().max_by_key(|permit| permit.held_for);
    let longest = longest.map(|permit| held(permit.owner_label.as_deref(), permit.held_for)).unwrap_or_default();
    match taken.len() {
        1 => format!("whose permit is {longest}"),
        permits => format!("{permits} of whose permits are taken, one of them {longest}"),
    }
}

fn sharing(shared: &SharedInfo) -> Option<String> {
    match (shared.writer, shared.readers) {
        (LockState::Free, 0) => None,
        (LockState::Free, 1) => Some("which one reader has".to_owned()),
        (LockState::Free, readers) => Some(format!("which {readers} readers have")),
        _ => Some(format!("which a writer has, {}", held(shared.owner_label.as_deref(), None))),
    }
}
