//! What is seen of locks from outside: everything once, under a label that has no id in it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use redlock_runtime::observe::{Event, Observer};
use redlock_runtime::{Error, Fire, InDoubt, LockManager, LockRequest, OnShutdown, Run, Timeout, redlock};
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{RedisServer, Servers};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::common::events::NO_BUSY_MACHINE;
use crate::common::polls::poll_and_drop;
use crate::common::seen::Seen;
use crate::common::{RARE_POLL, key, none_has_x, unhurried};

/// A manager in memory, and what is seen of it.
fn in_memory() -> (LockManager, Seen) {
    let seen = Seen::default();
    (LockManager::builder().nodes(["memory://"]).observer(seen.clone()).build().unwrap(), seen)
}

fn on(servers: &Servers) -> (LockManager, Seen) {
    let seen = Seen::default();
    let builder = unhurried().nodes(servers.urls()).slow_poll(RARE_POLL);
    (builder.observer(seen.clone()).build().unwrap(), seen)
}

#[tokio::test]
async fn an_acquisition_is_told_once_with_how_it_ended_and_where() {
    let (locks, seen) = in_memory();
    let lock = |id: u32| locks.lock(format!("invoice:{id}")).label("invoice:{id}").ttl(Duration::from_secs(20));
    let guard = lock(1).acquire().await.unwrap();
    assert_eq!(seen.take(), ["hold+ invoice:{id}", "acquire invoice:{id} acquired network"]);

    assert!(lock(1).try_acquire().await.unwrap().is_none());
    assert_eq!(seen.take(), ["acquire invoice:{id} held network"]);

    let waited = lock(1).timeout(Duration::from_millis(20)).acquire().await;
    assert!(matches!(waited, Err(Error::NotAcquired { .. })), "{waited:?}");
    assert_eq!(seen.take(), ["wait+ invoice:{id}", "wait- invoice:{id}", "acquire invoice:{id} held local"]);

    guard.release().await.unwrap();
    assert_eq!(seen.take(), ["hold- invoice:{id} released", "run invoice:{id}"]);

    drop(lock(2).acquire().await.unwrap());
    seen.take();
    assert!(locks.lock("").label("nameless").acquire().await.is_err());
    assert!(locks.lock("x").ttl(Duration::ZERO).acquire().await.is_err());
    assert_eq!(seen.take(), ["acquire nameless error local", "acquire other error local"]);

    for outcome in ["acquired", "already_ran"] {
        let fire = locks.lock("daily").label("daily").once(Fire::from(7)).timeout(Timeout::Skip);
        let ran = fire.run(async |_| Ok::<_, Error>(())).await;
        assert!(ran.is_ok(), "{ran:?}");
        assert_eq!(seen.all("acquire"), [format!("acquire daily {outcome} network")]);
        assert_eq!(seen.count("run daily"), usize::from(outcome == "acquired"));
        seen.take();
    }

    let permits = || locks.lock("import").label("import").permits(2);
    let both = (permits().acquire().await.unwrap(), permits().acquire().await.unwrap());
    assert!(permits().try_acquire().await.unwrap().is_none());
    drop(both);
    assert_eq!(seen.count("hold+ import"), 2);
    assert_eq!(seen.all("hold- "), ["hold- import released"; 2]);
    assert_eq!(seen.count("acquire import acquired network"), 2);
    assert_eq!(seen.count("acquire import"), 3);
    seen.take();

    let computed =
        locks.lock("cache").label("cache").get_or_compute(async || Ok(None), async || Ok::<_, Error>(7)).await;
    assert_eq!(computed.unwrap(), 7);
    assert_eq!(seen.count("acquire cache"), 1);
    assert_eq!(seen.count("run cache"), 1);

    seen.take();
    let token = lock(1).acquire().await.unwrap().detach();
    assert_eq!(seen.all("hold- "), ["hold- invoice:{id} released"], "it left this process");
    let adopted = locks.adopt(token.clone()).await.unwrap();
    assert_eq!(seen.all("acquire other"), ["acquire other acquired network"]);
    assert!(locks.adopt(token).await.is_err());
    drop(adopted);
    assert_eq!(seen.all("acquire other"), ["acquire other acquired network", "acquire other held network"]);
    assert!(seen.is_at_rest());
}

