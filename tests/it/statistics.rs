//! Who waits for what, as the nodes have it. (TRAPS 25: waiters that crashed left their count for days.)

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use redis::{Commands, Connection};
use redlock_runtime::{LockGuard, LockManager, redlock};
use redlock_tests::clock::now;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Program, RedisServer, Servers};
use tokio::task::JoinHandle;

use crate::common::counters::{LIST, counter, marker, waiting};
use crate::common::cycles::patient;
use crate::common::{manager, unhurried};

/// How long a process answers for its waiters.
const LEASE: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// After this time the waiters of a process that was killed are not counted any more.
const PROMISED: Duration = Duration::from_secs(15);

fn wait_for(locks: &LockManager, name: &str) -> JoinHandle<Result<LockGuard, redlock_runtime::Error>> {
    tokio::spawn(locks.lock(name).acquire())
}

async fn counted(servers: &Servers, name: &str, expect: i64) {
    eventually_async(format!("{expect} are counted"), async || waiting(servers, name) == expect).await;
}

#[tokio::test]
async fn those_who_wait_are_counted_until_they_stop_however_they_stop() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());

    let timed_out = tokio::spawn(locks.lock("x").timeout(Duration::from_secs(5)).acquire());
    let cancelled = wait_for(&locks, "x");
    let waiter = locks.lock("x").acquire();
    let panicked = tokio::spawn(async move {
        let panics = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            panic!("while it waits, as the test wants");
        };
        tokio::select! { _ = waiter => {} () = panics => {} }
    });
    let acquired = wait_for(&locks, "x");
    counted(&servers, "x", 4).await;
    let statistics = locks.statistics().await.unwrap();
    let name = statistics.get("x").unwrap();
    assert_eq!((name.here, name.everywhere), (4, 4), "{statistics}");

    cancelled.abort();
    timed_out.await.unwrap().unwrap_err();
    panicked.await.unwrap_err();
    counted(&servers, "x", 1).await;
    guard.release().await.unwrap();
    let guard = acquired.await.unwrap().unwrap();
    counted(&servers, "x", 0).await;
    let statistics = locks.statistics().await.unwrap();
    let name = statistics.get("x").unwrap();
    assert_eq!((name.here, name.everywhere), (0, 0), "{statistics}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_wait_leaves_no_trace() {
    let servers = Servers::start(1);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    others.shutdown().await;
    assert_eq!(servers[0].probe().keys_like("redlock:*"), [crate::common::key("x")]);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn two_managers_are_counted_as_two_processes_and_under_the_name_for_statistics() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let held = [locks.lock("a").acquire().await.unwrap(), locks.lock("b").acquire().await.unwrap()];
    let waiters = [(&locks, "a"), (&others, "a"), (&others, "b")]
        .map(|(locks, name)| tokio::spawn(locks.lock(name).stats_name("jobs").acquire()));
    counted(&servers, "jobs", 3).await;
    for (locks, here) in [(&locks, 1), (&others, 2)] {
        // The list has the counter a moment after it was set.
        eventually_async("all three are told", async || {
            let statistics = locks.statistics().await.unwrap();
            let names = statistics.iter().map(|name| (name.name.as_str(), name.here, name.everywhere));
            names.eq([("jobs", here, 3)])
        })
        .await;
    }
    for waiter in waiters {
        waiter.abort();
    }
    counted(&servers, "jobs", 0).await;
    for guard in held {
        guard.release().await.unwrap();
    }
}

#[redlock(name = "x", stats_name = "jobs:{id}", manager = locks)]
async fn annotated(locks: &LockManager, id: u32) {
    let _ = id;
}

#[tokio::test]
async fn a_call_is_counted_under_the_name_that_its_function_names() {
    let locks = LockManager::builder().nodes(["memory://", "memory://", "memory://"]).build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    let call = tokio::spawn({
        let locks = locks.clone();
        async move { annotated(&locks, 7).await }
    });
    let counts = async || {
        let statistics = locks.statistics().await.unwrap();
        statistics.iter().map(|name| (name.name.clone(), name.here, name.everywhere)).collect::<Vec<_>>()
    };
    let one = [("jobs:7".to_owned(), 1, 1)];
    eventually_async("it is counted", async || counts().await == one).await;
    guard.release().await.unwrap();
    call.await.unwrap();
    let nobody = [("jobs:7".to_owned(), 0, 0)];
    eventually_async("it is not counted any more", async || counts().await == nobody).await;
}

