//! Locks of other kinds: many that read or one that writes, and several names at once.

use redlock_tests::Servers;

use crate::common::{code, manager, output, printed};

#[test]
fn those_who_read_run_beside_each_other_and_keep_writers_out() {
    let servers = Servers::start(3);
    let reader = manager(&servers).read("catalogue").acquire_blocking().unwrap();
    assert_eq!(printed(&servers, &["run", "-n", "--read", "catalogue", "--", "echo", "read"]), "read\n");
    assert_eq!(code(&servers, &["run", "-n", "--write", "catalogue", "--", "true"]), 75);
    reader.release_blocking().unwrap();
    assert_eq!(code(&servers, &["run", "-w", "10", "--write", "catalogue", "--", "true"]), 0);
}

#[test]
fn of_several_names_all_are_held_or_none() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let other = locks.lock("b").acquire_blocking().unwrap();
    let refused = output(&servers, &["run", "-n", "a", "b", "--", "echo", "ran"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(75), 0), "{refused:?}");
    other.release_blocking().unwrap();
    let told = printed(
        &servers,
        &["run", "-w", "10", "a", "b", "--", "sh", "-c", "echo $REDLOCK_NAME $REDLOCK_FENCING_TOKEN"],
    );
    let token = told.trim_end().strip_prefix("a + b ").expect("both names are told");
    assert!(token.parse::<u64>().is_ok_and(|token| token > 0), "{told}");
}