#[tokio::test]
async fn those_of_one_process_who_get_a_lock_after_each_other_are_told_once_each() {
    // Each of them from the nodes.
    let seen = Seen::default();
    let builder = LockManager::builder().nodes(["memory://"]).local_hand_over(false);
    let locks = builder.observer(seen.clone()).build().unwrap();
    let first = locks.lock("x").label("x").acquire().await.unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let request = locks.lock("x").label("x");
            tokio::spawn(async move { request.acquire().await.unwrap().release().await.unwrap() })
        })
        .collect();
    eventually_async("all of them wait", async || seen.count("wait+ x") == 20).await;
    first.release().await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    for told in ["acquire x acquired network", "acquire ", "hold- x released", "run x"] {
        assert_eq!(seen.count(told), 21, "{told}");
    }
    assert_eq!(seen.count("wait+ x"), 20);
    assert!(seen.is_at_rest());
}

#[tokio::test]
async fn dropped_at_any_poll_an_acquisition_is_told_once_and_nothing_counts_as_held_or_waiting() {
    let servers = Servers::start(3);
    let (locks, seen) = on(&servers);
    let lock = || locks.lock("x").label("x").ttl(Duration::from_secs(20));
    lock().acquire().await.unwrap().release().await.unwrap();
    for is_held in [false, true] {
        let mut completed = 0;
        for polls in 0..400 {
            let (holder, _) = on(&servers);
            let guard = if is_held { Some(holder.lock("x").acquire().await.unwrap()) } else { None };
            seen.take();
            let has_ended = poll_and_drop(lock().acquire(), polls).await.is_some();
            completed += usize::from(has_ended);
            let outcome = if has_ended { "acquired" } else { "cancelled" };
            assert_eq!(seen.count("acquire"), usize::from(polls > 0), "{polls} {is_held} {seen:?}");
            assert_eq!(seen.count(&format!("acquire x {outcome}")), usize::from(polls > 0), "{polls} {seen:?}");
            assert!(seen.is_at_rest(), "{polls} {is_held} {seen:?}");
            drop(guard);
            none_has_x(&servers).await;
            // On a busy machine it takes more of them.
            if polls > 10 && (is_held || completed > 0) {
                break;
            }
        }
        assert_eq!(completed > 0, !is_held);
    }
    // A release, dropped likewise.
    for polls in 0..6 {
        let guard = lock().acquire().await.unwrap();
        seen.take();
        let has_ended = poll_and_drop(guard.release(), polls).await.is_some();
        assert_eq!(seen.all("hold- "), ["hold- x released"], "{polls}");
        assert_eq!(seen.count("run x"), usize::from(has_ended));
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn each_loss_is_counted_once_with_its_reason_and_the_end_of_the_lock() {
    let servers = Servers::start(3);
    let (locks, seen) = on(&servers);
    let lock = || locks.lock("x").label("x").ttl(Duration::from_secs(3));
    let lost = async |reason: &str| {
        eventually_async(reason, async || seen.count("lost ") > 0).await;
        assert_eq!(seen.all("lost "), [format!("lost x {reason}")]);
    };

    let guard = lock().acquire().await.unwrap();
    servers.iter().for_each(|server| _ = server.probe().del(&key("x")));
    lost("taken").await;
    drop(guard);
    assert_eq!(seen.all("hold- "), ["hold- x lost"]);
    eventually_async("the renewal is told", async || seen.count("renewal x taken") == 1).await;
    seen.take();

    let guard = lock().max_hold(Duration::from_millis(100)).acquire().await.unwrap();
    lost("max_hold").await;
    drop(guard);
    assert_eq!(seen.take().iter().filter(|told| told.starts_with("hold-")).collect::<Vec<_>>(), ["hold- x lost"]);

    let guard = lock().ttl(Duration::from_secs(20)).acquire().await.unwrap();
    locks.reset("x").await.unwrap();
    lost("reset").await;
    drop(guard);
    assert_eq!(seen.all("hold- "), ["hold- x reset"]);
    seen.take();

    // Nobody looks whether it is held any more.
    let guard = lock().ttl(Duration::from_millis(50)).renew(false).acquire().await.unwrap();
    eventually_async("it is over", async || servers.holding(&key("x")) == 0).await;
    drop(guard);
    lost("expired").await;
    assert_eq!(seen.all("hold- "), ["hold- x lost"]);
    seen.take();

    // Too few nodes answer: what is renewed in vain is told, and then lost.
    let guard = lock().acquire().await.unwrap();
    servers[0].kill();
    servers[1].kill();
    lost("expired").await;
    assert!(seen.count("renewal x unreachable") > 0);
    drop(guard);
    let denied = locks.lock("y").label("y").timeout(Timeout::Skip).acquire().await;
    assert!(matches!(denied, Err(Error::QuorumUnreachable { .. })), "{denied:?}");
    assert_eq!(seen.all("acquire y"), ["acquire y unreachable network"]);
    assert!(seen.is_at_rest());
}

#[tokio::test]
async fn a_shutdown_ends_what_is_held_and_who_waits_once() {
    for on_shutdown in [OnShutdown::Drain, OnShutdown::Cancel] {
        let seen = Seen::default();
        let builder = LockManager::builder().nodes(["memory://"]).on_shutdown(on_shutdown).observer(seen.clone());
        let locks = builder.build().unwrap();
        let (kept, polite) = (locks.lock("kept").label("kept"), locks.lock("polite").label("polite"));
        let kept = kept.acquire().await.unwrap();
        let polite = polite.acquire().await.unwrap();
        let waiting = tokio::spawn(locks.lock("kept").label("kept").acquire());
        eventually_async("it waits", async || seen.count("wait+ kept") == 1).await;
        let lets_go = tokio::spawn(async move {
            polite.lost().await;
            drop(polite);
        });
        let report = locks.shutdown_within(Duration::from_secs(2)).await;
        assert_eq!(report.still_held, ["kept"]);
        lets_go.await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
        drop(kept);
        assert_eq!(seen.all("hold- kept"), ["hold- kept shutdown"]);
        assert_eq!(seen.all("hold- polite"), ["hold- polite shutdown"]);
        assert_eq!(seen.all("lost "), ["lost kept shutdown"]);
        assert_eq!(seen.all("acquire kept"), ["acquire kept acquired network", "acquire kept cancelled local"]);
        assert!(seen.is_at_rest());
    }
}

static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
static LOCKS: LazyLock<LockManager> =
    LazyLock::new(|| LockManager::builder().nodes(["memory://"]).observer(SEEN.clone()).build().unwrap());
const NIGHTLY: &str = "nightly";

#[redlock(name = "bill:{id}", manager = &LOCKS, timeout = -1)]
async fn bill(id: u32) -> Result<u32, Error> {
    assert!(id < 10, "as the test wants");
    if id == 9 { Err(Error::ShutDown) } else { Ok(id) }
}

#[redlock(name = format!("pay-{}-{id}", 1 + 1), manager = &LOCKS)]
fn pay(id: u32) {
    assert!(id < 10, "as the test wants");
}

#[redlock(name = NIGHTLY, manager = &LOCKS)]
async fn nightly() {}

#[tokio::test]
async fn an_annotated_function_is_called_by_its_template_and_runs_well_if_it_returns_no_error() {
    let check = |label: &str, runs_well: bool| {
        let run = runs_well.then(|| format!("run {label}"));
        let expected =
            [format!("hold+ {label}"), format!("acquire {label} acquired network"), format!("hold- {label} released")];
        assert_eq!(SEEN.take(), expected.into_iter().chain(run).collect::<Vec<_>>());
    };
    bill(1).await.unwrap();
    check("bill:{id}", true);
    assert!(bill(9).await.is_err());
    check("bill:{id}", false);
    assert!(tokio::spawn(bill(10)).await.unwrap_err().is_panic());
    check("bill:{id}", false);

    pay(1);
    check("pay-{}-{id}", true);
    assert!(std::panic::catch_unwind(|| pay(10)).is_err());
    check("pay-{}-{id}", false);

    // What names it is known when it is called, and the function before that.
    nightly().await;
    check(concat!(module_path!(), "::nightly"), true);
}

#[tokio::test]
async fn a_node_is_timed_by_what_it_is_asked_and_told_to_be_down_and_back() {
    let servers = Servers::start(3);
    let (locks, seen) = on(&servers);
    let guard = locks.lock("x").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    let are_renewed =
        async || servers.iter().all(|server| seen.count(&format!("node {} extend", server.address())) > 0);
    eventually_async("it is renewed everywhere", are_renewed).await;
    guard.release().await.unwrap();
    let all_released =
        async || servers.iter().all(|server| seen.count(&format!("node {} release", server.address())) > 0);
    eventually_async("all have answered", all_released).await;
    // Nothing is asked meanwhile: the connections notice.
    let node = servers[2].address();
    let stands =
        |standing: &str| seen.all(&format!("stands {node}")).last() == Some(&format!("stands {node} {standing}"));
    eventually_async("it votes", async || stands("votes")).await;
    servers[2].kill();
    eventually_async("it is down", async || stands("unreachable")).await;
    servers[2].restart();
    eventually_async("it is back", async || stands("votes")).await;
    // One that hangs is found by whoever asks it.
    servers[2].hang();
    let is_found = async || {
        drop(locks.lock("y").acquire().await.unwrap());
        stands("unreachable")
    };
    eventually_async("it does not answer", is_found).await;
    servers[2].resume();
    eventually_async("it does again", async || stands("votes")).await;
}

#[tokio::test]
async fn a_node_that_restarted_empty_is_told_to_be_young_until_it_votes_again() {
    let servers = Servers::start(3);
    let (seen, longest) = (Seen::default(), Duration::from_millis(1500));
    let builder = unhurried().nodes(servers.urls()).longest_ttl(longest).ttl(Duration::from_secs(1));
    let locks = builder.observer(seen.clone()).build().unwrap();
    let node = servers[1].address();
    let stands =
        |standing: &str| seen.all(&format!("stands {node}")).last() == Some(&format!("stands {node} {standing}"));
    let until = async |standing: &str| {
        let is_told = async || {
            drop(locks.lock("x").acquire().await.unwrap());
            stands(standing)
        };
        eventually_async(standing, is_told).await;
    };
    // The others have to be old.
    eventually_async("they are old", async || {
        servers[0].probe().info("server")["uptime_in_seconds"].parse::<u64>().unwrap() >= 4
    })
    .await;
    until("votes").await;
    servers[1].restart();
    until("young").await;
    until("votes").await;
}

#[tokio::test]
async fn a_server_that_was_configured_twice_is_told_to_vote_under_neither_name() {
    let (servers, seen) = (Servers::start(4), Seen::default());
    let twice = format!("localhost:{}", servers[0].port());
    let urls = servers.urls().into_iter().chain([format!("redis://{twice}")]);
    let builder = unhurried().nodes(urls).node_timeout(NO_BUSY_MACHINE).observer(seen.clone());
    let locks = builder.build().unwrap();
    let last = |node: &str| {
        let told = seen.all(&format!("stands {node} ")).pop();
        told.and_then(|told| told.rsplit_once(' ').map(|(_, standing)| standing.to_owned()))
    };
    let names = [servers[0].address(), twice];
    for round in 1..=3 {
        let is_told = async || {
            assert!(matches!(locks.lock("x").acquire().await, Err(Error::Config { .. })), "it says so, too");
            names.iter().all(|node| last(node).as_deref() == Some("same_server"))
        };
        eventually_async(&format!("{round}: it is told, and stays so"), is_told).await;
    }
    for node in &names {
        assert_eq!(seen.count(&format!("stands {node} same_server")), 1, "{seen:?}");
    }
    for server in &servers[1..] {
        assert_eq!(last(&server.address()).as_deref(), Some("votes"), "{seen:?}");
    }
}

/// Panics at everything that it is told.
struct Furious;

impl Observer for Furious {
    fn event(&self, event: &Event<'_>) {
        panic!("as the test wants, at {event:?}");
    }
}

#[tokio::test]
async fn an_observer_that_panics_harms_nobody() {
    let locks = LockManager::builder().nodes(["memory://"]).observer(Furious).build().unwrap();
    for _ in 0..3 {
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
    }
    assert!(locks.shutdown_within(Duration::from_secs(5)).await.still_held.is_empty());
}

/// Keeps the spans of acquisitions: under which span each is, and what is recorded in it.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(Id, String)>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "waited" {
            self.0.push_str(" waited");
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        if attributes.metadata().name() == "redlock.acquire" {
            let parent = context.span(id).and_then(|span| span.parent().map(|parent| parent.name()));
            let mut told = format!("under {parent:?}:");
            attributes.record(&mut Fields(&mut told));
            self.0.lock().unwrap().push((id.clone(), told));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: LayerContext<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        if let Some((_, told)) = spans.iter_mut().rev().find(|(span, _)| span == id) {
            values.record(&mut Fields(told));
        }
    }
}

#[tokio::test]
async fn an_acquisition_is_a_span_under_that_of_its_caller() {
    let spans = Spans::default();
    let _subscribed = tracing::subscriber::set_default(Registry::default().with(spans.clone()));
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let caller = tracing::info_span!("caller");
    let guard = tracing::Instrument::instrument(locks.lock("a").acquire(), caller).await.unwrap();
    assert!(locks.lock("a").try_acquire().await.unwrap().is_none());
    assert!(poll_and_drop(locks.lock("a").acquire(), 1).await.is_none());
    drop(guard);
    let told: Vec<_> = spans.0.lock().unwrap().iter().map(|(_, told)| told.clone()).collect();
    assert_eq!(
        told,
        [
            r#"under Some("caller"): lock=a outcome="acquired" waited"#,
            r#"under None: lock=a outcome="held" waited"#,
            r#"under None: lock=a outcome="cancelled" waited"#,
        ]
    );
}

#[tokio::test]
async fn nothing_that_is_told_has_an_id_or_a_password_in_it() {
    let server = RedisServer::start();
    let (seen, secret) = (Seen::default(), "s3cret");
    let url = server.url().replace("redis://", &format!("redis://nobody:{secret}@"));
    let locks = unhurried().nodes([url]).observer(seen.clone()).build().unwrap();
    for id in ["zoe", "zack"] {
        assert!(locks.lock(format!("invoice:{id}")).timeout(Timeout::Skip).acquire().await.is_err());
    }
    let told = format!("{seen:?}");
    for hidden in ["zoe", "zack", secret] {
        assert!(!told.contains(hidden), "{told}");
    }
    assert_eq!(seen.all("acquire "), ["acquire other unreachable network"; 2]);
}

/// What somebody does with the lock "x" of a manager, under the label "x"; from begin to end.
type Use = fn(&LockManager) -> LocalBoxFuture<'static, ()>;

/// Acquires and releases it.
fn used(request: LockRequest) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move { request.label("x").acquire().await.unwrap().release().await.unwrap() })
}

