//! One run per fire, on real servers: what was completed does not run again, and what was not is made up for.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use redlock_runtime::{Error, Fire, InDoubt, LockGuard, OnceAt, Run, SkipReason, Timeout};
use redlock_tests::clock::{time_of_day, timed};
use redlock_tests::gateway::Answer;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Cluster, Gateway, Monitor, RedisServer, Sentinel, Servers, Setup};

use crate::common::once::{
    WEEK, a_fire_runs_once, all_are_marked, already_ran, job, mark, marks, new_job, new_on, no_key_is_left, run,
};
use crate::common::{RARE_POLL, causes, key, manager, unhurried};

/// Ends when no completion of the job is on its way any more: a server takes it only while the owner's key is there.
async fn all_is_delivered(servers: &Servers) {
    eventually_async("all is delivered", async || servers.values(&key("job")).iter().all(Option::is_none)).await;
}

#[tokio::test]
async fn what_was_completed_does_not_run_again_and_stands_on_the_nodes() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let (locks, others) = (new_job(&servers).await, manager(&servers));
        let token = match job(&locks, 7).run(async |guard| Ok::<_, Error>(guard.fencing_token())).await.unwrap() {
            Run::Ran(token) => token,
            Run::Skipped(why) => panic!("{why:?}"),
        };
        for fire in [7, 6, 1] {
            assert_eq!(run(job(&others, fire)).await.unwrap(), already_ran(7));
        }
        let stored = format!("7:{token}");
        let marked = marks(&servers).iter().filter(|mark| **mark == Some(stored.clone())).count();
        assert!(marked > count / 2, "{:?}", marks(&servers));
        for server in &servers {
            let kept = server.probe().pttl(&mark("job")).remaining().expect("it expires");
            assert!(kept + Duration::from_secs(60) > WEEK && kept <= WEEK, "{kept:?}");
        }
        no_key_is_left(&servers).await;
        assert_eq!(run(job(&others, 8)).await.unwrap(), Run::Ran(Some(8)));
        let last = locks.last_run("job").await.unwrap().expect("it ran");
        assert_eq!((last.fire, last.is_confirmed), (8, true));
        assert!(last.fencing_token > token);
        assert_eq!(locks.last_run("another").await.unwrap(), None);
    }
}

#[tokio::test]
async fn who_stands_by_learns_of_the_completion_and_runs_nothing() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let guard = job(&locks, 7).acquire().await.unwrap();
    let standing_by = tokio::spawn(run(job(&others, 7).timeout(LIMIT)));
    eventually_async("it waits", async || others.statistics().await.unwrap().get("job").is_some()).await;
    let ((), took) = timed(async {
        guard.complete().await.unwrap();
        assert_eq!(standing_by.await.unwrap().unwrap(), already_ran(7));
    })
    .await;
    assert!(took < RARE_POLL / 2, "it was woken, {took:?}");
    no_key_is_left(&servers).await;
}

#[tokio::test]
async fn a_run_that_fails_is_made_up_for_by_who_stands_by() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    for end in ["error", "panic", "cancelled", "crash"] {
        let begun = AtomicUsize::new(0);
        let failing = async {
            let request = job(&locks, 7).ttl(Duration::from_secs(2)).renew(false);
            if end == "crash" {
                mem::forget(request.acquire().await.unwrap());
                begun.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let body = async |_: &LockGuard| {
                begun.fetch_add(1, Ordering::Relaxed);
                match end {
                    "error" => Err(Error::ShutDown),
                    "panic" => panic!("it is a test"),
                    _ => std::future::pending::<Result<(), Error>>().await,
                }
            };
            let running = std::panic::AssertUnwindSafe(request.run(body)).catch_unwind();
            let cancelled = eventually_async("it runs", async || begun.load(Ordering::Relaxed) > 0);
            tokio::select! {
                ended = running => drop(ended),
                () = cancelled, if end == "cancelled" => {}
            }
        };
        failing.await;
        assert_eq!(locks.last_run("job").await.unwrap(), None, "{end} completes nothing");
        assert_eq!(run(job(&others, 7).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(7)), "{end}");
        all_is_delivered(&servers).await;
        assert!(locks.reset_marks("job").await.unwrap() > 1, "{end}");
    }
    // It still has the guard that was forgotten, and would look for its servers for ever.
    let _ = locks.shutdown_within(Duration::ZERO).await;
}

