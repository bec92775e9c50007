//! The terminal that the command runs on: whoever is its foreground group reads from it, and gets ctrl-C and ctrl-Z.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, stdin};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp};

use super::group::Group;

/// The terminal of this process, if it has one.
#[derive(Debug)]
pub(super) struct Terminal(Option<File>);

impl Terminal {
    pub(super) fn of_this_process() -> Self {
        Self(OpenOptions::new().read(true).write(true).open("/dev/tty").ok())
    }

    /// Lets the command have the terminal from its beginning, if it reads from it. Of a pipeline, the part that does needs it.
    pub(super) fn lend(&self, group: Group) {
        if stdin().is_terminal() {
            self.hand_over(group);
        }
    }

    /// Lets the command have the terminal, if it is ours to give; whether it has it.
    pub(super) fn hand_over(&self, group: Group) -> bool {
        match self.foreground() {
            Some(foreground) if foreground == group.0 => true,
            Some(foreground) => foreground == getpgrp() && self.set_foreground(group.0),
            None => false,
        }
    }

    /// Takes the terminal back, if the command has it; whether it had.
    pub(super) fn take_back(&self, group: Group) -> bool {
        self.foreground() == Some(group.0) && self.set_foreground(getpgrp())
    }

    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.0.as_ref()?).ok()
    }

    fn set_foreground(&self, group: Pid) -> bool {
        let Some(terminal) = &self.0 else { return false };
        // Whoever sets it from the background is stopped by this signal otherwise.
        let stopping = SigSet::from(Signal::SIGTTOU);
        let Ok(before) = stopping.thread_swap_mask(SigmaskHow::SIG_BLOCK) else { return false };
        let is_set = tcsetpgrp(terminal, group).is_ok();
        let _ = before.thread_set_mask();
        is_set
    }
}

/// Whether somebody is there who lets this process go on once it has stopped: a shell, in the same session.
pub(super) fn has_shell() -> bool {
    match (getsid(None), getsid(Some(getppid()))) {
        (Ok(own), Ok(parents)) => own == parents && own != Pid::this(),
        _ => false,
    }
}
