//! What a command has started that has left its process group.
//!
//! On Linux whoever has lost its parent gets the front for one, which asked for that, so it can be found as long as the front is there. Where
//! the front had children before, and does not know theirs from those of the command, it goes by the mark of the run.

use std::collections::HashMap;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::group::Group;
use super::mark::Mark;
use super::processes::{self, Process};

/// Who descends from this process, but for one of its children, with what descends from that, and for a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elsewhere {
    /// The process that holds the lock, which ends by itself.
    pub(super) but: Option<Pid>,
    /// The command's group, which is signalled as a whole.
    pub(super) outside: Group,
    /// By which they are known, where descent does not tell.
    pub(super) mark: Option<Mark>,
}

impl Elsewhere {
    /// Lets whoever loses its parent, and descends from this process, have this one for a parent, before it has started any; whether all
    /// its descendants will be those of a command.
    pub(super) fn adopt() -> bool {
        // Whoever started children and then became this program (`exec`) did not mean them.
        if waitpid(None, Some(WaitPidFlag::WNOHANG)) != Err(Errno::ECHILD) {
            return false;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return nix::sys::prctl::set_child_subreaper(true).is_ok();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return false;
    }

    /// Signals each of them.
    pub(super) fn signal(self, signal: Signal) {
        for process in self.find() {
            let _ = kill(process.id(), signal);
        }
    }

    /// Whether nothing is left of them.
    pub(super) fn is_gone(self) -> bool {
        self.find().is_empty()
    }

    fn find(self) -> Vec<Process> {
        let mut found = match self.mark {
            None => descend(processes::all().into_iter().flatten(), Pid::this().as_raw(), self.but.map(Pid::as_raw)),
            Some(mark) => mark.find(),
        };
        found.retain(|process| process.group != self.outside.0.as_raw() && !process.is_dead);
        found
    }
}

/// Those of all processes that descend from this one, and not from another.
fn descend(all: impl Iterator<Item = Process>, from: i32, but: Option<i32>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut parents = vec![from];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        // Taken out, so that a list that was read while it changed has no circles.
        for child in children.remove(&parent).unwrap_or_default() {
            if Some(child.pid) != but {
                parents.push(child.pid);
                found.push(child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_descends_from_a_process_is_found_but_for_one_branch() {
        let stats = [
            "10 (redlock) S 1 10 10 0",
            "11 (redlock) S 10 11 10 0",
            "12 (sh) S 10 12 10 0",
            "13 (a) Z 1 7) R 12 13 13 0",
            "14 (sleep) S 13 13 13 0",
            "15 (x) S 11 11 10 0",
            "16 (sh) Z 12 12 10 0",
            "17 (other) S 1 17 17 0",
        ];
        let all: Vec<_> = stats.iter().filter_map(|stat| Process::read(stat)).collect();
        assert_eq!(all.len(), stats.len());
        let mut found: Vec<_> = descend(all.iter().copied(), 10, Some(11)).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [12, 13, 14, 16]);
        assert!(all[6].is_dead && !all[3].is_dead);
        let circle = [
            Process { pid: 2, parent: 3, group: 2, is_dead: false },
            Process { pid: 3, parent: 2, group: 2, is_dead: false },
        ];
        assert_eq!(descend(circle.into_iter(), 3, None).len(), 2);
    }
}