/// A fire that no other has.
fn fire() -> Fire {
    static FIRES: AtomicU64 = AtomicU64::new(1);
    Fire::from(FIRES.fetch_add(1, Ordering::Relaxed))
}

/// Each kind of lock, and each way to have one.
const USES: [(&str, Use); 9] = [
    ("one name", |locks| used(locks.lock("x"))),
    ("a permit", |locks| used(locks.lock("x").permits(1))),
    ("several names", |locks| used(locks.lock_all(["x", "y"]))),
    ("a reader", |locks| used(locks.read("x"))),
    ("a writer", |locks| used(locks.write("x"))),
    ("a writer who becomes a reader", |locks| {
        let request = locks.write("x").label("x");
        Box::pin(async move { request.acquire().await.unwrap().downgrade().await.unwrap().release().await.unwrap() })
    }),
    ("once", |locks| {
        let request = locks.lock("x").label("x").once(fire());
        Box::pin(async move {
            let ran = request.run(async |_| Ok::<_, Error>(())).await;
            assert!(matches!(ran, Ok(Run::Ran(()))), "{ran:?}");
        })
    }),
    ("one that computes", |locks| {
        let request = locks.lock("x").label("x");
        Box::pin(async move {
            request.get_or_compute(async || Ok(None), async || Ok::<_, Error>(7)).await.unwrap();
        })
    }),
    // As long as it is not dropped.
    ("a leader", |locks| {
        let lead = locks.lead("x").label("x");
        Box::pin(async move { lead.run(async |_| std::future::pending::<Result<(), Error>>().await).await.unwrap() })
    }),
];

