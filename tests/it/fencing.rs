//! Every acquisition carries a token greater than that of every earlier one.

use std::time::{Duration, UNIX_EPOCH};

use redis::cmd;
use redlock_runtime::protocol::{Counter, RETENTION};
use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::time_of_day;
use redlock_tests::probe::Expiry;
use redlock_tests::wait::eventually_async;
use redlock_tests::{RedisServer, Servers};

use crate::common::{manager, unhurried};

const MINUTE: Duration = Duration::from_secs(60);
const COUNTER: &str = "redlock-fence:{redlock:ConfigurableLock.x}";

async fn token(locks: &LockManager) -> u64 {
    // What works takes far less; what does not is tried again and again.
    let guard = locks.lock("x").timeout(MINUTE / 2).acquire().await.unwrap();
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    token
}

fn counters(servers: &Servers) -> Vec<Option<u64>> {
    servers.values(COUNTER).into_iter().map(|counter| counter.map(|counter| counter.parse().unwrap())).collect()
}

fn is_growing(tokens: &[u64]) -> bool {
    tokens.windows(2).all(|pair| pair[0] < pair[1])
}

#[tokio::test]
async fn tokens_grow_from_holder_to_holder() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let managers = [manager(&servers), manager(&servers)];
        let mut tokens = Vec::new();
        for turn in 0..50 {
            tokens.push(token(&managers[turn % 2]).await);
        }
        assert!(is_growing(&tokens), "{tokens:?}");
        assert!(tokens.iter().all(|token| *token < 1 << 53));
    }
}

#[tokio::test]
async fn the_counter_is_kept_for_a_day_and_its_expiry_moved_once_a_quarter() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let day = Duration::from_secs(24 * 60 * 60);
    token(&locks).await;
    let probe = servers[0].probe();
    let remaining = || probe.pttl(COUNTER).remaining().unwrap();
    assert!(remaining() + MINUTE > day && remaining() <= day);
    // A counter of half a day ago: its quarter is over.
    let old = counters(&servers)[0].unwrap() - u64::try_from((day / 2).as_micros()).unwrap();
    probe.set_for(COUNTER, &old.to_string(), day / 2);
    let grown = token(&locks).await;
    assert!(grown > old && remaining() + MINUTE > day, "{:?}", remaining());
    // The same quarter still: to move it each time would cost more than all the rest.
    probe.set_for(COUNTER, &grown.to_string(), day / 10 * 9);
    token(&locks).await;
    assert!(remaining() <= day / 10 * 9);
}

#[tokio::test]
async fn nodes_that_disagree_are_brought_together_by_a_second_round() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let first = token(&locks).await;
    eventually_async("all nodes have counted", async || counters(&servers).iter().all(Option::is_some)).await;
    // What lost rounds leave: some are ahead, each by another number.
    for (node, ahead) in [(0, 1_000_000_000), (1, 2_000_000_000), (2, 3_000_000_000)] {
        servers[node].probe().set_for(COUNTER, &(first + ahead).to_string(), Duration::from_secs(3600));
    }
    let second = token(&locks).await;
    assert!(second > first + 2_000_000_000, "greater than what any majority had: {second}");
    let committed = counters(&servers).into_iter().flatten().filter(|counter| *counter >= second).count();
    assert!(committed >= 2, "{:?}", counters(&servers));
    assert!(token(&locks).await > second);
}

#[tokio::test]
async fn tokens_grow_across_the_empty_restart_of_each_node_in_turn() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut tokens = vec![token(&locks).await];
    for server in &*servers {
        server.restart();
        tokens.push(token(&locks).await);
        tokens.push(token(&locks).await);
    }
    assert!(is_growing(&tokens), "{tokens:?}");
}

#[tokio::test]
async fn tokens_grow_while_a_node_is_down_or_hung() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut tokens = vec![token(&locks).await];
    servers[0].kill();
    tokens.push(token(&locks).await);
    servers[0].restart();
    servers[1].hang();
    tokens.push(token(&locks).await);
    servers[1].resume();
    servers[2].kill();
    for _ in 0..5 {
        tokens.push(token(&locks).await);
    }
    assert!(is_growing(&tokens), "{tokens:?}");
}

#[tokio::test]
async fn a_new_name_on_nodes_that_are_up_for_long_needs_no_second_round() {
    let names = ["old-1", "old-2", "old-3"].map(|name| format!("fencing-{name}"));
    let _nodes = names.clone().map(|name| MemoryNode::named(&name));
    let manager = || LockManager::builder().nodes(names.iter().map(|name| format!("memory://{name}"))).build().unwrap();
    let tokens = [token(&manager()).await, token(&manager()).await];
    assert!(is_growing(&tokens), "{tokens:?}");
}