#[tokio::test]
async fn a_run_that_lost_its_lock_completes_nothing() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let guard = job(&locks, 7).acquire().await.unwrap();
    others.reset("job").await.unwrap();
    eventually_async("it is told", async || {
        let _ = guard.extend(Duration::from_secs(5)).await;
        !guard.is_valid()
    })
    .await;
    let error = guard.complete().await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");

    // Nobody told this one.
    let guard = job(&locks, 7).acquire().await.unwrap();
    others.reset("job").await.unwrap();
    let error = guard.complete().await.unwrap_err();
    assert!(matches!(&error, Error::NotCompleted { confirmed: 0, fire: 7, .. }), "{error}");
    assert!(causes(&error).contains("not this owner's any more"), "{}", causes(&error));
    assert_eq!(run(job(&others, 7)).await.unwrap(), Run::Ran(Some(7)));
}

#[tokio::test]
async fn at_most_once_is_marked_before_the_body_starts() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let request = job(&locks, 7).once_at(OnceAt::Start);
    let failed = request
        .run(async |guard| {
            assert!(guard.is_valid());
            assert_eq!(others.last_run("job").await?.map(|last| (last.fire, last.is_confirmed)), Some((7, true)));
            assert!(others.is_locked("job").await?);
            Err::<(), _>(Error::ShutDown)
        })
        .await;
    assert!(matches!(failed, Err(Error::ShutDown)));
    assert_eq!(run(job(&others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    // Whoever learnt that it ran may have had the lock for a moment.
    no_key_is_left(&servers).await;
    job(&others, 8).once_at(OnceAt::Start).acquire().await.unwrap().complete().await.unwrap();
    no_key_is_left(&servers).await;
}

#[tokio::test]
async fn a_number_is_in_doubt_on_new_servers_until_somebody_says_that_it_never_ran() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let error = run(job(&locks, 7)).await.unwrap_err();
    assert!(matches!(&error, Error::FireInDoubt { fire: 7, covered_by: None, .. }), "{error}");
    for server in &servers {
        assert!(error.to_string().contains(&server.address()), "{error}");
    }
    assert!(error.to_string().contains("reset_marks"), "{error}");
    let waited = run(job(&locks, 7).timeout(Timeout::Forever)).await;
    assert!(matches!(waited, Err(Error::FireInDoubt { .. })), "they have all answered");
    servers[0].probe().set_for(&mark("job"), "6:1", WEEK);
    servers[1].hang();
    let (waited, took) = timed(run(job(&locks, 7).timeout(Duration::from_secs(2)))).await;
    assert!(matches!(waited, Err(Error::FireInDoubt { .. })), "{waited:?}");
    assert!(took >= Duration::from_secs(2), "the one that hangs may know, {took:?}");
    servers[1].resume();
    servers[0].probe().del(&mark("job"));
    no_key_is_left(&servers).await;

    let daring = unhurried().nodes(servers.urls()).in_doubt(InDoubt::Run).build().unwrap();
    assert_eq!(run(job(&daring, 7)).await.unwrap(), Run::Ran(Some(7)));
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(7));
    no_key_is_left(&servers).await;
    assert_eq!(run(job(&locks, 8)).await.unwrap(), Run::Ran(Some(8)), "a mark is evidence");
}

#[tokio::test]
async fn a_moment_that_is_due_after_the_servers_were_started_is_in_no_doubt() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).max_clock_skew(Duration::ZERO).build().unwrap();
    let before = time_of_day() - Duration::from_secs(60);
    let error = run(locks.lock("job").once(before).timeout(Timeout::Skip)).await.unwrap_err();
    assert!(matches!(error, Error::FireInDoubt { .. }), "it may have run before they were started: {error}");
    // A server tells its age in whole seconds.
    eventually_async("it runs", async || {
        let due = Fire::at(time_of_day());
        matches!(run(locks.lock("job").once(due).timeout(Timeout::Skip)).await, Ok(Run::Ran(_)))
    })
    .await;
}

