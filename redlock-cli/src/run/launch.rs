//! The process that becomes the command.
//!
//! It is this program, started in the command's place: what the command is to have from its parent it takes on by itself, and then
//! becomes the command. So no code of ours runs between `fork` and `exec`, which could not be safe.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, close, dup, getpgrp, getppid};

use super::group::Group;
use super::mark::{self, Mark};
use super::messages::Held;
use crate::exit::{CANNOT_START, NOT_FOUND, OURS, tell};

/// The first argument of the process that becomes the command.
pub(super) const WORD: &str = "__command";

/// This program, also where its file was replaced since it was started.
pub(super) fn ourselves() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// A process that is to become the command, in a group of its own, and does so when it is let. Nothing of the command has begun: if this is
/// dropped, or this program ends in whatever way, the process ends.
#[derive(Debug)]
pub(super) struct Launch {
    /// There until it was let go.
    child: Option<Child>,
    /// What is written to this, or its end, is what the process waits for.
    gate: PipeWriter,
}

impl Launch {
    /// Starts it, and tells it of its lock.
    pub(super) fn prepare(program: &[OsString], name: &str, held: &Held, mark: Mark) -> io::Result<Self> {
        let (waits, gate) = io::pipe()?;
        // The one descriptor that it inherits of ours, and closes before it becomes the command.
        let waits = dup(waits)?;
        let mut command = Command::new(ourselves()?);
        command.arg(WORD).arg(Pid::this().to_string()).arg(waits.as_raw_fd().to_string()).arg("--").args(program);
        command.process_group(0);
        let told = [
            (mark::VARIABLE, Some(mark.to_string())),
            ("REDLOCK_NAME", Some(name.to_owned())),
            ("REDLOCK_FENCING_TOKEN", Some(held.fencing_token.to_string())),
            ("REDLOCK_FIRE", held.fire.map(|fire| fire.to_string())),
            ("REDLOCK_PERMIT", held.permit.map(|permit| permit.to_string())),
        ];
        for (variable, value) in told {
            match value {
                Some(value) => command.env(variable, value),
                // That of a run around this one.
                None => command.env_remove(variable),
            };
        }
        Ok(Self { child: Some(command.spawn()?), gate })
    }

    /// Its group.
    pub(super) fn group(&self) -> Group {
        let id = self.child.as_ref().map(Child::id).unwrap_or_default();
        Group(Pid::from_raw(id.cast_signed()))
    }

    /// Lets it become the command.
    pub(super) fn begin(mut self) -> Option<Child> {
        // Whoever was killed meanwhile reads nothing.
        let _ = self.gate.write_all(b"\n");
        self.child.take()
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `redlock __command PARENT GATE -- COMMAND…`: becomes the command when it is let.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let [parent, gate, dashes, program, arguments @ ..] = arguments else { return ExitCode::from(OURS) };
    let parent = number_in(parent).map(Pid::from_raw);
    let (Some(gate), true) = (number_in(gate), dashes == "--" && parent.is_some() && getpgrp() == Pid::this()) else {
        tell("`__command` is for `redlock run` alone; write `redlock run NAME -- COMMAND`");
        return ExitCode::from(OURS);
    };
    // It holds for the program that this becomes, too, unless that changes its user.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // Behind that, so that a parent that has died by now is noticed.
    if parent != Some(getppid()) {
        return ExitCode::from(OURS);
    }
    match is_let(gate) {
        Ok(true) => {}
        // Whoever started this is gone, or wants it no more.
        Ok(false) => return ExitCode::from(OURS),
        Err(error) => {
            tell(format_args!(
                "the command cannot be let begin, as /dev/fd/{gate} cannot be read: {error}; mount /proc"
            ));
            return ExitCode::from(OURS);
        }
    }
    let error = Command::new(program).args(arguments).exec();
    // Since then the signal of a stderr that nobody reads has its default again, and would decide what this ends with.
    let _ = SigSet::from(Signal::SIGPIPE).thread_block();
    let shown = program.to_string_lossy();
    let shown = shown.escape_debug();
    if error.kind() == ErrorKind::NotFound {
        tell(not_found(program, &shown.to_string()));
        return ExitCode::from(NOT_FOUND);
    }
    tell(format_args!("`{shown}` cannot be started: {error}; a script needs execute permission and a #! line"));
    ExitCode::from(CANNOT_START)
}

/// What is missing: the program, or what its first line says that reads it.
fn not_found(program: &OsStr, shown: &str) -> String {
    let is_path = program.as_encoded_bytes().contains(&b'/');
    if is_path && Path::new(program).exists() {
        return format!(
            "`{shown}` cannot be started: the interpreter that its #! line names, or its loader, was not found; install that, or mend the line"
        );
    }
    format!("`{shown}` was not found; write its path, or look at PATH")
}

fn number_in(argument: &OsStr) -> Option<i32> {
    argument.to_str()?.parse().ok()
}

/// Waits until whoever has the other end of this pipe writes to it, or is gone; which of them.
fn is_let(gate: i32) -> io::Result<bool> {
    // Opened by its name, because a bare number could be anybody's, and closed with its number.
    let opened = File::open(format!("/dev/fd/{gate}"));
    close(gate)?;
    Ok(opened?.read(&mut [0])? == 1)
}
