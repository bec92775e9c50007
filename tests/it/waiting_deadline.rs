//! Whoever waits for a limited time is back when it is over, whatever the nodes do.

use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::timed;
use redlock_tests::{RedisServer, Servers};

use crate::common::waiters::{LONG, somebody_holds};
use crate::common::{all_have_x, key, manager, unhurried};

/// Long enough for a busy machine to find all nodes silent.
const LIMIT: Duration = Duration::from_secs(1);

/// Longer than anybody may be back: whoever waits for a hung node is late.
const NODE_TIMEOUT: Duration = Duration::from_secs(6);

/// As long as a node may take to answer by default.
const PROMPT: Duration = Duration::from_millis(250);

const WAITERS: usize = 40;

/// What a machine may add that is busy with something else; the promise is 50 ms for 99 of 100 on a quiet one. Whoever waits
/// for hung nodes first, or for a key to expire, is later than this.
const LATE: Duration = Duration::from_secs(4);

/// So many waiters of a name; returns their errors and prints how late they were.
async fn check(what: &str, locks: &LockManager, ttl: Duration) -> Vec<Error> {
    let wait = |_| {
        let request = locks.lock("x").ttl(ttl).timeout(LIMIT);
        tokio::spawn(timed(request.acquire()))
    };
    let waiters: Vec<_> = (0..WAITERS).map(wait).collect();
    let (mut errors, mut late) = (Vec::new(), Vec::new());
    for waiter in waiters {
        let (acquired, took) = waiter.await.unwrap();
        errors.push(acquired.unwrap_err());
        late.push(took.checked_sub(LIMIT).unwrap_or_else(|| panic!("back after {took:?}, {what}")));
    }
    late.sort_unstable();
    println!("{what}, TTL {ttl:?}: late by {:?} (median), {:?} (the last)", late[WAITERS / 2], late[WAITERS - 1]);
    assert!(late[WAITERS - 1] < LATE, "{:?}, {what}", late[WAITERS - 1]);
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_waiters_are_back_in_time_whatever_the_nodes_do_and_whatever_the_ttl() {
    for ttl in [Duration::from_millis(200), LONG] {
        let servers = Servers::start(3);
        // An attempt is over long before the limit, also where a connection has to be made for it.
        let locks = LockManager::builder().nodes(servers.urls()).connect_timeout(PROMPT).build().unwrap();
        let others = manager(&servers);
        let patient = unhurried().nodes(servers.urls()).node_timeout(NODE_TIMEOUT).build().unwrap();
        for used in [&locks, &patient] {
            drop(used.lock("y").acquire().await.unwrap().release().await);
        }
        let guard = others.lock("x").acquire().await.unwrap();
        all_have_x(&servers).await;
        let all_held = |errors: Vec<Error>| errors.iter().all(|error| matches!(error, Error::NotAcquired { .. }));
        assert!(all_held(check("all well", &patient, ttl).await));
        servers[0].hang();
        assert!(all_held(check("one hung", &patient, ttl).await));
        servers[0].resume();
        servers[1].kill();
        assert!(all_held(check("one killed", &patient, ttl).await));
        servers[1].restart();
        servers.iter().for_each(RedisServer::hang);
        let errors = check("all hung", &locks, ttl).await;
        assert!(errors.iter().all(|error| matches!(error, Error::QuorumUnreachable { .. })), "{errors:?}");
        servers.iter().for_each(RedisServer::resume);
        drop(guard);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_lock_is_the_reason_also_when_the_time_ends_in_the_middle_of_an_attempt() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        // Refused again and again, so that some attempt is under way whenever the time is over.
        let busy = servers.iter().map(RedisServer::probe).collect::<Vec<_>>();
        locks.lock("y").acquire().await.unwrap().release().await.unwrap();
        somebody_holds(&servers, LONG);
        let script = "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'somebody', 'PX', 60000)";
        let wait = tokio::spawn(async move {
            // Long enough for a first answer on a busy machine.
            for limit in (0..10).map(|more| Duration::from_millis(1_000 + 7 * more)) {
                let error = locks.lock("x").timeout(limit).acquire().await.unwrap_err();
                assert!(matches!(error, Error::NotAcquired { .. }), "{error} after {limit:?}, N = {count}");
            }
        });
        while !wait.is_finished() {
            for probe in &busy {
                let command = redis::cmd("EVAL").arg(script).arg(1).arg(key("x")).take();
                probe.run::<()>(&command).unwrap();
            }
            tokio::task::yield_now().await;
        }
        wait.await.unwrap();
    }
}
