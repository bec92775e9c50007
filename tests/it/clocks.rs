//! Time is told by the monotonic clock here and in relative milliseconds there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager};
use redlock_tests::{Monitor, RedisServer};

use crate::common::{key, unhurried};

/// The runtime's own files, tests in them included, without what is said in them.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../redlock-runtime/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                found.push((path, code.join("\n")));
            }
        }
    }
    assert!(found.len() > 30, "these are not the sources");
    found
}

#[test]
fn the_wall_clock_is_not_read_for_a_lock() {
    for (path, text) in sources() {
        for wall in ["SystemTime", "UNIX_EPOCH", "'TIME'"] {
            // Leases of waiters, fencing counters and the ages that people are shown are kept by the servers, and decide
            // nothing about validity; whether a server tells the time is tried for them. A fire is a time of day, which a
            // test may pause. Readers who share a lock expire one by one, by the clock of each server. Observers are told when a
            // job ran last.
            let others = [
                "counters",
                "fence",
                "contend",
                "acquire.lua",
                "clock.rs",
                "label.lua",
                "look.lua",
                "look_readers.lua",
                "lua/read",
                "record.lua",
                "several.lua",
                "write.lua",
                "observe",
                "check",
                "fire.rs",
                "once",
                "last_run.rs",
                "builder.rs",
                "shared.rs",
            ];
            let is_about_validity = !others.iter().any(|other| path.to_string_lossy().contains(other));
            assert!(!is_about_validity || !text.contains(wall), "{wall} in {}", path.display());
        }
        // What clock.rs knows of it goes into proposals of fencing tokens, into reports for people, and into labels and counters
        // of waiters where scripts may not ask a server for its own. A fire is a time of day, and says nothing about who holds a lock.
        let proposes = [
            "clock.rs",
            "acquisition/attempt.rs",
            "fence.rs",
            "fire.rs",
            "once/mod.rs",
            "once.rs",
            "shared.rs",
            "check.rs",
            "counters.rs",
            "inspect.rs",
        ]
        .iter()
        .any(|file| path.ends_with(file));
        // Compiled into nothing that ships.
        let is_simulation =
            path.components().any(|part| part.as_os_str() == "simulation" || part.as_os_str() == "simulated");
        assert!(proposes || is_simulation || !text.contains("since_1970"), "the time of day in {}", path.display());
    }
}

#[test]
fn no_key_is_given_the_moment_of_its_end() {
    for (path, text) in sources() {
        for absolute in ["PXAT", "EXAT", "EXPIREAT"] {
            assert!(!text.contains(absolute), "{absolute} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_ttl_is_sent_in_milliseconds_and_every_key_expires() {
    let server = RedisServer::start();
    let locks = unhurried().nodes([server.url()]).build().unwrap();
    // So long that a busy machine neither asks again, after a fifth, nor sees it expire.
    for milliseconds in [15_900, 31_500, 59_999] {
        let ttl = Duration::from_millis(milliseconds);
        let monitor = Monitor::start(&server);
        let guard = locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap();
        let remaining = server.probe().pttl(&key("x")).remaining().expect("it has an expiry");
        assert!(remaining <= ttl && remaining > ttl / 2, "{remaining:?}");
        guard.extend(ttl).await.unwrap();
        assert!(server.probe().pttl(&key("x")).remaining().expect("it has an expiry") <= ttl);
        let sent = monitor.sent_about(&key("x"));
        let milliseconds = format!("\"{milliseconds}\"");
        assert_eq!(sent.iter().filter(|line| line.contains(&milliseconds)).count(), 2, "{sent:?}");
        guard.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_comes_back_behind_the_end_of_the_validity_is_none() {
    let locks = LockManager::builder().nodes(["memory://late"]).build().unwrap();
    let node = MemoryNode::named("late");
    let ttl = Duration::from_secs(1);
    let guard = locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap();
    tokio::time::sleep(ttl * 9 / 10).await;
    // The key is given to nobody else meanwhile, and still there when the answer comes.
    node.give_to(&key("x"), &node.owner_of(&key("x")).unwrap(), ttl);
    node.answer_after(ttl * 3 / 20);
    let extended = guard.extend(ttl).await;
    assert!(matches!(extended, Err(Error::Lost { .. })), "{extended:?}");
    assert!(!guard.is_valid());
}