#[tokio::test]
async fn one_server_may_restart_empty() {
    let servers = Servers::start(3);
    let locks = unhurried()
        .nodes(servers.urls())
        .longest_ttl(Duration::from_secs(2))
        .ttl(Duration::from_secs(2))
        .build()
        .unwrap();
    new_on(&locks).await;
    let mut fire = 6;
    for restarted in 0..3 {
        fire += 1;
        assert_eq!(run(job(&locks, fire).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(fire)));
        no_key_is_left(&servers).await;
        servers[restarted].kill();
        servers[restarted].restart();
        assert_eq!(marks(&servers)[restarted], None);
        assert_eq!(run(job(&locks, fire).timeout(LIMIT)).await.unwrap(), already_ran(fire));
        eventually_async("it votes again, and has the marks of what runs then", async || {
            fire += 1;
            assert_eq!(run(job(&locks, fire).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(fire)));
            marks(&servers)[restarted].is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_run_that_the_nodes_that_answer_forgot_is_not_told_of_and_does_not_run_again() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    servers[2].kill();
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    servers[2].restart();
    servers[1].kill();
    servers[1].restart();
    // It alone still has the mark.
    servers[0].hang();
    let others = manager(&servers);
    eventually_async("two answer", async || others.last_run("job").await.is_ok()).await;
    assert_eq!(others.last_run("job").await.unwrap(), None);
    let error = run(job(&others, 7)).await.unwrap_err();
    assert!(matches!(error, Error::FireInDoubt { fire: 7, covered_by: None, .. }), "{error}");
    servers[0].resume();
    eventually_async("it is known again", async || {
        let last = others.last_run("job").await.unwrap();
        last.is_some_and(|last| last.fire == 7 && !last.is_confirmed)
    })
    .await;
    let attempt = run(job(&others, 7)).await;
    assert!(matches!(attempt, Err(Error::FireInDoubt { .. }) | Ok(Run::Skipped(_))), "{attempt:?}");
}

#[tokio::test]
async fn a_mark_of_a_minority_is_spread_before_it_is_told() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    servers[2].probe().set_for(&mark("job"), "9:5", WEEK);
    // Two of three decide, so that the one that has it is heard.
    servers[0].hang();
    let [before, after] = [run(job(&locks, 7)).await.unwrap(), run(job(&locks, 7)).await.unwrap()];
    servers[0].resume();
    assert_eq!((before, after), (already_ran(9), already_ran(9)), "the greatest that was read, not the own");
    assert!(marks(&servers).iter().filter(|mark| mark.as_deref() == Some("9:5")).count() > 1, "{:?}", marks(&servers));
    no_key_is_left(&servers).await;
    let last = locks.last_run("job").await.unwrap().unwrap();
    assert_eq!((last.fire, last.fencing_token, last.is_confirmed), (9, 5, true));
}

#[tokio::test]
async fn a_hung_server_slows_neither_a_completion_nor_who_comes_after_it() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(5)).build().unwrap();
    new_on(&locks).await;
    assert_eq!(run(job(&locks, 6)).await.unwrap(), Run::Ran(Some(6)));
    no_key_is_left(&servers).await;
    servers[1].hang();
    let (ran, took) = timed(run(job(&locks, 7))).await;
    assert_eq!(ran.unwrap(), Run::Ran(Some(7)));
    let (again, took_again) = timed(run(job(&locks, 7))).await;
    assert_eq!(again.unwrap(), already_ran(7));
    assert!(took + took_again < Duration::from_secs(5), "{took:?}, {took_again:?}");
    servers[1].resume();
    no_key_is_left(&servers).await;
}

#[tokio::test]
async fn a_completion_whose_answers_are_lost_is_sent_again_and_confirmed() {
    let servers = Servers::start(3);
    let gateways: Vec<_> = servers.answering().map(Gateway::start).collect();
    let locks = unhurried().nodes(gateways.iter().map(Gateway::url)).build().unwrap();
    new_on(&locks).await;
    for fire in 7..12 {
        let guard = job(&locks, fire).timeout(LIMIT).acquire().await.unwrap();
        let completing = tokio::spawn(guard.complete());
        for _ in 0..fire % 3 {
            tokio::task::yield_now().await;
        }
        gateways.iter().for_each(Gateway::cut);
        completing.await.unwrap().unwrap();
        assert_eq!(run(job(&locks, fire).timeout(LIMIT)).await.unwrap(), already_ran(fire));
    }
    no_key_is_left(&servers).await;
}