#[tokio::test]
async fn counter_list_and_marker_have_the_names_that_the_manager_gives_them() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    let builder = unhurried().nodes(servers.urls());
    let locks = builder.waiting_prefix("crowd:").waiting_list("crowds").inserted_prefix("known:").build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiter = wait_for(&locks, "x");
    eventually_async("it is counted and listed", async || probe.exists("known:crowd:x")).await;
    assert_eq!((probe.get("crowd:x").as_deref(), probe.list("crowds")), (Some("1"), vec!["\"crowd:x\"".to_owned()]));
    assert_eq!(locks.statistics().await.unwrap().get("x").unwrap().everywhere, 1);
    waiter.abort();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_contended_name_is_listed_once_as_python_lists_it() {
    const NAME: &str = r#"Läufe "{x}" 夜😀"#;
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    // What another JSON writer would write.
    probe.append(LIST, &format!("{:?}", counter("other")));
    probe.set(&marker("other"), "1");
    for turn in 0..3 {
        let (locks, others) = (manager(&servers), manager(&servers));
        let guard = locks.lock(NAME).acquire().await.unwrap();
        let waiters = [wait_for(&locks, NAME), wait_for(&others, NAME)];
        counted(&servers, NAME, 2).await;
        eventually_async("it is marked", async || probe.get(&marker(NAME)).as_deref() == Some("1")).await;
        for waiter in waiters {
            waiter.abort();
        }
        counted(&servers, NAME, 0).await;
        guard.release().await.unwrap();
        let listed = r#""Waiting.ConfigurableLock.L\u00e4ufe \"{x}\" \u591c\ud83d\ude00""#;
        assert_eq!(probe.list(LIST), [r#""Waiting.ConfigurableLock.other""#, listed], "turn {turn}");
        assert!(probe.pttl(&marker(NAME)).remaining().unwrap() > 6 * DAY);
        // The second time the marker says so but is about to expire, the third time only the list does.
        match turn {
            0 => assert!(probe.pexpire(&marker(NAME), DAY)),
            _ => assert!(probe.del(&marker(NAME))),
        }
    }
}

#[tokio::test]
async fn a_name_that_another_json_writer_listed_is_counted_once() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    for entry in ["\"Waiting.ConfigurableLock.jobs\\/夜\"", "\"Waiting.ConfigurableLock.plain\""] {
        probe.append(LIST, entry);
    }
    let locks = manager(&servers);
    for name in ["jobs/夜", "plain", "new"] {
        let guard = locks.lock(name).acquire().await.unwrap();
        let waiter = wait_for(&locks, name);
        eventually_async("it is marked", async || probe.exists(&marker(name))).await;
        waiter.abort();
        guard.release().await.unwrap();
    }
    let statistics = locks.statistics().await.unwrap();
    let names: Vec<_> = statistics.iter().map(|name| name.name.as_str()).collect();
    assert_eq!(names, ["jobs/夜", "new", "plain"]);
}

#[tokio::test]
async fn every_key_expires_except_the_list() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire().await.unwrap();
    let (first, second) = (wait_for(&locks, "x"), wait_for(&locks, "x"));
    counted(&servers, "x", 2).await;
    eventually_async("it is marked", async || probe.exists(&marker("x"))).await;
    let check = |longest: Duration| {
        for key in probe.keys().iter().filter(|key| *key != LIST) {
            let remaining = probe.pttl(key).remaining().unwrap_or_else(|| panic!("{key} stays for ever"));
            let longest = match key.split(['.', ':']).next() {
                Some("Inserted") => 7 * DAY,
                Some("redlock-fence") => DAY,
                _ => longest,
            };
            assert!(remaining <= longest.max(Duration::from_secs(30)), "{key}: {remaining:?}");
        }
        let is_of_waiters =
            |key: &&String| ["Waiting", "redlock-leases", "redlock-counts"].iter().any(|kind| key.starts_with(kind));
        for key in probe.keys().iter().filter(is_of_waiters) {
            let remaining = probe.pttl(key).remaining().unwrap();
            assert!(remaining <= longest && remaining > longest * 2 / 3, "{key}: {remaining:?}");
        }
        assert!(probe.pttl(&marker("x")).remaining().unwrap() > 6 * DAY);
    };
    // Whoever is killed now is gone then, if nobody waits or looks.
    check(PROMISED);
    // A Python process waits too, without a lease.
    redis::cmd("INCR").arg(counter("x")).exec(&mut connect(&servers[0])).unwrap();
    first.abort();
    counted(&servers, "x", 2).await;
    check(DAY);
    second.abort();
    counted(&servers, "x", 1).await;
    check(DAY);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_counter_that_python_left_below_zero_is_read_as_zero_and_hides_nobody() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let probe = servers[0].probe();
    probe.set(&counter("x"), "-7");
    probe.set(&marker("x"), "1");
    probe.append(LIST, &format!("{:?}", counter("x")));
    servers[1].probe().set(&counter("x"), "2");
    servers[1].probe().append(LIST, &format!("{:?}", counter("x")));
    let everywhere = async || locks.statistics().await.unwrap().get("x").unwrap().everywhere;
    assert_eq!(everywhere().await, 2);
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiter = wait_for(&locks, "x");
    eventually_async("the waiter is counted", async || probe.get(&counter("x")).as_deref() == Some("1")).await;
    assert_eq!(everywhere().await, 3);
    assert_eq!(probe.pttl(&marker("x")).remaining(), None, "Python's marker stays");
    waiter.abort();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn the_list_is_tidied_by_whoever_asks() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    let listed = |name: &str| format!("{:?}", counter(name));
    for entry in [listed("gone"), listed("counted"), "no JSON".to_owned(), listed("marked"), listed("counted")] {
        probe.append(LIST, &entry);
    }
    probe.append(LIST, "\"somebody else's\"");
    probe.set(&counter("counted"), "1");
    probe.set(&marker("marked"), "1");
    let statistics = manager(&servers).statistics().await.unwrap();
    let names: Vec<_> = statistics.iter().map(|name| (name.name.as_str(), name.everywhere)).collect();
    assert_eq!(names, [("counted", 1), ("marked", 0)]);
    let mut left = probe.list(LIST);
    left.sort();
    assert_eq!(left, [listed("counted"), listed("marked"), "\"somebody else's\"".to_owned(), "no JSON".to_owned()]);
}