#[tokio::test]
async fn whoever_trusts_no_clock_gets_no_lock_that_too_few_nodes_remember() {
    let servers = Servers::start(3);
    let trusting = manager(&servers);
    let careful = unhurried().nodes(servers.urls()).max_clock_skew(None).build().unwrap();
    // The servers were started a moment ago: who knows what was there before.
    let error = careful.lock("x").try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("too few remember") && source.contains("set `max_clock_skew`"), "{source}");
    assert!(error.to_string().contains("3 of 3 nodes answered"), "{error}");
    let first = token(&trusting).await;
    assert!(token(&careful).await > first);
}

#[test]
fn clocks_that_differ_by_more_than_counters_are_kept_for_are_refused() {
    for skew in [Duration::MAX, MINUTE * 60 * 24] {
        let error = LockManager::builder().nodes(["memory://"]).max_clock_skew(skew).build().unwrap_err();
        let cure = "too long for the fencing counters; use at most 43200s";
        assert!(matches!(&error, Error::Config { reason } if reason.contains(cure)), "{error}");
    }
}

#[tokio::test]
async fn without_fencing_there_is_no_counter_and_the_token_is_zero() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).fencing(false).build().unwrap();
    assert_eq!(token(&locks).await, 0);
    assert!(counters(&servers).iter().all(Option::is_none));
}

#[tokio::test]
async fn a_lock_that_is_held_is_refused_without_fencing_too() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = unhurried().nodes(servers.urls()).fencing(false).build().unwrap();
        let _held = locks.lock("x").acquire().await.unwrap();
        assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_counter_far_ahead_of_all_clocks_does_not_expire_while_the_lock_is_contended() {
    let servers = Servers::start(1);
    let (day, hour) = (MINUTE * 60 * 24, MINUTE * 60);
    let [here, there] = [manager(&servers), manager(&servers)];
    let first = token(&here).await;
    // A clock that was wrong once raised it, and it was not moved for long.
    let ahead = first + u64::try_from((day / 2).as_micros()).unwrap();
    servers[0].probe().set_for(COUNTER, &ahead.to_string(), hour);

    servers[0].probe().set_for("redlock:ConfigurableLock.x", "somebody", MINUTE);
    let waiting = tokio::spawn(here.lock("x").acquire());
    eventually_async("it waits", async || there.inspect("x").await.unwrap().waiting == 1).await;
    let _ = there.reset("x").await.unwrap();

    assert!(waiting.await.unwrap().unwrap().fencing_token() > ahead);
    let remaining = servers[0].probe().pttl(COUNTER).remaining().unwrap();
    assert!(remaining + MINUTE > day, "{remaining:?}");
}

#[tokio::test]
async fn a_counter_that_no_lock_has_is_none() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let first = token(&locks).await;
    for nonsense in ["-5", "-1", "0"] {
        for server in &*servers {
            server.probe().set_for(COUNTER, nonsense, MINUTE);
        }
        let guard = locks.lock("x").try_acquire().await.unwrap().expect("nobody has it");
        assert!(guard.fencing_token() > first, "{nonsense}: {}", guard.fencing_token());
        guard.release().await.unwrap();
    }
}

/// What somebody may have written under a fencing key, and no counting comes to, where counters stand here now.
fn wrong_counters(now: u64) -> Vec<String> {
    let ahead = now + u64::try_from((MINUTE * 60 * 24 * 2).as_micros()).unwrap();
    let numbers = ["9223372036854775806", "9223372036854775807", "9007199254740993", "4503599627370496"];
    let others = ["18446744073709551615", "99999999999999999999999", "x", "1e3", ""];
    numbers.iter().chain(&others).map(ToString::to_string).chain([ahead.to_string()]).collect()
}