#[tokio::test]
async fn a_completion_that_is_dropped_goes_on() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(5)).build().unwrap();
    new_on(&locks).await;
    // One that has not answered yet.
    servers[2].hang();
    let guard = job(&locks, 7).acquire().await.unwrap();
    let mut completing = Box::pin(guard.complete());
    assert!(futures::poll!(&mut completing).is_pending());
    drop(completing);
    eventually_async("it is marked", async || {
        let marked = |mark: &Option<String>| mark.as_deref().is_some_and(|mark| mark.starts_with("7:"));
        [0, 1].iter().all(|node| marked(&servers[*node].probe().get(&mark("job"))))
    })
    .await;
    servers[2].resume();
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(7));
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_all_servers_marks_nothing() {
    let servers = Servers::start(3);
    for (ahead, expect) in [(Duration::from_secs(30), true), (Duration::from_secs(3 * 3600), false)] {
        let builder = unhurried().nodes(servers.urls()).in_doubt(InDoubt::Run);
        let locks = builder.time_of_day(move || time_of_day() + ahead).build().unwrap();
        let request = locks.lock("job").once(Duration::from_secs(60)).timeout(Timeout::Skip);
        match run(request).await {
            Ok(Run::Ran(_)) => assert!(expect, "{ahead:?}"),
            Err(error) => assert!(!expect && error.to_string().contains("set this clock"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(marks(&servers).iter().flatten().count() > 1);
}

#[tokio::test]
async fn who_stands_by_beside_others_is_told_at_once_too() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    for fire in [7, 8, 9] {
        let waiting: Vec<_> = (0..6)
            .map(|_| {
                let others = manager(&servers);
                tokio::spawn(async move {
                    let request = job(&others, fire).timeout(LIMIT);
                    // The first of them fails, so that the others race.
                    let body = async |_: &LockGuard| {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok::<_, Error>(())
                    };
                    request.run(body).await
                })
            })
            .collect();
        let failed = job(&locks, fire).timeout(LIMIT).run(async |_| Err::<(), _>(Error::ShutDown)).await;
        assert!(matches!(failed, Err(Error::ShutDown) | Ok(Run::Skipped(_))));
        let (ran, took) = timed(futures::future::join_all(waiting)).await;
        let ran = ran.into_iter().filter(|ran| matches!(ran, Ok(Ok(Run::Ran(()))))).count();
        assert_eq!(ran, 1);
        assert!(took < RARE_POLL / 2, "all of them were woken, {took:?}");
    }
}

#[tokio::test]
async fn a_fire_costs_as_many_commands_as_a_lock() {
    let server = RedisServer::start();
    // Nothing is asked in the background.
    let locks = unhurried().nodes([server.url()]).owner_label("").build().unwrap();
    new_on(&locks).await;
    // Once, so that the server knows the scripts.
    assert_eq!(run(job(&locks, 1)).await.unwrap(), Run::Ran(Some(1)));
    let counts = || {
        let counts = server.probe().command_counts();
        counts.of("evalsha") + counts.of("eval")
    };
    let before = counts();
    assert_eq!(run(job(&locks, 2)).await.unwrap(), Run::Ran(Some(2)));
    assert_eq!(counts() - before, 2, "an acquire and a completion that releases");
    let monitor = Monitor::start(&server);
    assert_eq!(run(job(&locks, 2)).await.unwrap(), already_ran(2));
    let sent = monitor.sent_about(&key("job"));
    assert!(!sent.is_empty() && sent.len() <= 2, "an attempt, and its release behind it: {sent:?}");
}

#[tokio::test]
async fn what_holds_no_mark_is_named_and_left_alone() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    servers[0].probe().set(&mark("job"), "yesterday");
    servers[1].probe().del(&mark("job"));
    servers[1].probe().append(&mark("job"), "a list");
    let error = causes(&run(job(&locks, 7)).await.unwrap_err());
    assert_eq!(error.matches(&mark("job")).count(), 2, "{error}");
    servers[1].probe().del(&mark("job"));
    servers[1].probe().set_for(&mark("job"), "6:1", WEEK);
    assert_eq!(run(job(&locks, 7).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(7)));
    assert_eq!(servers[0].probe().get(&mark("job")).as_deref(), Some("yesterday"));
    no_key_is_left(&servers).await;
}

#[tokio::test]
async fn a_mark_is_compared_as_a_number_and_never_becomes_smaller() {
    let servers = Servers::start(1);
    let locks = new_job(&servers).await;
    for fire in [9, 10, 99, 100, 999_999, 1_000_000, (1 << 53) - 2, (1 << 53) - 1] {
        assert_eq!(run(job(&locks, fire)).await.unwrap(), Run::Ran(Some(fire)));
        for earlier in [1, fire / 2, fire - 1, fire] {
            assert_eq!(run(job(&locks, earlier)).await.unwrap(), already_ran(fire), "{earlier}");
        }
    }
    servers[0].probe().set_for(&mark("job"), "0007:1", WEEK);
    assert_eq!(run(job(&locks, 6)).await.unwrap(), already_ran(7));
    let guard = job(&locks, 10).acquire().await.unwrap();
    // As whoever else would, whose fire is later.
    servers[0].probe().set_for(&mark("job"), "11:5", WEEK / 2);
    guard.complete().await.unwrap();
    assert_eq!(marks(&servers), [Some("11:5".to_owned())]);
    let kept = servers[0].probe().pttl(&mark("job")).remaining().unwrap();
    assert!(kept > WEEK / 2, "it was written again, {kept:?}");
    assert!(!servers[0].probe().exists(&key("job")));
}

#[tokio::test]
async fn the_key_stays_for_min_hold_behind_a_completion() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    let request = job(&locks, 7).min_hold(Duration::from_secs(60));
    assert_eq!(run(request).await.unwrap(), Run::Ran(Some(7)));
    assert!(locks.lock("job").try_acquire().await.unwrap().is_none(), "it is kept");
    // A node that is slow still says that it is held, and no more.
    all_are_marked(&servers, 7).await;
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(7), "the refusals tell");
    assert_eq!(run(job(&locks, 8)).await.unwrap(), Run::Skipped(SkipReason::HeldElsewhere));
}

