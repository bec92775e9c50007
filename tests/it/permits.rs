//! Locks that several hold at once, on real servers: never more than there are permits, and none of them left idle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LockRequest, LockState, LostReason, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Monitor, Servers};

use crate::common::cycles::patient;
use crate::common::kinds::slot;
use crate::common::polls::poll_and_drop;
use crate::common::waiters::{Asked, LONG};
use crate::common::{RARE_POLL, manager, unhurried};

/// Somebody who does not wait for one of so many permits of "x".
fn one_of(locks: &LockManager, permits: u32) -> LockRequest {
    locks.lock("x").permits(permits).ttl(LONG).timeout(Timeout::Skip)
}

/// Somebody who waits.
fn waits_for(locks: &LockManager, permits: u32) -> LockRequest {
    one_of(locks, permits).timeout(LIMIT)
}

/// All permits, which are free.
async fn all_of(locks: &LockManager, permits: u32) -> Vec<LockGuard> {
    let mut guards = Vec::new();
    for _ in 0..permits {
        guards.push(one_of(locks, permits).acquire().await.expect("not all permits are held"));
    }
    guards
}

/// How many keys of permits any server has.
fn left(servers: &Servers) -> usize {
    servers.iter().map(|server| server.probe().keys_like("redlock-permit-*").len()).sum()
}

async fn nothing_left(servers: &Servers) {
    eventually_async("no permit is left", async || left(servers) == 0).await;
}

#[tokio::test]
async fn as_many_hold_it_at_once_as_there_are_permits_and_each_has_another_one() {
    for (count, permits) in [(1, 1), (1, 3), (3, 1), (3, 2), (3, 7), (5, 4), (1, 64)] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let mut guards = all_of(&locks, permits).await;
        let held: BTreeSet<_> = guards.iter().map(LockGuard::permit).collect();
        assert_eq!(held, (0..permits).collect(), "{count} servers");
        for locks in [&locks, &others] {
            assert!(one_of(locks, permits).try_acquire().await.unwrap().is_none(), "{permits} on {count} servers");
        }
        let given_back = guards.swap_remove(guards.len() / 2);
        let permit = given_back.permit();
        given_back.release().await.unwrap();
        let guard = one_of(&others, permits).acquire().await.expect("one was given back");
        assert_eq!(guard.permit(), permit);
        guards.push(guard);
        for guard in guards {
            guard.release().await.unwrap();
        }
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn a_permit_is_a_lock_of_its_own_with_ttl_token_renewal_and_loss() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = one_of(&locks, 2).ttl(Duration::from_secs(20)).acquire().await.unwrap();
    let key = slot("x", guard.permit());
    eventually_async("every node holds the key", async || servers.holding(&key) == 3).await;
    let remaining = || servers[0].probe().pttl(&key).remaining().unwrap();
    assert!(remaining() <= Duration::from_secs(20) && remaining() > Duration::from_secs(15));
    guard.extend(Duration::from_secs(200)).await.unwrap();
    eventually_async("it was extended", async || remaining() > Duration::from_secs(100)).await;
    servers.iter().for_each(|server| server.probe().set(&key, "somebody"));
    assert!(matches!(guard.extend(LONG).await, Err(Error::Lost { .. })));
    assert!(!guard.is_valid());
    drop(guard);
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let guard = one_of(&locks, 2).acquire().await.expect("the other permit is free");
        tokens.push(guard.fencing_token());
        guard.release().await.unwrap();
    }
    assert!(tokens.is_sorted_by(|one, other| one < other) && tokens[0] > 0, "{tokens:?}");
    assert_eq!(servers.values(&key).into_iter().flatten().count(), 3, "the other's key is left alone");
}

#[tokio::test]
async fn a_permit_is_renewed_while_it_is_held_and_expires_when_its_holder_is_gone() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    // A busy machine may be two seconds late with a renewal.
    let ttl = Duration::from_secs(4);
    let held = one_of(&locks, 2).ttl(ttl).acquire().await.unwrap();
    let left_alone = one_of(&locks, 2).ttl(ttl).renew(false).acquire().await.unwrap();
    let permit = left_alone.permit();
    let next = waits_for(&others, 2).acquire().await.unwrap();
    assert_eq!(next.permit(), permit);
    assert!(held.is_valid() && !left_alone.is_valid());
}