#[tokio::test]
async fn each_kind_of_lock_is_told_once_and_counts_as_nothing_when_it_is_dropped_at_any_poll() {
    let servers = Servers::start(3);
    for (kind, uses) in USES {
        let seen = Seen::default();
        // The servers are too young to know what was completed before.
        let builder = unhurried().nodes(servers.urls()).slow_poll(RARE_POLL).in_doubt(InDoubt::Run);
        let locks = builder.observer(seen.clone()).build().unwrap();
        for is_held in [false, true] {
            let (mut has_ended, mut times_held) = (false, 0);
            for polls in 0..40 {
                // In the same process: what is dropped stands in its line.
                let in_the_way = match kind {
                    "a reader" | "a writer" | "a writer who becomes a reader" => locks.write("x"),
                    "a permit" => locks.lock("x").permits(1),
                    _ => locks.lock("x"),
                };
                let guard = if is_held { Some(in_the_way.acquire().await.unwrap()) } else { None };
                seen.take();
                has_ended = poll_and_drop(uses(&locks), polls).await.is_some();
                assert_eq!(seen.count("acquire x"), usize::from(polls > 0), "{kind} {is_held} {polls} {seen:?}");
                times_held += seen.count("hold+ x");
                let is_at_rest = async || {
                    let balance = |began: &str, ended: &str| seen.count(began) == seen.count(ended);
                    balance("hold+ x", "hold- x") && balance("wait+ x", "wait- x")
                };
                eventually_async(&format!("{kind} {is_held} {polls}: it is at rest"), is_at_rest).await;
                assert!(!is_held || seen.count("acquire x cancelled") == usize::from(polls > 0), "{kind} {seen:?}");
                drop(guard);
                if has_ended || times_held > 3 || is_held && polls > 5 {
                    break;
                }
            }
            assert_eq!(times_held > 0, !is_held, "{kind}: it is had if nobody is in the way");
            assert!(is_held || has_ended || kind == "a leader" || times_held > 3, "{kind}");
        }
    }
}