#[tokio::test]
async fn a_run_that_fails_or_dies_is_made_up_for_whatever_min_hold_says() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let request = || job(&locks, 7).min_hold(HOUR);
    for end in ["error", "released", "dropped", "crash"] {
        let standing_by = match end {
            "error" => {
                let failed = request().run(async |_| Err::<(), _>(Error::ShutDown)).await;
                assert!(matches!(failed, Err(Error::ShutDown)), "{failed:?}");
                job(&others, 7)
            }
            "released" => {
                request().acquire().await.unwrap().release().await.unwrap();
                job(&others, 7)
            }
            "dropped" => {
                drop(request().acquire().await.unwrap());
                job(&others, 7).timeout(LIMIT)
            }
            _ => {
                mem::forget(request().ttl(Duration::from_secs(2)).renew(false).acquire().await.unwrap());
                for server in &servers {
                    let kept = server.probe().pttl(&key("job")).remaining();
                    assert!(kept.is_none_or(|kept| kept <= Duration::from_secs(2)), "{kept:?}");
                }
                job(&others, 7).timeout(LIMIT)
            }
        };
        assert_eq!(run(standing_by).await.unwrap(), Run::Ran(Some(7)), "{end}");
        all_is_delivered(&servers).await;
        assert!(locks.reset_marks("job").await.unwrap() > 1, "{end}");
    }
    // What is marked before it starts is run by nobody else, however it ends.
    drop(request().once_at(OnceAt::Start).acquire().await.unwrap());
    assert_eq!(run(job(&others, 8)).await.unwrap(), Run::Skipped(SkipReason::HeldElsewhere));
    // It still has the guard that was forgotten, and would look for its servers for ever.
    let _ = locks.shutdown_within(Duration::ZERO).await;
}

#[tokio::test]
async fn who_learns_that_the_fire_already_ran_leaves_no_key_for_min_hold() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    all_is_delivered(&servers).await;
    // It has no mark, so it grants: until that is given back, which whoever ends now does not see.
    servers[2].probe().set_for(&mark("job"), "0:0", WEEK);
    let monitor = Monitor::start(&servers[2]);
    assert_eq!(run(job(&locks, 7).min_hold(HOUR).ttl(Duration::from_secs(20))).await.unwrap(), already_ran(7));
    locks.shutdown().await;
    let done = monitor.done_about(&key("job"));
    let set: Vec<_> = done.iter().filter(|line| line.contains(" lua] ") && line.contains("\"NX\"")).collect();
    assert!(!set.is_empty() && set.iter().all(|line| line.contains("\"20000\"")), "{done:?}");
}

