//! The processes of this machine. Only Linux tells of them.

use std::{fs, io};

use nix::unistd::Pid;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Whether it is only not waited for.
    pub(super) is_dead: bool,
}

/// All that there are.
pub(super) fn all() -> io::Result<impl Iterator<Item = Process>> {
    let processes = fs::read_dir("/proc")?.flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    Ok(stats.filter_map(|stat| Process::read(&stat)))
}

impl Process {
    /// Reads the line of a process.
    // Source: proc_pid_stat(5): the name, in parentheses, may hold anything; then the state, the parent and the group
    pub(super) fn read(stat: &str) -> Option<Self> {
        let pid = stat.split_once(' ')?.0.parse().ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        Some(Self { pid, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()?, is_dead })
    }

    /// By what it is signalled.
    pub(super) fn id(self) -> Pid {
        Pid::from_raw(self.pid)
    }

    /// Whether this, a variable with its value, is what it was started with.
    pub(super) fn has_in_environment(self, variable: &str) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    }

    /// Whether it is one of this group, and not dead.
    pub(super) fn is_alive_in(self, group: i32) -> bool {
        self.group == group && !self.is_dead
    }
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
            assert_eq!(Process::read(stat).is_some_and(|process| process.is_alive_in(7)), expect, "{stat}");
        }
    }
}
