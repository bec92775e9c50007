//! What several locks are asked for in one script.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Cmd;

use super::super::Call;
use super::{Script, Server, arg_first, packed_length, whole_milliseconds};
use crate::node::{Action, Command};
use crate::values::keys::Keys;
use crate::values::subject::{Kind, Which};

pub(super) static TOGETHER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/together.lua")));

/// What a command is among others in one script, in the order in which that sees to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) enum Part {
    /// A release that deletes the key, and nothing else.
    Release,
    /// A commit.
    Commit,
    /// An acquire of a fenced lock.
    Fenced,
    /// An acquire of another one.
    Plain,
}

/// What a command is among others, if it may be among any: it is about one key and perhaps its counter, does what nearly all do, and
/// nothing stands in front of it.
pub(in crate::node) fn part_of(command: &Command, server: Server) -> Option<Part> {
    let does_more = command.contender.is_some()
        || command.mark.is_some()
        || command.new_mark.is_some()
        || command.predecessor.is_some();
    // Those that tell the value that was there are told a counter's, too.
    if does_more || server.is_asking || !server.reports_changes || !server.set_tells {
        return None;
    }
    let is_of_one_slot = matches!(command.subject.kind(), Some(Kind::Permits { which: Which::One(_), .. }));
    let has_one_key = command.subject.kind().is_none() || is_of_one_slot;
    match command.action {
        Action::Release { keep: Duration::ZERO, behind: None, is_noted: false } if command.subject.kind().is_none() => {
            Some(Part::Release)
        }
        Action::Commit { .. } if has_one_key => Some(Part::Commit),
        Action::Acquire { is_watched: false, .. } if has_one_key => match command.fence {
            Some(proposal) => (proposal.room() == 0).then_some(Part::Fenced),
            None => Some(Part::Plain),
        },
        _ => None,
    }
}

/// Carries several commands out, each on the server as it was when it was asked, which keep their counters for the same time; and how many
/// bytes that takes on the wire. They are in the order of their parts, and no two are about one key.
pub(in crate::node) fn evaluate_together<'a>(
    call: Call,
    commands: impl Iterator<Item = (Part, &'a Command, Server)> + Clone,
) -> (Cmd, usize) {
    const CAPACITY_OF_EACH: usize = 256;
    let (count, of_part, keys) =
        commands.clone().fold((0, [0_usize; 4], 0), |(count, mut of_part, keys), (part, ..)| {
            of_part[part as usize] += 1;
            (count + 1, of_part, keys + 1 + usize::from(has_counter(part)))
        });
    let retention = commands.clone().next().map_or(Duration::ZERO, |(_, command, _)| command.retention);
    let mut cmd = Cmd::with_capacity(8 + 6 * count, 128 + CAPACITY_OF_EACH * count);
    match call {
        Call::Known => cmd.arg("EVALSHA").arg(&TOGETHER.hash),
        Call::Unknown => cmd.arg("EVAL").arg(TOGETHER.code),
    };
    cmd.arg(keys);
    for (part, command, _) in commands.clone() {
        cmd.arg(&**command.key());
        if has_counter(part) {
            cmd.arg(Keys::fence(command.key()));
        }
    }
    for count in of_part {
        cmd.arg(count);
    }
    cmd.arg(whole_milliseconds(retention));
    for (_, command, server) in commands {
        cmd.arg(&*command.owner);
        match command.action {
            Action::Commit { token } => {
                cmd.arg(token);
            }
            Action::Acquire { ttl, .. } => {
                cmd.arg(whole_milliseconds(ttl));
                if let Some(proposal) = command.fence {
                    cmd.arg(proposal.least());
                    arg_first(&mut cmd, proposal, server);
                }
            }
            Action::Release { .. } | Action::Adopt { .. } | Action::Extend { .. } | Action::Mark => {}
        }
    }
    let length = packed_length(&cmd);
    (cmd, length)
}

fn has_counter(part: Part) -> bool {
    matches!(part, Part::Commit | Part::Fenced)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::Beside;
    use super::*;
    use crate::node::{MarkQuery, NewMark};
    use crate::protocol::{FenceFallback, Proposal, Quorum, RETENTION, StoredMark};
    use crate::values::subject::Subject;

    const TTL: Duration = Duration::from_secs(1);

    fn proposal(room: u64) -> Option<Proposal> {
        let proposal = Proposal::new(TTL, 0, Quorum::of(1).unwrap(), FenceFallback::Refuse);
        Some(if room > 0 { proposal.with_room(room) } else { proposal })
    }

    fn server(reports_changes: bool, is_asking: bool, set_tells: bool) -> Server {
        Server::new(reports_changes, RETENTION, is_asking, set_tells, Beside::default())
    }

    #[test]
    fn what_does_no_more_than_nearly_all_do_may_be_among_others() {
        let (key, owner): (Subject, Arc<str>) = ("key".into(), "owner".into());
        let usual = server(true, false, true);
        let acquire = |is_watched| Action::Acquire { ttl: TTL, is_watched };
        let release = |keep, is_noted| Action::Release { keep, behind: None, is_noted };
        let asked = |is_watched, contender: Option<&str>, fence, mark| {
            Command::acquire(acquire(is_watched), &key, &owner, contender.map(Arc::from), fence, mark)
        };
        let plain = |action| Command::new(action, &key, &owner);
        for (command, part) in [
            (asked(false, None, proposal(0), None), Part::Fenced),
            (asked(false, None, None, None), Part::Plain),
            (plain(Action::Commit { token: 7 }), Part::Commit),
            (plain(release(Duration::ZERO, false)), Part::Release),
        ] {
            assert_eq!(part_of(&command, usual), Some(part), "{:?}", command.action);
            for other in [server(false, false, true), server(true, true, true), server(true, false, false)] {
                assert_eq!(part_of(&command, other), None, "{:?} {other:?}", command.action);
            }
        }
        let mark = MarkQuery { refuse_from: Some(7), retention: TTL };
        let new_mark = NewMark { stored: StoredMark { fire: 7, token: 5 }, retention: TTL };
        for command in [
            asked(true, None, proposal(0), None),
            asked(false, Some("process"), proposal(0), None),
            asked(false, None, proposal(3), None),
            asked(false, None, None, Some(mark)),
            plain(release(TTL, false)),
            plain(release(Duration::ZERO, true)),
            plain(Action::Extend { ttl: TTL, is_noted: false }),
            plain(Action::Adopt { ttl: TTL }),
            Command::marking(release(Duration::ZERO, false), &key, &owner, new_mark),
            Command::marking(Action::Mark, &key, &owner, new_mark),
        ] {
            assert_eq!(part_of(&command, usual), None, "{command:?}");
        }
    }
}