#[tokio::test]
async fn who_holds_the_lock_without_a_fire_excludes_and_marks_nothing() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    // As a Python process does.
    for server in &servers {
        server.probe().set_for(&key("job"), "3f1c6a5e-6c55-4b6b-9c7c-0c5f5d6f2a11", Duration::from_secs(5));
    }
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Skipped(SkipReason::HeldElsewhere));
    assert_eq!(run(job(&locks, 7).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(7)));
    locks.lock("job").acquire().await.unwrap().release().await.unwrap();
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(7));
}

#[tokio::test]
async fn marks_outlive_a_reset_of_the_lock_and_people_see_them() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    let _guard = locks.lock("job").renew(false).acquire().await.unwrap();
    assert!(locks.reset("job").await.unwrap() > 0);
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(7));
    let info = locks.inspect("job").await.unwrap();
    assert_eq!(info.last_run.map(|last| last.fire), Some(7));
    assert!(info.to_string().contains("last completed fire 7"), "{info}");
    assert_eq!(locks.inspect("another").await.unwrap().last_run, None);
    all_is_delivered(&servers).await;
    assert!(locks.reset_marks("job").await.unwrap() > 1);
    assert_eq!(locks.inspect("job").await.unwrap().last_run, None);
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    servers[0].hang();
    let error = locks.reset_marks("job").await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "one of them still has it: {error}");
    servers[0].resume();
}

#[tokio::test]
async fn a_lock_with_a_fire_is_not_detached_and_one_without_completes_none() {
    let servers = Servers::start(1);
    let locks = new_job(&servers).await;
    let guard = job(&locks, 7).acquire().await.unwrap();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.detach())).unwrap_err();
    let told = refused.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(told.contains("complete()"), "{told}");
    eventually_async("it is released", async || servers.holding(&key("job")) == 0).await;

    let guard = locks.lock("job").acquire().await.unwrap();
    assert_eq!(guard.fire(), None);
    let error = guard.complete().await.unwrap_err();
    assert!(error.to_string().contains("`once`"), "{error}");
    eventually_async("it is released", async || servers.holding(&key("job")) == 0).await;
}

#[tokio::test]
async fn fires_that_cannot_be_are_refused_with_the_cure() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let now = time_of_day();
    for (fire, expect) in [
        (Fire::from(0), "count from 1"),
        (Fire::from(1 << 53), "up to 2^53 - 1"),
        (Fire::at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "before 1970"),
        (Fire::at(now + Duration::from_secs(3600)), "too early"),
        (Fire::every(Duration::from_millis(999)), "at least 1s"),
        (Fire::every(8 * WEEK), "`marks_retention`"),
    ] {
        let error = run(locks.lock("job").once(fire).timeout(Timeout::Skip)).await.unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && error.to_string().contains(expect), "{error}");
    }
    for retention in [WEEK / 2, Duration::MAX] {
        let error = unhurried().nodes(servers.urls()).marks_retention(retention).build().unwrap_err();
        assert!(error.to_string().contains("marks_retention"), "{error}");
    }
    let long = unhurried().nodes(servers.urls()).marks_retention(9 * WEEK).build().unwrap();
    assert_eq!(long.reset_marks("job").await.unwrap(), 0);
    assert!(matches!(run(long.lock("job").once(8 * WEEK)).await, Ok(Run::Ran(_))));
    let kept = servers[0].probe().pttl(&mark("job")).remaining().unwrap();
    assert!(kept > 8 * WEEK, "{kept:?}");
}