#[tokio::test]
async fn a_wrong_counter_is_no_vote_of_its_node_and_spoils_those_of_no_other() {
    let servers = Servers::start(3);
    let [here, there] = [manager(&servers), manager(&servers)];
    let mut tokens = vec![token(&here).await];
    for wrong in wrong_counters(tokens[0]) {
        servers[0].probe().set_for(COUNTER, &wrong, MINUTE);
        for locks in [&here, &there] {
            tokens.push(token(locks).await);
        }
        // A refusal tells it too.
        let held = here.lock("x").acquire().await.unwrap();
        assert!(there.lock("x").try_acquire().await.unwrap().is_none(), "{wrong}");
        tokens.push(held.fencing_token());
        held.release().await.unwrap();
        let others = counters_of(&servers, 1..3);
        assert!(others.iter().all(|counter| *counter < 1 << 51), "{wrong}: {others:?}");
        eventually_async("nothing is left", async || servers.holding("redlock:ConfigurableLock.x") == 0).await;
    }
    assert!(is_growing(&tokens), "{tokens:?}");
    // What the errors and the examination say is to be done.
    let greatest = counters_of(&servers, 1..3).into_iter().max().unwrap();
    servers[0].probe().set_for(COUNTER, &greatest.to_string(), MINUTE * 60 * 24);
    servers[1].kill();
    tokens.push(token(&here).await);
    assert!(is_growing(&tokens), "{tokens:?}");
}

fn counters_of(servers: &Servers, nodes: std::ops::Range<usize>) -> Vec<u64> {
    nodes.map(|node| servers[node].probe().get(COUNTER).unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_lock_that_a_wrong_counter_decides_is_not_acquired_and_the_error_names_counter_and_cure() {
    let servers = Servers::start(3);
    // It is asked again for as long as a node may take, which a busy machine does.
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(1)).build().unwrap();
    let first = token(&locks).await;
    servers[1].kill();
    for wrong in wrong_counters(first) {
        servers[0].probe().set_for(COUNTER, &wrong, MINUTE);
        let error = locks.lock("x").try_acquire().await.unwrap_err();
        assert!(matches!(error, Error::QuorumUnreachable { granted: 1, .. }), "{wrong}: {error:?}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(&format!("`{COUNTER}` holds")) && source.contains("set it"), "{wrong}: {source}");
        let left =
            async || [0, 2].iter().all(|node| servers[*node].probe().get("redlock:ConfigurableLock.x").is_none());
        eventually_async("nothing is left", left).await;
    }
}

#[tokio::test]
async fn a_counter_of_another_type_is_an_error_that_names_it_and_leaves_nothing() {
    let servers = Servers::start(1);
    servers[0].probe().run::<()>(cmd("RPUSH").arg(COUNTER).arg("x")).unwrap();
    let error = manager(&servers).lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("WRONGTYPE"), "{source}");
    eventually_async("nothing is left", async || servers.holding("redlock:ConfigurableLock.x") == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_contends_from_two_processes_gets_growing_tokens() {
    let servers = Servers::start(3);
    let tokens = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (locks, tokens) = (manager(&servers), std::sync::Arc::clone(&tokens));
            tokio::spawn(async move {
                for _ in 0..25 {
                    let guard = locks.lock("x").acquire().await.unwrap();
                    tokens.lock().unwrap().push(guard.fencing_token());
                    guard.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let tokens = tokens.lock().unwrap();
    assert!(tokens.len() == 200 && is_growing(&tokens), "{tokens:?}");
}

/// What the model tries is what the servers do.
#[tokio::test]
async fn an_expiry_is_moved_on_a_server_where_it_is_said_to_be() {
    let server = RedisServer::start();
    let locks = unhurried().nodes([server.url()]).build().unwrap();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    let proposed = || micros(time_of_day().duration_since(UNIX_EPOCH).unwrap());
    let (least, quarter) = (proposed(), micros(RETENTION / 4));
    let (begins, far) = (least / quarter * quarter, micros(Duration::from_secs(600)));
    // What depends on the clock, which goes on, is tried seconds away from where it decides.
    let margin = micros(MINUTE / 2);
    let soon = |time: Duration| time.saturating_sub(MINUTE);
    let early = RETENTION / 4 * 3;
    let mut moved = [0, 0];
    for before in [begins - 1, begins, least - 1, least, least + far - margin, least + far + margin, begins + quarter] {
        for remaining in [MINUTE, soon(early), early + MINUTE, soon(RETENTION)] {
            server.probe().set_for(COUNTER, &before.to_string(), remaining);
            let (earliest, after, latest) = (proposed(), token(&locks).await, proposed());
            let Expiry::After(left) = server.probe().pttl(COUNTER) else { panic!("{before} is gone") };
            let is_moved = left > remaining;
            let expect =
                [earliest, latest].map(|least| Counter::moves_expiry(before, after, least, remaining, RETENTION));
            assert!(expect.contains(&is_moved), "{before} in {remaining:?}, {after} in {left:?}: {expect:?}");
            moved[usize::from(is_moved)] += 1;
        }
    }
    assert!(moved.iter().all(|count| *count > 5), "{moved:?}");
}
