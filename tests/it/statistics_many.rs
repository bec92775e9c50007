//! Statistics with a hundred thousand names: nothing that a server is asked grows with their number.

use std::array;
use std::collections::BTreeSet;
use std::time::Duration;

use redis::Connection;
use redlock_runtime::LockManager;
use redlock_tests::standstill::{STANDSTILL, SlowEachTime, computed};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Monitor, RedisServer, Servers, Standstills};

use crate::common::counters::{LIST, counter, marker};
use crate::common::{manager, unhurried};

/// So many names were contended in the last days.
const MANY: usize = 100_000;

/// So many entries of the list a server looks at in one step, at most.
const PAGE: usize = 1000;

fn connect(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

fn listed(name: &str) -> String {
    format!("{:?}", counter(name))
}

fn name(number: usize) -> String {
    format!("invoice/{{{number}}}")
}

/// Lists so many names. One in three is counted, one in three is waited for by nobody, one in three has nothing but its marker.
fn list_many(server: &RedisServer) {
    let mut connection = connect(server);
    for page in (0..MANY).collect::<Vec<_>>().chunks(PAGE) {
        let mut all = redis::pipe();
        let (mut entries, mut set) = (redis::cmd("RPUSH"), redis::cmd("MSET"));
        entries.arg(LIST);
        for &number in page {
            let name = name(number);
            entries.arg(listed(&name));
            match number % 3 {
                0 => set.arg(marker(&name)).arg(1),
                waiting => set.arg(counter(&name)).arg(waiting - 1),
            };
        }
        all.add_command(entries).ignore().add_command(set).ignore();
        all.exec(&mut connection).unwrap();
    }
}

/// The words of a command, as MONITOR tells it.
fn words(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

/// No command looks at more entries of the list than a page has.
fn check_bounds(done: &[String]) {
    let mut is_read = false;
    for line in done {
        let words = words(line);
        match words[0].to_lowercase().as_str() {
            "lrange" => {
                let [from, to] = [words[2], words[3]].map(|position| position.parse::<usize>().unwrap_or(usize::MAX));
                // Counted from the end is one entry, the last.
                assert!(from == to || (from..from + PAGE).contains(&to), "{line}");
                is_read = true;
            }
            "lpos" => {
                let bound = words.windows(2).find(|pair| pair[0].eq_ignore_ascii_case("MAXLEN"));
                assert!(bound.is_some_and(|bound| bound[1].parse::<usize>().unwrap() <= PAGE), "{line}");
                is_read = true;
            }
            // From the end, where the search begins and ends with what was written just before.
            "lrem" => assert_eq!(words[2], "-1", "{line}"),
            _ => assert!(words.len() <= PAGE, "{line}"),
        }
    }
    assert!(is_read, "nobody looked at the list: {done:?}");
}

#[tokio::test]
async fn a_hundred_thousand_names_are_counted_page_by_page() {
    let servers = Servers::start(1);
    list_many(&servers[0]);
    // Thousands of answers, every one of them in time.
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(5)).build().unwrap();
    let monitor = Monitor::start(&servers[0]);
    let statistics = locks.statistics().await.unwrap();
    check_bounds(&monitor.done_about(LIST));
    assert_eq!(statistics.iter().count(), MANY);
    for (number, expect) in [(0, 0), (1, 0), (2, 1), (MANY - 3, 0), (MANY - 2, 1)] {
        assert_eq!(statistics.get(&name(number)).unwrap().everywhere, expect, "{number}");
    }
    let mut slow = SlowEachTime::default();
    while slow.is_open() {
        slow.note(slow_in(&servers[0], async || assert!(locks.statistics().await.is_ok())).await);
    }
    slow.check();
}

/// What a server took too long for meanwhile.
async fn slow_in(server: &RedisServer, run: impl AsyncFnOnce()) -> BTreeSet<Vec<String>> {
    let standstills = Standstills::watch(server);
    run().await;
    standstills.told()
}

/// Lets somebody wait for each of these until it is listed.
async fn contend(locks: &LockManager, servers: &Servers, names: &[String]) {
    let mut held = Vec::new();
    for name in names {
        held.push(locks.lock(name).acquire().await.unwrap());
    }
    let waiters: Vec<_> = names.iter().map(|name| tokio::spawn(locks.lock(name).acquire())).collect();
    let probe = servers[0].probe();
    eventually_async("all are listed", async || names.iter().all(|name| probe.exists(&marker(name)))).await;
    for waiter in waiters {
        waiter.abort();
    }
    for guard in held {
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn listing_a_name_takes_no_look_at_the_whole_list() {
    let servers = Servers::start(1);
    list_many(&servers[0]);
    let locks = manager(&servers);
    let monitor = Monitor::start(&servers[0]);
    let new = ["plain", "a/b", "{x}", "Läufe 夜"].map(str::to_owned);
    contend(&locks, &servers, &new).await;
    locks.shutdown().await;
    check_bounds(&monitor.done_about(LIST));
    let probe = servers[0].probe();
    let listed: BTreeSet<_> = probe.list(LIST).into_iter().skip(MANY).collect();
    let named =
        ["plain", "a/b", "{x}", "L\\u00e4ufe \\u591c"].map(|name| format!("\"Waiting.ConfigurableLock.{name}\""));
    assert_eq!(listed, named.into());
}

#[tokio::test]
async fn the_list_is_tidied_by_whoever_waits() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    let gone: Vec<_> = (0..40).map(|number| listed(&format!("gone-{number}"))).collect();
    for (number, entry) in gone.iter().enumerate() {
        probe.append(LIST, entry);
        match number {
            10 => probe.append(LIST, "no JSON"),
            20 => probe.append(LIST, "\"somebody else's\""),
            30 => probe.append(LIST, &listed("counted")),
            35 => probe.append(LIST, &listed("marked")),
            _ => {}
        }
    }
    probe.set(&counter("counted"), "1");
    probe.set(&marker("marked"), "1");
    let locks = manager(&servers);
    let mut contended = Vec::new();
    while probe.list(LIST).iter().any(|entry| gone.contains(entry)) {
        let new: Vec<_> = (0..4).map(|number| format!("new-{}-{number}", contended.len())).collect();
        contend(&locks, &servers, &new).await;
        contended.extend(new);
        assert!(contended.len() < 400, "{:?}", probe.list(LIST));
    }
    let left: BTreeSet<_> = probe.list(LIST).into_iter().collect();
    let kept = ["no JSON".to_owned(), "\"somebody else's\"".to_owned(), listed("counted"), listed("marked")];
    assert_eq!(left, contended.iter().map(|name| listed(name)).chain(kept).collect());
}

#[test]
fn an_entry_goes_only_from_where_it_was_seen() {
    let server = RedisServer::start();
    let probe = server.probe();
    let script = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/take_out.lua"));
    let check = |wanted: &[(&str, &str, &str)], expect: &[&str]| {
        probe.del("list");
        for entry in ["a", "b", "c", "b", "d"] {
            probe.append("list", entry);
        }
        let mut call = script.prepare_invoke();
        call.key("list");
        for (position, entry, same_as) in wanted {
            call.arg(*position).arg(*entry).arg(*same_as);
        }
        let gone: usize = call.invoke(&mut connect(&server)).unwrap();
        assert_eq!((probe.list("list"), gone), (expect.iter().map(ToString::to_string).collect(), 5 - expect.len()));
    };
    let all = ["a", "b", "c", "b", "d"];
    check(&[("4", "d", "")], &["a", "b", "c", "b"]);
    check(&[("0", "a", "")], &["d", "b", "c", "b"]);
    check(&[("4", "d", ""), ("2", "c", ""), ("0", "a", "")], &["b", "b"]);
    check(&[("1", "b", "3")], &["a", "d", "c", "b"]);
    // The list has changed.
    check(&[("1", "a", "")], &all);
    check(&[("7", "a", "")], &all);
    check(&[("1", "b", "2")], &all);
    check(&[("1", "b", "9")], &all);
}

#[test]
fn the_waiters_of_thousands_of_processes_that_died_are_taken_away_a_page_at_a_time() {
    let server = RedisServer::start();
    // The least of several times: caches that others have filled make any script slow.
    let mut least = [Duration::MAX; LOOKS];
    for time in 0..12 {
        if time >= 2 && least.iter().all(|&look| look <= STANDSTILL) {
            break;
        }
        server.probe().flush_all();
        let looks = check_dead(&server);
        least = array::from_fn(|look| least[look].min(looks[look]));
    }
    assert!(least.iter().all(|&look| look <= STANDSTILL), "{least:?}");
}

/// So often somebody looks until all are taken away, and once more.
const LOOKS: usize = 6;

/// How long the server computed for each look.
fn check_dead(server: &RedisServer) -> [Duration; LOOKS] {
    const DEAD: usize = 2_500;
    let mut connection = connect(server);
    let mut all = redis::pipe();
    all.cmd("SET").arg("counter").arg(DEAD).ignore();
    for number in 0..DEAD {
        let process = format!("dead-{number}");
        all.cmd("ZADD").arg("leases").arg(1).arg(&process).ignore();
        all.cmd("HSET").arg("counts").arg(&process).arg(1).ignore();
    }
    all.exec(&mut connection).unwrap();
    let script = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/record.lua"));
    let probe = server.probe();
    [2_000, 1_500, 1_000, 500, 0, 0].map(|left| {
        let before = computed(&probe);
        let mut call = script.prepare_invoke();
        call.key("counter").key("leases").key("counts").arg("this process").arg("").arg(15_000).arg(20_000).arg(30_000);
        assert_eq!(call.arg(0).invoke::<usize>(&mut connection).unwrap(), left);
        computed(&probe).checked_sub(before).unwrap()
    })
}

/// What each of the commands of the server's scripts named, of the keys that somebody waits by.
fn done_to(server: &RedisServer, what: &str, run: impl FnOnce()) -> Vec<String> {
    let monitor = Monitor::start(server);
    run();
    monitor.done_about(what)
}

#[test]
fn the_waiters_of_thousands_of_processes_that_live_are_not_added_up_by_each_of_them() {
    const LIVING: usize = 2_500;
    let server = RedisServer::start();
    let mut connection = connect(&server);
    let script = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/record.lua"));
    let call = |process: &str, waiting: &str, lease: u64| {
        let mut call = script.prepare_invoke();
        call.key("counter").key("leases").key("counts").arg(process).arg(waiting).arg(lease);
        call.arg(20_000).arg(86_400_000).arg(0);
        call
    };
    let mut record = |process: &str, waiting: &str| -> Option<usize> {
        call(process, waiting, 600_000).invoke(&mut connection).unwrap()
    };
    for number in 0..LIVING {
        assert_eq!(record(&format!("living-{number}"), "1"), Some(number + 1));
    }
    let done = done_to(&server, "counts", || {
        assert_eq!(record("one more", "1"), Some(LIVING + 1));
        // As each of them does again and again.
        assert_eq!(record("living-7", "2"), Some(LIVING + 2));
        assert_eq!(record("living-7", "1"), Some(LIVING + 1));
        assert_eq!(record("this process", ""), Some(LIVING + 1));
    });
    assert!(!done.is_empty() && done.iter().all(|line| !line.to_uppercase().contains("HVALS")), "{done:?}");

    // A counter that somebody deleted is possible again at once, and right when they are few.
    assert!(server.probe().del("counter"));
    assert!((1001..=LIVING + 1).contains(&record("one more", "1").unwrap()));
    for number in 0..LIVING {
        record(&format!("living-{number}"), "0");
    }
    assert_eq!(record("one more", "3"), Some(3));
    assert_eq!(record("one more", "0"), Some(0));
}
