//! A command that says which signals it gets, as does its child: this test's own binary, started once more.

use std::env;
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};

/// Set for a process that is to be one: `child`, or `grandchild`.
const ROLE: &str = "REDLOCK_TEST_ROLE";

/// What starts it.
pub(crate) fn command() -> Vec<String> {
    let this = env::current_exe().unwrap().to_str().unwrap().to_owned();
    ["env", &format!("{ROLE}=child"), &this, "--exact", "helper::process", "--nocapture"].map(str::to_owned).to_vec()
}

/// No test: what [`command`] runs.
#[test]
fn process() {
    let Ok(role) = env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kinds = [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("WINCH", 28)];
        for (name, number) in kinds {
            let mut stream = signal(SignalKind::from_raw(number)).unwrap();
            let role = role.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    println!("| {role} {name}");
                }
            });
        }
        println!("| {role} ready {}", std::process::id());
        // It outlives nobody: whoever is tested ends it.
        let mut grandchild = None;
        if role == "child" {
            let arguments: Vec<_> = env::args().collect();
            grandchild =
                Some(Command::new(&arguments[0]).args(&arguments[1..]).env(ROLE, "grandchild").spawn().unwrap());
        }
        // Until it is killed.
        std::future::pending::<()>().await;
        drop(grandchild);
    });
}