#[tokio::test]
async fn a_waiter_is_woken_by_the_release_of_any_permit() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for released in 0..3 {
        let mut guards = all_of(&locks, 3).await;
        let asked = Asked::so_far(&servers);
        let waiter = tokio::spawn(waits_for(&others, 3).acquire());
        asked.again().await;
        assert!(!waiter.is_finished());
        let position = guards.iter().position(|guard| guard.permit() == released).unwrap();
        let (guard, took) = timed(async {
            guards.swap_remove(position).release().await.unwrap();
            waiter.await.unwrap().unwrap()
        })
        .await;
        assert!(took < RARE_POLL / 2, "{took:?}");
        assert_eq!(guard.permit(), released);
        drop((guard, guards));
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn a_waiter_that_was_refused_asks_once_for_all_permits_and_not_for_each() {
    let servers = Servers::start(1);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guards = all_of(&locks, 16).await;
    drop(waits_for(&others, 16).timeout(Duration::from_millis(50)).acquire().await.unwrap_err());
    let (monitor, asked) = (Monitor::start(&servers[0]), Asked::so_far(&servers));
    let waiter = tokio::spawn(waits_for(&others, 16).acquire());
    asked.again().await;
    let sent = monitor.sent_about("EVALSHA").into_iter().filter(|sent| sent.contains("redlock-permits:{"));
    let sent: Vec<_> = sent.collect();
    assert!(sent.len() <= 2, "one that is not watched, and one that is: {sent:?}");
    drop(guards);
    drop(waiter.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_waiter_is_woken_by_the_release_of_any_permit_where_servers_do_not_track_keys() {
    let servers = Servers::start(1);
    let untracked = || {
        let urls = servers.urls().into_iter().map(|url| format!("{url}?protocol=resp2"));
        unhurried().nodes(urls).slow_poll(RARE_POLL).build().unwrap()
    };
    let (locks, others) = (untracked(), untracked());
    let mut guards = all_of(&locks, 64).await;
    let waiter = tokio::spawn(waits_for(&others, 64).acquire());
    eventually_async("it has subscribed to all", async || {
        servers[0].probe().client_list().iter().any(|client| client.contains(" sub=128 "))
    })
    .await;
    // It has asked since, or asks in a moment.
    eventually_async("it is counted", async || crate::common::waiting(&locks, "x").await == 1).await;
    let (guard, took) = timed(async {
        guards.swap_remove(17).release().await.unwrap();
        waiter.await.unwrap().unwrap()
    })
    .await;
    assert!(took < RARE_POLL / 2, "{took:?}");
    drop((guard, guards));
}

#[tokio::test]
async fn waiters_of_one_process_get_permits_in_the_order_in_which_they_came() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut guards = all_of(&locks, 2).await;
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..6 {
        let (request, order) = (waits_for(&locks, 2), Arc::clone(&order));
        let mut acquiring = Box::pin(async move {
            let guard = request.acquire().await.unwrap();
            order.lock().unwrap().push(number);
            guard.release().await.unwrap();
        });
        // It stands in line from its first poll on.
        assert!(futures::poll!(acquiring.as_mut()).is_pending());
        waiters.push(tokio::spawn(acquiring));
    }
    guards.pop();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn never_more_hold_it_than_there_are_permits_however_many_want_it() {
    let servers = Servers::start(3);
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shards: Arc<Vec<AtomicUsize>> = Arc::new((0..3).map(|_| AtomicUsize::new(0)).collect());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let locks = manager(&servers);
        for _ in 0..3 {
            let (locks, inside, most, shards) =
                (locks.clone(), Arc::clone(&inside), Arc::clone(&most), Arc::clone(&shards));
            tasks.push(tokio::spawn(async move {
                for _ in 0..4 {
                    let guard = waits_for(&locks, 3).acquire().await.unwrap();
                    let shard = &shards[usize::try_from(guard.permit()).unwrap()];
                    assert_eq!(shard.fetch_add(1, Ordering::SeqCst), 0, "two have the same permit");
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    shard.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
    nothing_left(&servers).await;
}

#[tokio::test]
async fn of_two_numbers_the_greater_counts() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let few = all_of(&locks, 2).await;
    assert!(one_of(&locks, 2).try_acquire().await.unwrap().is_none());
    let mut more = vec![one_of(&others, 4).acquire().await.expect("two more permits are free")];
    // Whoever says fewer learns of it.
    more.push(one_of(&locks, 2).acquire().await.expect("somebody says that there are four"));
    for (locks, permits) in [(&locks, 2), (&others, 4)] {
        assert!(one_of(locks, permits).try_acquire().await.unwrap().is_none());
    }
    let permits: BTreeSet<_> = few.iter().chain(&more).map(LockGuard::permit).collect();
    assert_eq!(permits, (0..4).collect());
}

#[tokio::test]
async fn a_waiter_that_says_fewer_is_woken_by_the_release_of_a_permit_that_it_did_not_know() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let mut guards = all_of(&locks, 3).await;
    let asked = Asked::so_far(&servers);
    let waiter = tokio::spawn(waits_for(&others, 1).acquire());
    asked.again().await;
    let last = guards.iter().position(|guard| guard.permit() == 2).unwrap();
    let (guard, took) = timed(async {
        guards.swap_remove(last).release().await.unwrap();
        waiter.await.unwrap().unwrap()
    })
    .await;
    assert!(took < RARE_POLL / 2, "{took:?}");
    assert_eq!(guard.permit(), 2);
}

#[tokio::test]
async fn a_lock_without_permits_is_another_lock() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let plain = locks.lock("x").try_acquire().await.unwrap().expect("it is free");
    let permit = one_of(&locks, 1).try_acquire().await.unwrap().expect("it is free, too");
    assert_eq!((plain.permit(), permit.permit()), (0, 0));
}

#[tokio::test]
async fn the_least_time_of_a_permit_keeps_that_one_and_no_other() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let kept = one_of(&locks, 2).min_hold(LONG).acquire().await.unwrap();
    let permit = kept.permit();
    kept.release().await.unwrap();
    let guard = one_of(&locks, 2).acquire().await.expect("the other permit is free");
    assert_ne!(guard.permit(), permit);
    assert!(one_of(&locks, 2).try_acquire().await.unwrap().is_none());
    let is_kept = || servers[0].probe().get(&slot("x", permit)).is_some_and(|owner| owner.ends_with(":released"));
    eventually_async("its release has reached each server", async || is_kept()).await;
}

#[tokio::test]
async fn what_a_node_granted_astray_is_given_back_at_once() {
    let servers = Servers::start(3);
    // Each server has another permit free, so that the nodes disagree whatever is wanted first.
    for (server, free) in servers.iter().zip([0, 1, 1]) {
        for permit in (0..3).filter(|permit| *permit != free) {
            server.probe().set(&slot("x", permit), "somebody");
        }
    }
    let guard = one_of(&manager(&servers), 3).acquire().await.expect("a majority has the second permit free");
    assert_eq!(guard.permit(), 1);
    let others = || servers[0].probe().get(&slot("x", 0));
    eventually_async("the first server's grant is given back", async || others().is_none()).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
    let somebody = |key: String| servers.values(&key).into_iter().flatten().filter(|owner| owner == "somebody").count();
    assert_eq!((0..3).map(|permit| somebody(slot("x", permit))).collect::<Vec<_>>(), [2, 1, 3]);
}

#[tokio::test]
async fn where_nodes_disagree_one_permit_is_asked_for_that_a_majority_has_free() {
    let servers = Servers::start(3);
    // Each has two permits free, one of which it has in common with each other one: no order has them agree on all.
    for (server, taken) in servers.iter().zip([0, 1, 2]) {
        server.probe().set(&slot("x", taken), "somebody");
    }
    for _ in 0..20 {
        let guard = one_of(&manager(&servers), 3).acquire().await.expect("two servers have any permit free");
        guard.release().await.unwrap();
    }
    eventually_async("nothing but somebody's keys is left", async || left(&servers) == 3).await;
}

#[tokio::test]
async fn numbers_that_cannot_be_are_refused_with_the_cure() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for permits in [0, 65, u32::MAX] {
        let error = locks.lock("x").permits(permits).acquire().await.unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("1 to 64")), "{error}");
    }
    let error = locks.lock("x").permits(2).once(7).timeout(Timeout::Skip).acquire().await.unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("`once` together with `permits`")), "{error}");
}