#[test]
fn each_kind_of_lock_is_told_once_of_a_blocking_call() {
    let (locks, seen) = in_memory();
    let check = |kind: &str, path: &[&str]| {
        let told = seen.take();
        assert_eq!(told, path, "{kind}");
    };
    let (taken, released) = (["hold+ x", "acquire x acquired network"], ["hold- x released", "run x"]);
    let all = [&taken[..], &released[..]].concat();
    let requests: [(&str, LockRequest); 5] = [
        ("one name", locks.lock("x")),
        ("a permit", locks.lock("p").permits(2)),
        ("several names", locks.lock_all(["x", "y"])),
        ("a reader", locks.read("r")),
        ("a writer", locks.write("r")),
    ];
    for (kind, request) in requests {
        request.label("x").acquire_blocking().unwrap().release_blocking().unwrap();
        check(kind, &all);
    }
    let ran = locks.lock("x").label("x").once(fire()).run_blocking(|_| Ok::<_, Error>(()));
    assert!(matches!(ran, Ok(Run::Ran(()))), "{ran:?}");
    check("once", &all);
    let guard = locks.lock("x").label("x").acquire_blocking().unwrap();
    check("the first", &taken);
    assert!(locks.lock("x").label("x").timeout(Duration::from_millis(20)).acquire_blocking().is_err());
    check("a second", &["wait+ x", "wait- x", "acquire x held local"]);
    drop(guard);
    eventually("it is released", || seen.count("hold- x released") == 1);
    seen.take();

    // Its first term is over when it is resigned, and the shutdown ends what follows.
    let lead = locks.lead("x").label("x");
    let ending = locks.clone();
    lead.run_blocking(move |term| {
        assert!(term.is_leader());
        let shutting = ending.clone();
        std::thread::spawn(move || shutting.shutdown_blocking());
        futures::executor::block_on(term.lost());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(seen.count("acquire x acquired"), 1);
    assert_eq!((seen.count("hold+ x"), seen.count("hold- x")), (1, 1));
    eventually("nothing is held", || seen.is_at_rest());
}
