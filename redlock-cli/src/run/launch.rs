//! The process that becomes the command.
//!
//! It is this program, started in the command's place: what the command is to have from its parent it takes on by itself, and then
//! becomes the command. So no code of ours runs between `fork` and `exec`, which could not be safe.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::unistd::{Pid, getpgrp, getppid};

use super::messages::Held;
use crate::exit::{CANNOT_START, NOT_FOUND, OURS, tell};

/// The first argument of the process that becomes the command.
pub(super) const WORD: &str = "__command";

/// This program, also where its file was replaced since it was started.
pub(super) fn ourselves() -> std::io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// What starts the command, in a process group of its own, and tells it of its lock.
pub(super) fn command(program: &[OsString], name: &str, held: &Held) -> std::io::Result<Command> {
    let mut command = Command::new(ourselves()?);
    command.arg(WORD).arg(Pid::this().to_string()).arg("--").args(program).process_group(0);
    let told = [
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
    Ok(command)
}

/// `redlock __command PARENT -- COMMAND…`: becomes the command.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let [parent, dashes, program, arguments @ ..] = arguments else { return ExitCode::from(OURS) };
    let parent = parent.to_str().and_then(|parent| parent.parse().ok()).map(Pid::from_raw);
    if dashes != "--" || parent.is_none() || getpgrp() != Pid::this() {
        tell("`__command` is for `redlock run` alone; write `redlock run NAME -- COMMAND`");
        return ExitCode::from(OURS);
    }
    // It holds for the program that this becomes, too, unless that changes its user.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    // Behind that, so that a parent that has died by now is noticed.
    if parent != Some(getppid()) {
        return ExitCode::from(OURS);
    }
    let error = Command::new(program).args(arguments).exec();
    let shown = program.to_string_lossy();
    let shown = shown.escape_debug();
    if error.kind() == ErrorKind::NotFound {
        tell(format_args!("`{shown}` was not found; write its path, or look at PATH"));
        return ExitCode::from(NOT_FOUND);
    }
    tell(format_args!("`{shown}` cannot be started: {error}; a script needs execute permission and a #! line"));
    ExitCode::from(CANNOT_START)
}