#[tokio::test]
async fn nodes_that_cannot_be_reached_are_left_out() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for (server, waiting) in servers.iter().zip(["1", "2", "4"]) {
        server.probe().set(&counter("x"), waiting);
        server.probe().append(LIST, &format!("{:?}", counter("x")));
    }
    for (node, expect) in [(0, 6), (1, 4)] {
        servers[node].hang();
        assert_eq!(locks.statistics().await.unwrap().get("x").unwrap().everywhere, expect);
    }
    servers[2].hang();
    let error = locks.statistics().await.unwrap_err();
    assert!(error.to_string().contains("none of 3 nodes"), "{error}");
}

#[tokio::test]
async fn a_node_that_comes_back_does_not_count_a_waiter_twice() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiter = wait_for(&locks, "x");
    let at = |node: usize| servers[node].probe().get(&counter("x")).unwrap_or_default();
    eventually_async("the first node counts it", async || at(0) == "1").await;
    servers[0].hang();
    eventually_async("the second node counts it", async || at(1) == "1").await;
    servers[0].resume();
    eventually_async("only the first node counts it", async || (at(0), at(1)) == ("1".to_owned(), "0".to_owned()))
        .await;
    assert_eq!(locks.statistics().await.unwrap().get("x").unwrap().everywhere, 1);
    waiter.abort();
    counted(&servers, "x", 0).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_counter_that_cannot_be_written_holds_nobody_up() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for server in &servers {
        server.probe().append(&counter("x"), "no counter");
    }
    let guard = locks.lock("x").acquire().await.unwrap();
    let waiter = wait_for(&locks, "x");
    let guard_of_other = locks.lock("y").acquire().await.unwrap();
    let other = wait_for(&locks, "y");
    counted(&servers, "y", 1).await;
    assert_eq!(locks.statistics().await.unwrap().get("y").unwrap().everywhere, 1);
    guard.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    guard_of_other.release().await.unwrap();
    other.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_number_is_told_at_most_every_hundred_milliseconds() {
    let servers = Servers::start(1);
    let probe = servers[0].probe();
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire().await.unwrap();
    let began = redlock_tests::clock::monotonic_nanoseconds();
    let mut waiters = Vec::new();
    for _ in 0..60 {
        waiters.push(wait_for(&locks, "x"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    counted(&servers, "x", 60).await;
    let written = probe.command_counts().of("hset");
    let passed = (redlock_tests::clock::monotonic_nanoseconds() - began) / 100_000_000;
    assert!(written <= passed + 1, "{written} times in {passed} tenths of a second");
    for waiter in waiters {
        waiter.abort();
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn after_shutdown_nobody_of_this_process_is_counted() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = others.lock("x").acquire().await.unwrap();
    let waiters: Vec<_> = (0..5).map(|_| wait_for(&locks, "x")).collect();
    counted(&servers, "x", 5).await;
    waiters[0].abort();
    locks.shutdown().await;
    assert_eq!(waiting(&servers, "x"), 0);
    for waiter in waiters {
        assert!(!matches!(waiter.await, Ok(Ok(_))), "nobody can have got the lock");
    }
    guard.release().await.unwrap();
}

/// Several processes that wait, started and counted; the lock must be held.
fn waiting_processes(servers: &Servers, name: &str) -> [Program; 3] {
    let reversed: Vec<_> = servers.urls().into_iter().rev().collect();
    // One of them tells another node first.
    let programs = [servers.nodes(), servers.nodes(), reversed.join(",")].map(|nodes| {
        let arguments = [format!("name={name}"), "timeout=0".to_owned()];
        Program::start(Command::new(env!("CARGO_BIN_EXE_holder")).env("REDLOCK_NODES", nodes).args(arguments))
    });
    let last = servers.iter().last().unwrap();
    let told_its_first = || last.probe().get(&counter(name)).as_deref() == Some("1");
    eventually("all wait, and one told the first of its own nodes", || waiting(servers, name) == 3 && told_its_first());
    programs
}

/// TRAPS 25.
#[test]
fn killed_waiters_are_not_counted_any_more_soon_after_while_another_waits() {
    let servers = Servers::start(3);
    // Told to one server, and to another one only if that does not answer in time.
    let locks = patient(servers.urls());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let mut killed = waiting_processes(&servers, "x");
    let waiter = runtime.spawn(locks.lock("x").acquire());
    eventually("all four are counted", || waiting(&servers, "x") == 4);
    killed.iter_mut().for_each(Program::kill);
    let killed = now();
    // By then their leases are over, and whoever tells its own number next takes theirs away, which it does every three seconds.
    let is_over = || killed.elapsed() > LEASE + Duration::from_secs(1);
    // Nothing else sets a field of a hash by then; attempts to acquire note who waits, too, by ZADD.
    let told = || servers.iter().map(|server| server.probe().command_counts().of("hset")).max().unwrap_or_default();
    let before = told();
    eventually("their leases are over", is_over);
    assert!(told() - before >= 2, "{} times in {:?}", told() - before, killed.elapsed());
    let before = told();
    eventually("only the living is counted", || {
        // One may have been under way.
        let is_late = told() > before + 1;
        let counted = waiting(&servers, "x");
        let each = || servers.iter().map(|server| server.probe().get(&counter("x"))).collect::<Vec<_>>();
        assert!(!is_late || counted == 1, "{counted}: {:?}, told {before} then {}", each(), told());
        counted == 1
    });
    waiter.abort();
    guard.release_blocking().unwrap();
}

/// TRAPS 25.
#[test]
fn killed_waiters_are_not_counted_any_more_soon_after_while_somebody_looks() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let mut killed = waiting_processes(&servers, "x");
    // Python's counts have no leases, and stay.
    let _: i64 = connect(&servers[0]).incr(counter("x"), 2).unwrap();
    let everywhere = || locks.statistics_blocking().unwrap().get("x").map_or(0, |waiting| waiting.everywhere);
    eventually("all of them are counted where Python's are", || everywhere() == 5);
    killed.iter_mut().for_each(Program::kill);
    let killed = now();
    eventually("only Python's are counted", || {
        let since = killed.elapsed();
        let everywhere = everywhere();
        assert!(since < PROMISED || everywhere == 2, "who looked after {since:?} was told of {everywhere}");
        everywhere == 2
    });
    guard.release_blocking().unwrap();
}

fn connect(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

/// What may happen to one counter.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One of ours tells its number.
    Settle { process: u8, waiting: u8 },
    /// Somebody looks.
    Look,
    /// One of ours is dead for as long as its lease was.
    Expire { process: u8 },
    /// A Python process begins to wait.
    PythonJoins,
    /// A Python process stops.
    PythonLeaves,
    /// A Python process was killed between the two, the other way round from what one would expect.
    PythonLeavesTwice,
    /// The counter expires, is evicted or deleted.
    Vanish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8, 0..4_u8).prop_map(|(process, waiting)| Step::Settle { process, waiting }),
        2 => Just(Step::Look),
        2 => (0..4_u8).prop_map(|process| Step::Expire { process }),
        3 => Just(Step::PythonJoins),
        3 => Just(Step::PythonLeaves),
        1 => Just(Step::PythonLeavesTwice),
        1 => Just(Step::Vanish),
    ]
}

/// What the counter should say.
#[derive(Default)]
struct Model {
    /// Ours, and whether the lease is over.
    ours: HashMap<u8, (i64, bool)>,
    /// How many Python processes wait.
    python: i64,
    /// Whether something took a count away that was there, so that the counter may be too low.
    is_damaged: bool,
}

impl Model {
    fn sum(&self) -> i64 {
        self.ours.values().map(|(waiting, _)| waiting).sum()
    }

    fn sweep(&mut self) {
        self.ours.retain(|_, (_, is_over)| !*is_over);
    }
}

#[test]
fn no_order_of_events_makes_a_counter_wrong_for_long() {
    let server = RedisServer::start();
    let mut connection = connect(&server);
    let script = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/record.lua"));
    let keys = ["counter", "leases", "counts"];
    let mut settle = |connection: &mut Connection, process: &str, waiting: &str| -> Option<i64> {
        let mut call = script.prepare_invoke();
        call.key(&keys[..]).arg(process).arg(waiting);
        for time in [LEASE, PROMISED, DAY] {
            call.arg(u64::try_from(time.as_millis()).unwrap());
        }
        call.invoke(connection).unwrap()
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    });
    let connection = std::cell::RefCell::new(&mut connection);
    let settle = std::cell::RefCell::new(&mut settle);
    let all = runner.run(&prop::collection::vec(step(), 1..100), |steps| {
        let (mut connection, mut settle) = (connection.borrow_mut(), settle.borrow_mut());
        let _: () = redis::cmd("FLUSHALL").query(&mut **connection).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Settle { process, waiting } => {
                    let told = settle(&mut connection, &process.to_string(), &waiting.to_string());
                    model.sweep();
                    model.ours.remove(&process);
                    if waiting > 0 {
                        model.ours.insert(process, (waiting.into(), false));
                    }
                    let told = told.unwrap_or(0);
                    prop_assert!(told >= model.sum(), "ours are not counted: {told} < {}", model.sum());
                    prop_assert!(told <= model.sum() + model.python, "nobody is counted: {told}");
                    if !model.is_damaged {
                        prop_assert_eq!(told, model.sum() + model.python);
                    }
                    let life: i64 = connection.pttl("counter").unwrap();
                    let most = if told > model.sum() { DAY } else { PROMISED }.as_millis();
                    prop_assert!(model.sum() == 0 || u128::from(life.unsigned_abs()) <= most && life > 0, "{life}");
                }
                Step::Look => {
                    let told = settle(&mut connection, "", "");
                    model.sweep();
                    prop_assert!(model.is_damaged || told.unwrap_or(0) == model.sum() + model.python);
                }
                Step::Expire { process } => {
                    if let Some((_, is_over)) = model.ours.get_mut(&process) {
                        *is_over = true;
                        let _: i64 = connection.zadd("leases", process, 0).unwrap();
                    }
                }
                Step::PythonJoins => {
                    model.python += 1;
                    let _: i64 = connection.incr("counter", 1).unwrap();
                }
                Step::PythonLeaves if model.python > 0 => {
                    model.python -= 1;
                    let _: i64 = connection.decr("counter", 1).unwrap();
                }
                Step::PythonLeaves => {}
                Step::PythonLeavesTwice => {
                    model.is_damaged = true;
                    let _: i64 = connection.decr("counter", 1).unwrap();
                }
                Step::Vanish => {
                    model.is_damaged = true;
                    let _: i64 = connection.del("counter").unwrap();
                }
            }
            for key in &keys[1..] {
                let life: i64 = connection.pttl(*key).unwrap();
                prop_assert!(life != -1, "{key} stays for ever");
            }
        }
        Ok(())
    });
    all.unwrap();
}
