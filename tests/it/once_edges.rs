//! One run per fire at the edges of its promise: fires that overtake one another, marks that too few confirm, settings that differ, and
//! clocks that are far off.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, Fire, InDoubt, LockManager, Run, Timeout};
use redlock_tests::clock::time_of_day;
use redlock_tests::gateway::Answer;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Gateway, RedisServer, Servers};
use tracing::Level;

use crate::common::events::Events;
use crate::common::once::{WEEK, already_ran, job, mark, marks, new_job, new_on, no_key_is_left, run};
use crate::common::{causes, key, unhurried};

fn in_memory(name: &str) -> LockManager {
    LockManager::builder().nodes([format!("memory://{name}")]).build().unwrap()
}

#[tokio::test]
async fn who_stands_by_for_a_fire_that_a_later_one_overtakes_is_told_that_it_may_have_been_missed() {
    let (locks, others) = (in_memory("overtaken"), in_memory("overtaken"));
    let events = Events::from_now();
    let failing = locks.lock("overtaken").once(7_u64).acquire().await.unwrap();
    let stand_by = |fire: u64| tokio::spawn(others.lock("overtaken").once(fire).timeout(LIMIT).acquire());
    let waiting = async |count| {
        let counted = async || others.statistics().await.unwrap().get("overtaken").is_some_and(|of| of.here == count);
        eventually_async("they wait", counted).await;
    };
    let later = stand_by(8);
    waiting(1).await;
    let overtaken = stand_by(7);
    waiting(2).await;
    // Its body has failed.
    drop(failing);
    later.await.unwrap().unwrap().complete().await.unwrap();
    let error = overtaken.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::AlreadyRan { fire: 7, completed: 8, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("a later one, 8, was completed") && said.contains("were missed"), "{said}");
    let told = |fire: &str| events.count(Level::WARN, &["lock=overtaken", fire, "a later fire was completed"]);
    assert_eq!(told("fire=7"), 1, "{said}");

    // Whoever only comes too late is told by the error alone, and who asks for the same fire, nothing of a later one.
    for (fire, expect) in
        [(6_u64, "a later one, 8, was completed"), (8, "already ran: the last one that was completed is 8")]
    {
        let error = others.lock("overtaken").once(fire).timeout(LIMIT).acquire().await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
    assert_eq!(told("fire="), 1);
}

#[tokio::test]
async fn a_completed_fire_that_no_majority_confirms_is_told_with_a_cure_that_does_not_run_it_again() {
    let servers = Servers::start(3);
    let gateways: Vec<_> = servers.answering().map(Gateway::start).collect();
    new_job(&servers).await;
    for gateway in &gateways {
        gateway.before_scripts(
            "local real = redis; local redis = setmetatable({ pcall = function(name, key, ...) \
             if name == 'SET' and string.find(key, '^redlock%-done') then return { err = 'OOM no room' } end \
             return real.pcall(name, key, ...) end }, { __index = real }) ",
        );
    }
    servers[2].probe().set_for(&mark("job"), "9:5", WEEK);
    // Two of three decide, so that the one that has it is heard.
    servers[0].hang();
    let builder = LockManager::builder().nodes(gateways.iter().map(Gateway::url)).node_timeout(Duration::from_secs(2));
    for in_doubt in [InDoubt::Refuse, InDoubt::Run] {
        let locks = builder.clone().in_doubt(in_doubt).build().unwrap();
        let error = run(job(&locks, 7)).await.unwrap_err();
        assert!(matches!(error, Error::FireInDoubt { fire: 7, covered_by: Some(9), .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("shows that 9 was completed") && said.contains("do not reset the marks"), "{said}");
        assert!(said.contains("no room") && !said.contains("`in_doubt`"), "{said}");
    }
    servers[0].resume();
    assert!(marks(&servers)[1].as_deref() == Some("0:0"), "{:?}", marks(&servers));
}

#[tokio::test]
async fn a_reset_of_marks_that_comes_behind_a_completion_leaves_it_alone() {
    let server = Arc::new(RedisServer::start());
    let gateway = Gateway::start(&server);
    let locks = unhurried().nodes([gateway.url()]).build().unwrap();
    new_on(&locks).await;
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    let completed = Arc::clone(&server);
    // Between what the reset reads and what it writes, which may be as late as its connection is slow.
    gateway.answer(
        "GET",
        Answer::edited(move |read| {
            completed.probe().set_for(&mark("job"), "8:5", WEEK);
            read.to_owned()
        }),
    );
    let error = locks.reset_marks("job").await.unwrap_err();
    assert!(causes(&error).contains("a fire was completed meanwhile"), "{}", causes(&error));
    assert_eq!(server.probe().get(&mark("job")).as_deref(), Some("8:5"));
    assert_eq!(run(job(&locks, 8)).await.unwrap(), already_ran(8));
    // What was read is what stands there: asked again, it is done.
    assert_eq!(locks.reset_marks("job").await.unwrap(), 1);
    assert_eq!(run(job(&locks, 8)).await.unwrap(), Run::Ran(Some(8)));
}

#[tokio::test]
async fn marks_of_another_retention_are_no_evidence_and_the_error_names_the_setting() {
    let servers = Servers::start(3);
    let builder = |retention| unhurried().nodes(servers.urls()).marks_retention(retention);
    let short = builder(WEEK).build().unwrap();
    new_on(&short).await;
    assert_eq!(run(job(&short, 7)).await.unwrap(), Run::Ran(Some(7)));
    let refused = async |locks: &LockManager, fire, why: &str| {
        let error = run(job(locks, fire)).await.unwrap_err();
        let is_in_doubt = matches!(error, Error::FireInDoubt { covered_by: None, .. });
        assert!(is_in_doubt && error.to_string().contains(why), "{error}");
    };
    let long = builder(2 * WEEK).build().unwrap();
    refused(&long, 8, "with a shorter `marks_retention`").await;
    // The way out: what a node shows to be completed does not run even so.
    let once = builder(2 * WEEK).in_doubt(InDoubt::Run).build().unwrap();
    assert_eq!(run(job(&once, 7)).await.unwrap(), already_ran(7));
    no_key_is_left(&servers).await;
    assert_eq!(run(job(&once, 8)).await.unwrap(), Run::Ran(Some(8)));
    assert_eq!(run(job(&long, 9)).await.unwrap(), Run::Ran(Some(9)));
    refused(&short, 10, "lives longer than `marks_retention`").await;
}

#[tokio::test]
async fn a_clock_near_1970_runs_what_never_ran_and_one_that_shows_1970_is_refused() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    for (shows, expect) in [(HOUR, None), (Duration::ZERO, Some("set the clock first"))] {
        let nodes = [format!("memory://once-in-1970-{}", shows.as_secs())];
        let builder = LockManager::builder().nodes(nodes);
        let locks = builder.time_of_day(move || SystemTime::UNIX_EPOCH + shows).build().unwrap();
        new_on(&locks).await;
        let request = || locks.lock("job").once(24 * HOUR).timeout(Timeout::Skip);
        match expect {
            None => {
                assert!(matches!(run(request()).await.unwrap(), Run::Ran(Some(_))));
                assert_eq!(run(request()).await.unwrap(), already_ran(3_600_000));
            }
            Some(cure) => {
                let error = run(request()).await.unwrap_err();
                assert!(matches!(&error, Error::Config { reason } if reason.contains(cure)), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_greatest_difference_of_clocks_one_that_is_far_ahead_marks_nothing_either() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let servers = Servers::start(3);
    let builder = || unhurried().nodes(servers.urls()).fencing(false).max_clock_skew(None).in_doubt(InDoubt::Run);
    let ahead = builder().time_of_day(|| time_of_day() + 3 * HOUR).build().unwrap();
    let minutely = ahead.lock("job").once(Duration::from_secs(60)).timeout(Timeout::Skip);
    let error = run(minutely).await.unwrap_err();
    assert!(error.to_string().contains("set this clock"), "{error}");
    let next_year = ahead.lock("job").once(Fire::at(time_of_day() + 365 * 24 * HOUR)).timeout(Timeout::Skip);
    let error = run(next_year).await.unwrap_err();
    assert!(error.to_string().contains("use the moment that the job is scheduled for"), "{error}");
    assert_eq!(marks(&servers).iter().flatten().count(), 0);
    // Within a fraction of the period it keeps no other fire from running.
    let daily = ahead.lock("job").once(24 * HOUR).timeout(Timeout::Skip);
    assert!(matches!(run(daily).await.unwrap(), Run::Ran(_)));
}

#[tokio::test]
async fn a_node_that_did_not_vote_gets_no_mark() {
    let servers = Servers::start(3);
    let ttl = Duration::from_secs(4);
    let locks = unhurried().nodes(servers.urls()).longest_ttl(ttl).ttl(ttl).build().unwrap();
    new_on(&locks).await;
    eventually_async("all vote", async || {
        servers
            .iter()
            .all(|server| server.probe().info("server")["uptime_in_seconds"].parse().is_ok_and(|age: u64| age > 6))
    })
    .await;
    servers[2].kill();
    servers[2].restart();
    let guard = job(&locks, 7).timeout(LIMIT).acquire().await.unwrap();
    eventually_async("the key stands on it, too", async || servers[2].probe().get(&key("job")).is_some()).await;
    guard.complete().await.unwrap();
    no_key_is_left(&servers).await;
    let marks = marks(&servers);
    assert!(marks[..2].iter().flatten().all(|mark| mark.starts_with("7:")), "{marks:?}");
    assert_eq!(marks[2], None, "the next one would take its mark for one that nothing was forgotten before");
}

#[tokio::test]
async fn a_mark_that_is_written_back_lives_anew_also_where_it_stood() {
    let servers = Servers::start(3);
    let builder = LockManager::builder().nodes(servers.urls()).max_clock_skew(Duration::from_millis(1));
    let locks = builder.node_timeout(Duration::from_secs(2)).build().unwrap();
    new_job(&servers).await;
    // The servers have run since before it was due, so that no mark has to be evidence.
    let due = time_of_day();
    let number = due.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    eventually_async("they have run for as long", async || {
        let since = time_of_day().duration_since(due).unwrap_or_default();
        since > Duration::from_millis(10)
    })
    .await;
    servers[2].probe().set_for(&mark("job"), &format!("{number}:5"), Duration::from_secs(3600));
    // Two of three decide, so that the one that has it is heard.
    servers[0].hang();
    let request = locks.lock("job").once(Fire::at(due)).timeout(Timeout::Skip);
    let ran = run(request).await;
    servers[0].resume();
    assert_eq!(ran.unwrap(), already_ran(u64::try_from(number).unwrap()));
    no_key_is_left(&servers).await;
    let kept = servers[2].probe().pttl(&mark("job")).remaining().expect("it expires");
    assert!(kept > WEEK / 2, "{kept:?}");
}
