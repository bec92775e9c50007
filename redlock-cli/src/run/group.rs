//! The process group of the command.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::clock::now;

/// How long to leave the machine alone between two looks at whether it is gone: the kernel does not tell.
const LOOK_EVERY: Duration = Duration::from_millis(3);

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
        loop {
            if self.is_gone() {
                return true;
            }
            if now() >= moment {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
