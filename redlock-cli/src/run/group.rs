//! The process group of the command.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::clock::now;

/// How long to leave the machine alone between two looks at whether it is gone: the kernel does not tell.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// So many looks later, it is looked whether all that is left of it is dead.
const DEAD_EVERY: u32 = 8;

/// A command and whatever it has started, unless that left its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(pub(super) Pid);

impl Group {
    /// Signals all of it. Who is gone, or belongs to another user, is not signalled.
    pub(super) fn signal(self, signal: Signal) {
        let _ = killpg(self.0, signal);
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(self) -> bool {
        killpg(self.0, None) == Err(Errno::ESRCH)
    }

    /// Whether it is gone before this moment.
    pub(super) async fn gone_before(self, moment: Instant) -> bool {
        for look in 0_u32.. {
            // The costly look is for those whom nobody waits for.
            if self.is_gone() {
                return true;
            }
            if look % DEAD_EVERY == 1 && self.is_dead() {
                // Whoever was started while it was looked, and not seen, must not be left.
                self.signal(Signal::SIGKILL);
                return true;
            }
            if now() >= moment {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }

    /// Whether all that is left of it is dead, and only not waited for yet: some containers have nobody who does so soon, or at
    /// all. Only Linux tells.
    fn is_dead(self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else { return false };
        let mut stats = processes.flatten().filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
        let is_seen = fs::exists("/proc/self/stat").unwrap_or(false);
        is_seen && !stats.any(|stat| is_alive_in(&stat, self.0.as_raw()))
    }
}

/// Whether this is the line of a process of this group which is not dead.
// Source: proc_pid_stat(5): the name, in parentheses, may hold anything; then the state, the parent and the group
fn is_alive_in(stat: &str, group: i32) -> bool {
    let Some((_, behind_name)) = stat.rsplit_once(')') else { return false };
    let mut fields = behind_name.split_whitespace();
    let state = fields.next();
    let of_group = fields.nth(1).and_then(|group| group.parse().ok()) == Some(group);
    of_group && !matches!(state, Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_dead_and_not_waited_for_is_gone() {
        for (stat, expect) in [
            ("10 (sh) S 1 7 7 0", true),
            ("10 (a) Z 1 7) R 1 7 7 0", true),
            ("10 (sh) T 1 7 7 0", true),
            ("10 (sh) Z 1 7 7 0", false),
            ("10 (sh) S 1 8 7 0", false),
            ("", false),
        ] {
            assert_eq!(is_alive_in(stat, 7), expect, "{stat}");
        }
        assert!(!Group(nix::unistd::getpgrp()).is_dead());
    }
}