#[tokio::test]
async fn a_body_that_ends_in_the_time_of_a_shutdown_completes_its_fire() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let (go_on, told) = tokio::sync::oneshot::channel::<()>();
    let guard = job(&locks, 7).acquire().await.unwrap();
    let running = tokio::spawn(async move {
        let _ = told.await;
        guard.complete().await
    });
    let shutting_down = tokio::spawn({
        let locks = locks.clone();
        async move { locks.shutdown_within(LIMIT).await }
    });
    eventually_async("it is shut down", async || matches!(job(&locks, 7).acquire().await, Err(Error::ShutDown))).await;
    go_on.send(()).unwrap();
    running.await.unwrap().unwrap();
    let report = shutting_down.await.unwrap();
    assert_eq!((report.unconfirmed, report.still_held.len()), (0, 0));
    assert_eq!(run(job(&others, 7)).await.unwrap(), already_ran(7));
}

#[tokio::test]
async fn a_fire_runs_once_on_a_service_with_sentinels_and_after_its_failover() {
    let service = Sentinel::start();
    let builder = unhurried().nodes([service.url()]).wait_replicas(1, Duration::from_millis(150));
    a_fire_runs_once(builder.clone()).await;
    service.force_failover();
    let locks = builder.build().unwrap();
    assert_eq!(run(job(&locks, 9).timeout(LIMIT)).await.unwrap(), already_ran(9), "the replica has the mark");
}

#[tokio::test]
async fn a_fire_runs_once_on_a_cluster_with_its_mark_in_the_slot_of_the_lock() {
    let cluster = Cluster::start();
    a_fire_runs_once(unhurried().nodes([cluster.url()])).await;
    assert_eq!(cluster.slot_of(&mark("job")), cluster.slot_of(&key("job")));
    let locks = unhurried().nodes([cluster.url()]).build().unwrap();
    let slot = cluster.slot_of(&key("job"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    // The mark is still here, the lock is nowhere: it is to be tried again.
    assert!(!matches!(run(job(&locks, 9)).await, Ok(Run::Ran(_))));
    migration.move_keys();
    assert_eq!(run(job(&locks, 9).timeout(LIMIT)).await.unwrap(), already_ran(9), "moved");
    migration.finish();
    assert_eq!(run(job(&locks, 9).timeout(LIMIT)).await.unwrap(), already_ran(9));
    assert_eq!(run(job(&locks, 10).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(10)));
}

#[tokio::test]
async fn a_user_who_may_not_touch_marks_gets_no_lock_for_a_fire_and_any_other() {
    let rules = "~redlock:* ~redlock-fence:* +eval +evalsha +get +set +del +pttl +pexpire +incr +incrby +info";
    let server = RedisServer::start_as(&Setup::new().with_user("app", "s3cret", rules));
    let locks = unhurried().nodes([server.url()]).in_doubt(InDoubt::Run).build().unwrap();
    locks.lock("job").acquire().await.unwrap().release().await.unwrap();
    let error = causes(&run(job(&locks, 7)).await.unwrap_err());
    assert!(error.contains("NOPERM") || error.contains("permission"), "{error}");
    let server = RedisServer::start_as(&Setup::new().with_user("app", "s3cret", &format!("{rules} ~redlock-done:*")));
    a_fire_runs_once(unhurried().nodes([server.url()])).await;
}

#[tokio::test]
async fn a_server_that_answers_nonsense_about_a_mark_has_no_vote() {
    let servers = Servers::start(1);
    let gateway = Gateway::start(&servers[0]);
    let locks = unhurried().nodes([gateway.url()]).build().unwrap();
    new_on(&locks).await;
    assert_eq!(run(job(&locks, 1)).await.unwrap(), Run::Ran(Some(1)));
    for nonsense in [
        "*2\r\n:5\r\n:7\r\n",
        "*2\r\n:0\r\n$-1\r\n",
        "*1\r\n:0\r\n",
        "*1\r\n$1\r\n5\r\n",
        ":0\r\n",
        "*3\r\n:0\r\n:5\r\n$3\r\n6:1\r\n",
        "*3\r\n:1\r\n:5\r\n$3\r\n6:x\r\n",
        "*3\r\n:1\r\n:5\r\n:6\r\n",
        "*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
        "$7\r\n0 5 7:1\r\n",
        "$5\r\n5 7:1\r\n",
        "$7\r\n5 x 7:1\r\n",
        "$5\r\n5 5 7\r\n",
    ] {
        gateway.answer("EVALSHA", Answer::raw(nonsense));
        let error = run(job(&locks, 7)).await.unwrap_err();
        assert!(matches!(error, Error::QuorumUnreachable { .. }), "{nonsense:?}: {error}");
    }
}
