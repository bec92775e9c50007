//! What others see as the owner of a lock: the machine, the process that they can look at there, and its program.

use nix::unistd::{Pid, getppid};

/// Longer ones are cut.
const LONGEST_PROGRAM: usize = 100;

/// For a run: this process, and the command without its arguments, which may hold what is not for everybody.
pub(crate) fn of_command(program: &str) -> String {
    of(Pid::this(), Some(program))
}

/// For a script that holds a lock by its token: whoever started this.
pub(crate) fn of_script() -> String {
    let script = getppid();
    // Only Linux tells. A script that is started by its name is called so, any other as its shell.
    let program = std::fs::read_to_string(format!("/proc/{script}/comm")).ok();
    of(script, program.as_deref())
}

fn of(process: Pid, program: Option<&str>) -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    let program = program.unwrap_or_default().chars().filter(|character| !character.is_control());
    let program: String = program.take(LONGEST_PROGRAM).collect();
    format!("{host} pid {process} {program}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_machine_a_process_and_its_program() {
        let label = of(Pid::from_raw(7), Some("ba\u{1b}sh\n"));
        assert!(label.ends_with(" pid 7 bash"), "{label}");
        assert!(of(Pid::from_raw(7), None).ends_with(" pid 7"));
        assert!(of(Pid::from_raw(7), Some(&"x".repeat(1000))).ends_with(&format!(" {}", "x".repeat(LONGEST_PROGRAM))));
    }
}
