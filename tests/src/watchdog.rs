//! Nothing that the harness starts outlives the test process, however that ends.
//!
//! `Drop` takes care of a test that panics. It does not run when the test process is killed or aborts, nor for a
//! value in a `static`. A child cannot ask the kernel to die with its parent without unsafe code, and where it
//! can, it dies with the *thread* that started it. So one shell per test process reads from a pipe which only
//! that process can write to: when the pipe ends, the process is gone, and the shell kills what is left.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads `+ PID DIRECTORY` and `- PID DIRECTORY` until the pipe ends. Each directory goes with its process, if it
/// is one that the harness made: the pattern keeps a bug here from removing anything else.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
watched=
while read -r verb pid directory; do
    case $verb in
        +) watched="$watched
$pid $directory" ;;
        -) watched=$(printf '%s\n' "$watched" | grep -v "^$pid ") ;;
    esac
done
printf '%s\n' "$watched" | while read -r pid directory; do
    if [ -n "$pid" ]; then kill -KILL "$pid"; fi
    case $directory in
        */redlock-test-*) rm -rf -- "$directory" ;;
    esac
done
"#;

/// The shell; a mutex because one line must be written whole, and tests run on many threads.
static WATCHDOG: OnceLock<Mutex<Child>> = OnceLock::new();

/// The prefix of the temporary directories that the shell may remove.
pub(crate) const DIRECTORY_PREFIX: &str = "redlock-test-";

/// Has the process killed, and its directory removed, once this process is gone.
pub(crate) fn watch(child: &Child, directory: Option<&Path>) {
    tell('+', child, directory).expect("the shell that cleans up after a killed test ended by itself");
}

/// Forgets the process. Call it before the process is waited for, since its id may be another's after that.
pub(crate) fn forget(child: &Child) {
    // Called from Drop, where a panic would abort; a watchdog that ended has nothing to forget.
    let _ = tell('-', child, None);
}

fn tell(verb: char, child: &Child, directory: Option<&Path>) -> std::io::Result<()> {
    let mut watchdog = WATCHDOG.get_or_init(|| Mutex::new(start())).lock().unwrap_or_else(PoisonError::into_inner);
    let directory = directory.unwrap_or(Path::new("")).display();
    let line = format!("{verb} {} {directory}\n", child.id());
    watchdog.stdin.as_mut().expect("stdin is piped").write_all(line.as_bytes())
}

fn start() -> Child {
    Command::new("sh")
        .args(["-c", SCRIPT, "redlock-test-watchdog"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends a whole process group (Ctrl-C, a test runner's timeout) must leave this one to clean up.
        .process_group(0)
        .spawn()
        .expect("a POSIX shell named `sh` is needed to clean up after killed tests")
}
