//! What everybody has to set alike who uses the same nodes.

use std::time::Duration;

use redlock_tests::{Servers, unhurried};

use crate::common::{PATIENT, code, eventually_free, manager, output, printed, redlock};

#[test]
fn a_fleet_with_a_prefix_of_its_own_is_excluded_and_seen_by_option_and_by_variable() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).lock_prefix("shop:").build().unwrap();
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let by_variable = |arguments: &[&str]| {
        let output = redlock(&servers, arguments).env("REDLOCK_LOCK_PREFIX", "shop:").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(code(&servers, &["run", "-n", "--lock-prefix", "shop:", "x", "--", "true"]), 75);
    assert_eq!(by_variable(&["run", "-n", "x", "--", "true"]).0, Some(75));
    assert_eq!(code(&servers, &["acquire", "-n", "--lock-prefix", "shop:", "x"]), 75);
    assert_eq!(printed(&servers, &["list", "--lock-prefix", "shop:"]), "x\n");
    assert_eq!(by_variable(&["list"]), (Some(0), "x\n".to_owned()));
    // Without it these are other locks.
    assert_eq!(printed(&servers, &["list"]), "");
    assert_eq!(code(&servers, &["run", "-n", "x", "--", "true"]), 0);
    guard.release_blocking().unwrap();
}

#[test]
fn the_longest_ttl_and_the_rest_that_a_fleet_shares_are_settings() {
    let servers = Servers::start(1);
    let token = printed(&servers, &["acquire", "--longest-ttl", "2d", "--ttl", "1d", "x"]);
    assert!(servers[0].probe().pttl(&crate::common::key("x")).remaining().unwrap() > Duration::from_secs(80_000));
    assert!(!token.is_empty());
    assert_eq!(manager(&servers).reset_blocking("x").unwrap(), 1);
    let run = ["run", "--ttl", "1d", "x", "--", "true"];
    let refused = output(&servers, &run);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(125), 1), "{said}");
    assert!(said.contains("REDLOCK_LONGEST_TTL"), "{said}");
    let by_variable = redlock(&servers, &run).env("REDLOCK_LONGEST_TTL", "2d").output().unwrap();
    assert!(by_variable.status.success(), "{by_variable:?}");
    eventually_free(&servers, "x");
    for options in [["--marks-retention", "30d"], ["--max-clock-skew", "none"], ["--max-clock-skew", "5s"]] {
        let arguments: Vec<_> = ["run"].iter().chain(&options).chain(&["x", "--", "true"]).copied().collect();
        assert_eq!(code(&servers, &arguments), 0, "{options:?}");
    }
    // No replica has what it is to have.
    let alone = output(&servers, &["run", "-n", "--wait-replicas", "1/50ms", "x", "--", "true"]);
    assert_eq!(alone.status.code(), Some(69), "{alone:?}");
    for options in [["--wait-replicas", "1"], ["--max-clock-skew", "some"], ["--marks-retention", "1d"]] {
        let arguments: Vec<_> = ["run"].iter().chain(&options).chain(&["x", "--", "true"]).copied().collect();
        let refused = output(&servers, &arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), said.lines().count()), (Some(125), 1), "{options:?}: {said}");
    }
}

#[test]
fn nodes_are_waited_for_as_long_as_is_said() {
    let servers = Servers::start(1);
    let list = |arguments: &[&str], variable: &str| {
        let mut list = redlock(&servers, &[&["list"], arguments].concat());
        let output = list.env("REDLOCK_NODE_TIMEOUT", variable).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(list(&[PATIENT], "1ms"), (Some(0), String::new()));
    for (arguments, variable) in [(&["--node-timeout", "0"][..], "1s"), (&[], "0")] {
        let (code, said) = list(arguments, variable);
        assert_eq!((code, said.lines().count()), (Some(125), 1), "{said}");
        assert!(said.contains("a node_timeout of 0ns is impossible"), "{said}");
    }
}

#[test]
fn nodes_in_the_memory_of_a_process_keep_nobody_out_and_are_refused() {
    let servers = Servers::start(1);
    for arguments in [
        &["run", "--nodes", "memory://m", "x", "--", "echo", "ran"][..],
        &["run", "--nodes", "redis://127.0.0.1:1, memory://", "x", "--", "echo", "ran"],
        &["acquire", "--nodes", "memory://", "x"],
    ] {
        let output = output(&servers, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count(), output.stdout.len()), (Some(125), 1, 0), "{said}");
        assert!(said.contains("one process alone") && said.contains("redis://"), "{said}");
    }
    let by_variable = redlock(&servers, &["run", "x", "--", "true"]).env("REDLOCK_NODES", "memory://m").output();
    assert_eq!(by_variable.unwrap().status.code(), Some(125));
}