#[tokio::test]
async fn memory_nodes_have_permits_as_servers_have() {
    let builder = LockManager::builder().nodes(["memory://permits-a", "memory://permits-b", "memory://permits-c"]);
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let mut guards = all_of(&locks, 3).await;
    assert!(one_of(&others, 3).try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(waits_for(&others, 3).acquire());
    guards.pop().unwrap().release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    let guard = one_of(&locks, 3).acquire().await.unwrap();
    assert!(guard.fencing_token() > 0);
}

#[test]
fn an_acquire_for_which_nodes_disagree_dropped_after_any_number_of_polls_leaves_no_key() {
    let servers = Servers::start(3);
    for (server, taken) in servers.iter().zip([0, 1, 2]) {
        server.probe().set(&slot("x", taken), "somebody");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut completed = 0;
    for polls in 0.. {
        let locks = manager(&servers);
        runtime.block_on(async {
            drop(one_of(&locks, 3).acquire().await.unwrap());
            let is_done = poll_and_drop(one_of(&locks, 3).acquire(), polls).await.is_some();
            completed += usize::from(is_done);
            eventually_async(format!("nothing but somebody's keys is left after {polls} polls"), async || {
                left(&servers) == 3
            })
            .await;
        });
        if completed == 3 {
            break;
        }
        assert!(polls < 200, "the acquisition never completes");
    }
}

/// Where permits are mostly free, one round is mostly enough. On a busy machine servers fall behind each other, and then nodes do not agree
/// which are free: of several crowds one is not disturbed.
#[tokio::test]
async fn with_half_of_the_permits_free_little_more_than_one_round_is_made_for_each() {
    const CROWDS: usize = 5;
    let servers = Servers::start(3);
    let processes: Vec<_> = (0..8).map(|_| patient(servers.urls())).collect();
    let mut rounds = Vec::new();
    while rounds.len() < CROWDS && rounds.last().is_none_or(|thousandths| *thousandths > 1300) {
        rounds.push(thousandths_of_a_round(&servers, &processes).await);
    }
    println!("{rounds:?} thousandths of a round per acquisition");
    assert!(
        rounds.last().is_some_and(|thousandths| *thousandths <= 1300),
        "{rounds:?} thousandths of a round per acquisition"
    );
}

/// What eight processes take for each of the permits that they acquire, of twice as many.
async fn thousandths_of_a_round(servers: &Servers, processes: &[LockManager]) -> u64 {
    const PERMITS: u32 = 16;
    const TURNS: u64 = 200;
    for locks in processes {
        one_of(locks, PERMITS).acquire().await.unwrap().release().await.unwrap();
    }
    let before = scripts(servers);
    let work = processes.iter().cloned().enumerate().map(|(who, locks)| async move {
        for turn in 0..TURNS {
            let (guard, took) = timed(one_of(&locks, PERMITS).acquire()).await;
            let guard = guard.expect("at most eight of sixteen are held");
            // Longer than a round: a permit whose release is under way on a slow server is not free yet.
            tokio::time::sleep(2 * took + Duration::from_millis(10 + (turn * 7 + who as u64 * 3) % 10)).await;
            guard.release().await.unwrap();
        }
    });
    futures::future::join_all(work.map(tokio::spawn)).await.into_iter().for_each(Result::unwrap);
    nothing_left(servers).await;
    // Each round is a script that acquires on each server, and what was acquired is released by another.
    (scripts(servers) - before) * 1000 / 3 / (processes.len() as u64 * TURNS) - 1000
}

fn scripts(servers: &Servers) -> u64 {
    servers.iter().map(|server| server.probe().command_counts().of("evalsha")).sum()
}

#[tokio::test]
async fn people_see_who_holds_which_permit_and_can_take_one_or_all() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    people_see_and_take(&servers, &locks, &others).await;
    nothing_left(&servers).await;
}

async fn people_see_and_take(servers: &Servers, locks: &LockManager, others: &LockManager) {
    assert!(locks.inspect("x").await.unwrap().permits.is_empty());
    let guards = [one_of(locks, 3).owner_label("here"), one_of(others, 3).owner_label("there")];
    let [here, there] = guards.map(LockRequest::acquire);
    let (here, there) = (here.await.unwrap(), there.await.unwrap());
    let permit = |guard: &LockGuard| usize::try_from(guard.permit()).unwrap();
    eventually_async("both are noted", async || {
        let noted = others.inspect("x").await.unwrap().permits;
        noted.iter().filter(|permit| permit.owner_label.is_some()).count() == 2
    })
    .await;
    let seen = others.inspect("x").await.unwrap();
    assert_eq!(seen.permits.len(), 3);
    assert!(!seen.is_locked(), "the lock without permits is free");
    for (guard, label) in [(&here, "here"), (&there, "there")] {
        let seen = &seen.permits[permit(guard)];
        assert_eq!((seen.permit, seen.state, seen.votes), (guard.permit(), LockState::Held, servers.len()));
        assert_eq!((seen.owner_label.as_deref(), seen.fencing_token), (Some(label), Some(guard.fencing_token())));
        assert!(seen.held_for.is_some() && seen.remaining.is_some_and(|remaining| remaining <= LONG));
    }
    let free = seen.permits.iter().find(|permit| !permit.is_taken()).expect("one of three is free");
    assert_eq!(free.state, LockState::Free);
    assert!(seen.to_string().contains("2 of 3 permits taken"), "{seen}");
    let _plain = locks.lock("plain").acquire().await.unwrap();
    assert_eq!(crate::common::listed(others).await, ["plain", "x"]);

    assert_eq!(locks.reset_permit("x", free.permit).await.unwrap(), 0);
    assert_eq!(locks.reset_permit("x", here.permit()).await.unwrap(), servers.len());
    assert!(matches!(here.extend(LONG).await, Err(Error::Lost { reason: LostReason::Reset, .. })));
    there.extend(LONG).await.expect("it was another permit");
    let guards = [one_of(locks, 3).acquire().await.unwrap(), one_of(others, 3).acquire().await.unwrap()];
    eventually_async("every node has all three", async || {
        let info = others.inspect("x").await.unwrap();
        info.permits.iter().map(|permit| permit.votes).sum::<usize>() == 3 * servers.len()
    })
    .await;
    let asked = Asked::so_far(servers);
    let waiter = tokio::spawn(waits_for(others, 3).acquire());
    asked.again().await;
    assert_eq!(locks.reset("x").await.unwrap(), 3 * servers.len());
    waiter.await.unwrap().expect("whoever waits gets one").release().await.unwrap();
    assert!(!guards[0].is_valid(), "whoever holds one here is told at once");
    for beyond in [64, 256, u32::MAX] {
        let error = locks.reset_permit("x", beyond).await.unwrap_err();
        let expect = format!("permit {beyond}: permits are counted from 0 to 63");
        assert!(matches!(&error, Error::Config { reason } if *reason == expect), "{error}");
    }
    assert_eq!(locks.reset_permit("x", 63).await.unwrap(), 0, "nobody holds the last that can be");
    assert_eq!(locks.reset_all().await.unwrap(), 1, "what is left is the lock without permits");
}

#[tokio::test]
async fn those_who_wait_for_permits_are_counted_together() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let _held = all_of(&locks, 2).await;
    let waiters: Vec<_> = [&locks, &others, &others].map(|locks| tokio::spawn(waits_for(locks, 2).acquire())).into();
    eventually_async("all three are counted", async || crate::common::waiting(&locks, "x").await == 3).await;
    assert_eq!(others.inspect("x").await.unwrap().waiting, 3);
    waiters.iter().for_each(tokio::task::JoinHandle::abort);
    eventually_async("none is counted any more", async || crate::common::waiting(&locks, "x").await == 0).await;
}

#[tokio::test]
#[should_panic(expected = "a permit cannot be detached")]
async fn a_permit_is_not_detached() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let _ = one_of(&locks, 2).acquire().await.unwrap().detach();
}
