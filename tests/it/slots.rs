//! All keys of a lock are in one slot of a cluster, and those of a waiting counter in one, whatever their names are.

use std::time::Duration;

use proptest::prelude::*;
use redis::cmd;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, RedisServer};
use tokio::runtime::Builder;

use crate::common::unhurried;

/// So many names at a time.
const NAMES: usize = 40;

/// Whatever a name may be, and above all what a hash tag could be taken for.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[{}]",
        2 => "[a-c:.]{1,3}",
        1 => Just("{}".to_owned()),
        1 => Just("redlock-fence:{".to_owned()),
        1 => "[ é漢🦀*?\\[\\]\"'\\\\^-]",
    ];
    let short = prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat());
    prop_oneof![
        20 => short.clone(),
        1 => Just("x".repeat(512)),
        1 => (short.clone(), short).prop_map(|(begin, end)| {
            let rest = 512 - begin.len() - end.len();
            [begin, "y".repeat(rest), end].concat()
        }),
    ]
}

/// What may stand before names.
fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just("redlock:ConfigurableLock."), Just("{locks}:"), Just("a{}b:"), Just("}{:"), Just("{")]
        .prop_map(str::to_owned)
}

/// The key that one of ours stands beside; `None` if it stands beside none.
fn besides(key: &str) -> Option<&str> {
    let beside = key.strip_prefix("redlock-")?.split_once(":{")?.1;
    match beside.split_once("}:") {
        Some((tag, key)) if tag.parse::<u32>().is_ok() => Some(key),
        _ => beside.strip_suffix('}'),
    }
}

/// The slots of these keys.
fn slots(server: &RedisServer, keys: &[&str]) -> Vec<u16> {
    keys.iter().map(|key| server.probe().run(cmd("CLUSTER").arg("KEYSLOT").arg(*key)).unwrap()).collect()
}

/// All keys of the cluster.
fn keys(cluster: &Cluster) -> Vec<String> {
    cluster.masters().iter().flat_map(|master| master.probe().keys()).collect()
}

/// Holds a lock of each name and has it waited for; the keys of all that is written then.
async fn hold_and_wait(cluster: &Cluster, names: &[String], prefix: &str) -> Vec<String> {
    let builder = unhurried().nodes([cluster.url()]).lock_prefix(prefix).waiting_prefix(format!("W{prefix}"));
    let builder = builder.inserted_prefix(format!("I{prefix}")).wait_replicas(1, Duration::from_millis(150));
    let (here, there) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let mut guards = Vec::new();
    for name in names {
        guards.push(here.lock(name).acquire().await.unwrap());
    }
    let waiting: Vec<_> =
        names.iter().map(|name| tokio::spawn(there.lock(name).timeout(Duration::from_secs(30)).acquire())).collect();
    eventually_async("all owners and waiters are noted", async || {
        let all = keys(cluster);
        let has = |purpose: &str| all.iter().filter(|key| key.starts_with(purpose)).count() == names.len();
        ["redlock-holder:", "redlock-waiting:", "redlock-fence:", "redlock-leases:"].into_iter().all(has)
    })
    .await;
    let all = keys(cluster);
    for guard in guards {
        guard.release().await.unwrap();
    }
    for waiter in waiting {
        waiter.await.unwrap().unwrap().release().await.unwrap();
    }
    here.shutdown().await;
    there.shutdown().await;
    all
}

#[test]
fn whatever_stands_beside_a_key_is_in_its_slot_and_locks_of_every_name_are_waited_for() {
    let cluster = Cluster::start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::with_cases(5)
    });
    let names = prop::collection::hash_set(name(), NAMES);
    let all = runner.run(&(names, prefix()), |(names, prefix)| {
        for master in cluster.masters() {
            master.probe().flush_all();
        }
        let names: Vec<_> = names.into_iter().collect();
        let all = runtime.block_on(hold_and_wait(&cluster, &names, &prefix));
        let pairs: Vec<_> = all.iter().filter_map(|key| Some((key.as_str(), besides(key)?))).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let server = &cluster.servers()[0];
        prop_assert_eq!(slots(server, &ours), slots(server, &theirs), "{:?}", pairs);
        // Each lock has four of them, if all are recognised: its note, its waiters, its counter, and what replicas have.
        for name in &names {
            let lock = format!("{prefix}{name}");
            let beside = theirs.iter().filter(|key| **key == lock).count();
            prop_assert!(beside >= 3, "{lock} has {beside} beside it: {all:?}");
        }
        let left = keys(&cluster);
        let locks: Vec<_> =
            names.iter().map(|name| format!("{prefix}{name}")).filter(|key| left.contains(key)).collect();
        prop_assert!(locks.is_empty(), "left: {locks:?}");
        Ok(())
    });
    all.unwrap();
}
