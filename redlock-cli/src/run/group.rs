//! The process group of the command.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::processes;
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

    /// Asks all of it to end.
    pub(super) fn ask_to_end(self) {
        self.signal(Signal::SIGTERM);
        // One that is stopped cannot end.
        self.signal(Signal::SIGCONT);
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
        let is_seen = fs::exists("/proc/self/stat").unwrap_or(false);
        is_seen && processes::all().is_ok_and(|mut all| !all.any(|process| process.is_alive_in(self.0.as_raw())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_lives_is_not_dead() {
        assert!(!Group(nix::unistd::getpgrp()).is_dead());
    }
}
