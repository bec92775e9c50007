//! A lock that one task of a process lets go is another's without a word to the nodes.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use redlock_runtime::{Error, InDoubt, LockGuard, LockManager, LockManagerBuilder, LostReason};
use redlock_tests::clock::{now, timed};
use redlock_tests::wait::eventually_async;
use redlock_tests::{RedisServer, Servers};
use tokio::sync::Barrier;

use crate::common::seen::Seen;
use crate::common::waiters::{Acquire, LONG, in_line, poll_once};
use crate::common::{RARE_POLL, all_have_x, key, none_has_x, unhurried};

const TASKS: usize = 8;

fn builder(servers: &Servers) -> LockManagerBuilder {
    // A busy machine is no reason to give a node up.
    let builder = unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(2));
    builder.slow_poll(RARE_POLL).in_doubt(InDoubt::Run)
}

fn manager(servers: &Servers) -> LockManager {
    builder(servers).build().unwrap()
}

/// What some tasks did that took turns for a while.
#[derive(Default)]
struct Crowd {
    inside: AtomicBool,
    /// The tokens in the order in which they were had.
    tokens: Mutex<Vec<u64>>,
    /// How many turns each task had.
    turns: Mutex<Vec<usize>>,
    is_over: AtomicBool,
    longest_wait: AtomicU64,
    /// How long each turn lasts.
    hold: Duration,
    /// Whose turn it was, by manager, for each turn.
    managers: Mutex<Vec<usize>>,
}

impl Crowd {
    async fn take_turns(self: Arc<Self>, (manager, locks): (usize, LockManager), most: usize, begin: Arc<Barrier>) {
        let mut turns = 0;
        begin.wait().await;
        while !self.is_over.load(Ordering::Relaxed) {
            let (guard, waited) = timed(locks.lock("x").ttl(LONG).acquire()).await;
            let guard = guard.unwrap();
            self.longest_wait.fetch_max(u64::try_from(waited.as_micros()).unwrap(), Ordering::Relaxed);
            assert!(!self.inside.swap(true, Ordering::SeqCst), "two are inside");
            assert!(guard.is_valid() && guard.remaining() > LONG / 3, "{:?}", guard.remaining());
            if self.note(guard.fencing_token()) >= most {
                self.is_over.store(true, Ordering::Relaxed);
            }
            self.managers.lock().unwrap().push(manager);
            if !self.hold.is_zero() {
                tokio::time::sleep(self.hold).await;
            } else if turns % 7 == 0 {
                tokio::task::yield_now().await;
            }
            turns += 1;
            assert!(self.inside.swap(false, Ordering::SeqCst));
            if turns % 3 == 0 && self.hold.is_zero() { drop(guard) } else { guard.release().await.unwrap() }
        }
        self.turns.lock().unwrap().push(turns);
    }

    /// How many there are.
    fn note(&self, token: u64) -> usize {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.push(token);
        tokens.len()
    }

    fn check_tokens_grow(&self) -> usize {
        let tokens = self.tokens.lock().unwrap();
        assert!(tokens.is_sorted_by(|one, next| one < next), "some token is not greater than the one before");
        tokens.len()
    }

    /// The fewest turns that a task had, by the most.
    fn fairness(&self) -> f64 {
        let turns = self.turns.lock().unwrap();
        let (fewest, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
        f64::from(u32::try_from(*fewest).unwrap()) / f64::from(u32::try_from(*most).unwrap())
    }
}

/// How many scripts a server ran.
fn scripts(server: &RedisServer) -> u64 {
    let counts = server.probe().command_counts();
    counts.of("evalsha") + counts.of("eval")
}

fn all_scripts(servers: &Servers) -> u64 {
    servers.iter().map(scripts).sum()
}

/// Lets tasks of these managers take so many turns.
async fn crowd(managers: &[LockManager], tasks: usize, turns: usize) -> Arc<Crowd> {
    let (crowd, begin) = (Arc::<Crowd>::default(), Arc::new(Barrier::new(tasks)));
    let task = |number: usize| {
        let manager = number % managers.len();
        let locks = (manager, managers[manager].clone());
        tokio::spawn(Arc::clone(&crowd).take_turns(locks, turns, Arc::clone(&begin)))
    };
    for ended in join_all((0..tasks).map(task)).await {
        ended.unwrap();
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_process_take_turns_in_order_with_hardly_a_word_to_the_nodes() {
    const TURNS: usize = 4_000;
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        let before = all_scripts(&servers);
        let crowd = crowd(&[locks], TASKS, TURNS).await;
        none_has_x(&servers).await;
        let turns = crowd.check_tokens_grow();
        let asked = f64::from(u32::try_from(all_scripts(&servers) - before).unwrap());
        let each = asked / f64::from(u32::try_from(turns * count).unwrap());
        println!("N = {count}: {each:.3} scripts for each turn and node, fewest by most {:.3}", crowd.fairness());
        assert!(each <= 0.2, "{each}");
        // A task that the machine stops for a moment misses some.
        assert!(crowd.fairness() >= 0.7, "{:?}", crowd.turns);
    }
}

#[tokio::test]
async fn tasks_on_one_thread_have_as_many_turns_each() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let crowd = crowd(&[manager(&servers)], TASKS, 2_000).await;
        println!("N = {count}: fewest by most {:.3}", crowd.fairness());
        assert!(crowd.fairness() >= 0.95, "{:?}", crowd.turns);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_switched_off_each_acquisition_asks_the_nodes() {
    let servers = Servers::start(1);
    let locks = builder(&servers).local_hand_over(false).build().unwrap();
    let before = all_scripts(&servers);
    let crowd = crowd(&[locks], 4, 200).await;
    let turns = crowd.check_tokens_grow();
    assert!(all_scripts(&servers) - before >= 2 * u64::try_from(turns).unwrap() - 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_managers_whose_tasks_take_turns_each_has_its_turns() {
    for (count, is_new) in [(1, true), (3, true), (3, false)] {
        let servers = Servers::start(count);
        // The other may be an older version, which passes nothing on and reserves no tokens.
        let managers = [manager(&servers), builder(&servers).local_hand_over(is_new).build().unwrap()];
        let crowd = crowd(&managers, TASKS, 4_000).await;
        let longest = Duration::from_micros(crowd.longest_wait.load(Ordering::Relaxed));
        let order = std::mem::take(&mut *crowd.managers.lock().unwrap());
        let rows: Vec<_> = order.chunk_by(|one, next| one == next).map(<[usize]>::len).collect();
        let of_second = order.iter().sum::<usize>();
        println!(
            "N = {count}, new {is_new}: fewest by most {:.3}, longest wait {longest:?}, {of_second} of {} turns are the second's, in {} \
             rows of {} at most",
            crowd.fairness(),
            order.len(),
            rows.len(),
            rows.iter().max().unwrap(),
        );
        crowd.check_tokens_grow();
        none_has_x(&servers).await;
        // One that passes nothing on has a turn where the other has many.
        assert!(crowd.fairness() >= if is_new { 0.5 } else { 0.02 }, "{:?}", crowd.turns);
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }
}

/// Somebody who wants the lock as a Python process does: tries again and again, after random pauses, and tells nobody but a counter.
struct Polls<'a> {
    servers: &'a Servers,
    value: &'static str,
}

impl Polls<'_> {
    fn run<T: redis::FromRedisValue>(&self, node: usize, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.servers[node].probe().run(&command).unwrap()
    }

    fn tries(&self) -> bool {
        let set =
            |node: &usize| -> Option<String> { self.run(*node, &["SET", &key("x"), self.value, "NX", "PX", "20000"]) };
        let granted = (0..self.servers.len()).filter(|node| set(node).is_some()).count();
        if granted * 2 <= self.servers.len() {
            self.releases();
        }
        granted * 2 > self.servers.len()
    }

    fn releases(&self) {
        const OWN: &str =
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        for node in 0..self.servers.len() {
            let _: usize = self.run(node, &["EVAL", OWN, "1", &key("x"), self.value]);
        }
    }

    /// Takes the lock once; says how long that took.
    async fn takes(&self, mut pauses: impl Iterator<Item = u64>) -> Duration {
        // It counts itself on any node.
        let (counter, node) = ("Waiting.ConfigurableLock.x", self.servers.len() - 1);
        let mut is_counted = false;
        let waiting = async {
            while !self.tries() {
                if !std::mem::replace(&mut is_counted, true) {
                    let _: i64 = self.run(node, &["INCR", counter]);
                }
                tokio::time::sleep(Duration::from_millis(pauses.next().unwrap())).await;
            }
        };
        let ((), waited) = timed(waiting).await;
        if is_counted {
            let _: i64 = self.run(node, &["DECR", counter]);
        }
        waited
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn somebody_who_polls_gets_its_turn_beside_busy_tasks() {
    for (count, hold) in [(1, 3), (3, 3), (3, 0)] {
        let servers = Servers::start(count);
        let crowd = Arc::new(Crowd { hold: Duration::from_millis(hold), ..Crowd::default() });
        let (locks, begin) = (manager(&servers), Arc::new(Barrier::new(TASKS)));
        let task = |_| {
            let locks = (0, locks.clone());
            tokio::spawn(Arc::clone(&crowd).take_turns(locks, usize::MAX, Arc::clone(&begin)))
        };
        let tasks: Vec<_> = (0..TASKS).map(task).collect();
        eventually_async("they take turns", async || crowd.tokens.lock().unwrap().len() > 100).await;
        let polls = Polls { servers: &servers, value: "python" };
        let mut waits = Vec::new();
        for round in 0..4 {
            let pauses =
                (round..).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).map(|mix| mix % 200);
            waits.push(
                tokio::time::timeout(Duration::from_secs(20), polls.takes(pauses)).await.expect("it gets a turn"),
            );
            assert!(!crowd.inside.swap(true, Ordering::SeqCst), "two are inside");
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(crowd.inside.swap(false, Ordering::SeqCst));
            polls.releases();
        }
        println!("N = {count}, {hold} ms: who polls waited for {waits:?}");
        crowd.is_over.store(true, Ordering::Relaxed);
        join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
        crowd.check_tokens_grow();
    }
}

/// Takes the lock, and has others stand in line behind it so that the next holder's lease can pass on.
struct Line {
    servers: Servers,
    locks: LockManager,
}

impl Line {
    fn of(count: usize) -> Self {
        Self::told_to(count, Seen::default())
    }

    /// Whoever is noted, after a tenth of a second, does not pass on; a busy machine takes longer between two lines of a test.
    fn told_to(count: usize, seen: Seen) -> Self {
        Self::with(count, |builder| builder.observer(seen).owner_label(""))
    }

    /// One whose holders are noted.
    fn of_labelled(count: usize) -> Self {
        Self::with(count, |builder| builder)
    }

    fn with(count: usize, set: impl FnOnce(LockManagerBuilder) -> LockManagerBuilder) -> Self {
        let servers = Servers::start(count);
        let locks = set(builder(&servers)).build().unwrap();
        Self { servers, locks }
    }

    /// A holder whose lease can pass on, and two in line behind it.
    async fn passing(&self, ttl: Duration) -> Result<(LockGuard, Acquire, Acquire), Error> {
        let first = self.locks.lock("x").ttl(ttl).acquire().await?;
        let mut line = [(); 3].map(|()| -> Acquire { Box::pin(self.locks.lock("x").ttl(ttl).acquire()) });
        for waiter in &mut line {
            assert!(poll_once(waiter).is_none());
        }
        first.release().await?;
        let [holder, next, last] = line;
        Ok((holder.await?, next, last))
    }

    /// How often a node was asked to give or to take the lock. A script that counts who waits, or says who holds it, does neither.
    fn asked(&self) -> u64 {
        let asked = |server: &RedisServer| {
            let counts = server.probe().command_counts();
            counts.of("set") + counts.of("del")
        };
        self.servers.iter().map(asked).sum()
    }
}

/// The lock at once: what passes on is there when the one before lets go.
fn had(waiter: &mut Acquire) -> LockGuard {
    poll_once(waiter).expect("it was passed on").unwrap()
}

#[tokio::test]
async fn each_turn_has_a_guard_of_its_own() {
    let line = Line::of(3);
    let (guard, mut next, mut last) = line.passing(LONG).await.unwrap();
    let before = line.asked();
    let first = guard.fencing_token();
    guard.release().await.unwrap();
    let guard = had(&mut next);
    assert_eq!(guard.fencing_token(), first + 1);
    assert!(guard.is_valid() && guard.remaining() > LONG / 2);
    assert_eq!(line.asked(), before, "no node was asked");
    guard.extend(LONG).await.unwrap();
    let remaining = guard.remaining();
    assert!(remaining > LONG * 9 / 10, "{remaining:?}");
    drop(guard);
    let guard = had(&mut last);
    assert_eq!(guard.fencing_token(), first + 2);
    // Nobody waits any more.
    guard.release().await.unwrap();
    none_has_x(&line.servers).await;
}

#[tokio::test]
async fn a_turn_ends_with_its_own_max_hold_and_is_renewed_until_then() {
    let ttl = Duration::from_secs(2);
    let line = Line::of(3);
    let (guard, mut next, last) = line.passing(ttl).await.unwrap();
    let mut limited: Acquire = Box::pin(line.locks.lock("x").ttl(ttl).max_hold(Duration::from_secs(5)).acquire());
    guard.release().await.unwrap();
    let guard = had(&mut next);
    assert!(poll_once(&mut limited).is_none());
    drop(last);
    guard.release().await.unwrap();
    let guard = had(&mut limited);
    let (loss, took) = timed(guard.lost()).await;
    assert!(matches!(loss, Error::Lost { reason: LostReason::MaxHold, .. }), "{loss}");
    assert!(took > 2 * ttl, "it was renewed for {took:?}");
    drop(guard);
    none_has_x(&line.servers).await;
}

#[tokio::test]
async fn what_asks_for_something_else_gets_its_own_from_the_nodes() {
    for kind in ["a longer ttl", "a shorter ttl", "not renewed", "min_hold", "once"] {
        let line = Line::of(1);
        let (guard, next, last) = line.passing(LONG).await.unwrap();
        drop((next, last));
        let request = line.locks.lock("x").ttl(LONG);
        let request = match kind {
            "a longer ttl" => request.ttl(4 * LONG),
            "a shorter ttl" => request.ttl(LONG / 4),
            "not renewed" => request.renew(false),
            "min_hold" => request.min_hold(Duration::from_millis(1)),
            _ => request.once(1_u64).timeout(LONG),
        };
        let mut waiter: Acquire = Box::pin(request.acquire());
        assert!(poll_once(&mut waiter).is_none());
        let before = line.asked();
        guard.release().await.unwrap();
        let guard = waiter.await.unwrap();
        assert!(line.asked() >= before + 2, "{kind}");
        let mut next = in_line(&line.locks);
        assert!(poll_once(&mut next).is_none());
        let before = line.asked();
        guard.release().await.unwrap();
        next.await.unwrap().release().await.unwrap();
        let passes = matches!(kind, "a longer ttl" | "a shorter ttl");
        assert!(line.asked() >= before + 2 || passes, "{kind}");
    }
}

#[tokio::test]
async fn a_guard_of_an_earlier_turn_does_nothing_to_a_later_one() {
    let line = Line::of(3);
    // The nodes are slow to answer what the first guard asks, so that it is under way when it lets go.
    let (guard, mut next, _last) = line.passing(LONG).await.unwrap();
    line.servers.iter().for_each(RedisServer::hang);
    {
        let mut extending = pin!(guard.extend(LONG));
        assert!(futures::poll!(&mut extending).is_pending());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(futures::poll!(&mut extending).is_pending());
    }
    drop(guard);
    assert!(poll_once(&mut next).is_none(), "an extension is under way: the lease does not pass on");
    line.servers.iter().for_each(RedisServer::resume);
    let guard = next.await.unwrap();
    // Whatever was late has arrived by now.
    guard.extend(LONG).await.unwrap();
    all_have_x(&line.servers).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

/// A lease that lives for this short passes on, and whoever takes it stands still until its validity is over; says whether it came to
/// that on this machine.
async fn stands_still_with_a_turn(line: &Line, ttl: Duration) -> Result<bool, Error> {
    let (guard, mut next, last) = line.passing(ttl).await?;
    drop(last);
    let (earlier, before) = (guard.fencing_token(), line.asked());
    guard.release().await?;
    let has_passed = line.asked() == before;
    // The thread stands still, with all tasks that are on it; others do not.
    std::thread::sleep(ttl);
    let taken = poll_once(&mut next).transpose()?;
    let is_shown = has_passed && taken.is_none();
    let is_of_the_earlier = taken.as_ref().is_some_and(|guard| guard.fencing_token() == earlier + 1);
    assert!(!is_of_the_earlier || !has_passed, "its validity was over");
    let guard = match taken {
        Some(guard) => guard,
        None => next.await?,
    };
    assert!(guard.fencing_token() > earlier);
    guard.release().await?;
    Ok(is_shown)
}

#[tokio::test]
async fn a_lease_whose_validity_ended_on_the_way_is_not_taken() {
    // Its validity is over when it is not withdrawn yet.
    let ttl = Duration::from_millis(45);
    let line = Line::of(1);
    eventually_async("a lease passes on, and is over", async || {
        // On a busy machine so short a lock may be lost before.
        stands_still_with_a_turn(&line, ttl).await.unwrap_or(false)
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_detached_in_a_turn_is_not_passed_on() {
    let line = Line::of(3);
    let (guard, mut next, mut last) = line.passing(LONG).await.unwrap();
    guard.release().await.unwrap();
    let guard = had(&mut next);
    all_have_x(&line.servers).await;
    let token = guard.detach();
    assert!(poll_once(&mut last).is_none());
    assert!(line.servers.holding(&key("x")) >= 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(poll_once(&mut last).is_none());
    line.locks.release(&token).await.unwrap();
    let guard = last.await.unwrap();
    assert!(guard.fencing_token() > token.fencing_token());
    guard.release().await.unwrap();
    none_has_x(&line.servers).await;
}

#[tokio::test]
async fn a_reset_and_the_loss_of_the_nodes_are_told_to_the_turn_that_there_is() {
    for by_other in [false, true] {
        let ttl = Duration::from_secs(4);
        let line = Line::of(3);
        let other = manager(&line.servers);
        let (guard, mut next, last) = line.passing(ttl).await.unwrap();
        drop(last);
        guard.release().await.unwrap();
        let guard = had(&mut next);
        if by_other { &other } else { &line.locks }.reset("x").await.unwrap();
        let (loss, took) = timed(guard.lost()).await;
        assert!(matches!(loss, Error::Lost { reason: LostReason::Reset | LostReason::Taken, .. }), "{loss}");
        assert!(took < ttl, "{took:?}");
        drop(guard);
    }
    let line = Line::of(3);
    let (guard, mut next, last) = line.passing(Duration::from_secs(3)).await.unwrap();
    drop(last);
    line.servers[0].kill();
    line.servers[1].kill();
    guard.release().await.unwrap();
    let guard = had(&mut next);
    let (loss, took) = timed(guard.lost()).await;
    assert!(matches!(loss, Error::Lost { reason: LostReason::Expired, .. }), "{loss}");
    // Its validity, and what a busy machine takes besides.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_reset_between_turns_is_told_to_whoever_has_it_by_then() {
    for is_passed_on_twice in [false, true] {
        a_reset_is_told(is_passed_on_twice).await;
    }
}

async fn a_reset_is_told(is_passed_on_twice: bool) {
    let line = Line::of(3);
    let (guard, mut next, mut last) = line.passing(LONG).await.unwrap();
    line.servers.iter().for_each(RedisServer::hang);
    // It found the first holder when it began.
    let (locks, is_begun) = (line.locks.clone(), Arc::<AtomicBool>::default());
    let begun = Arc::clone(&is_begun);
    let resetting = tokio::spawn(async move {
        let mut resetting = Box::pin(locks.reset("x"));
        poll_fn(|cx| {
            let polled = resetting.as_mut().poll(cx);
            begun.store(true, Ordering::Relaxed);
            polled
        })
        .await
    });
    eventually_async("it has begun", async || is_begun.load(Ordering::Relaxed)).await;
    guard.release().await.unwrap();
    let mut guard = had(&mut next);
    if is_passed_on_twice {
        guard.release().await.unwrap();
        guard = had(&mut last);
    } else {
        drop(last);
    }
    line.servers.iter().for_each(RedisServer::resume);
    resetting.await.unwrap().unwrap();
    assert!(!guard.is_valid() || line.servers.holding(&key("x")) >= 2, "it relies on keys that are gone");
    drop(guard);
}

/// The fencing token that is shown once its holder has had the lock for a while, and what it is called.
async fn shown(locks: &LockManager) -> (u64, String) {
    let look = async || locks.inspect("x").await.unwrap();
    eventually_async("its holder is shown", async || look().await.fencing_token.is_some()).await;
    let info = look().await;
    (info.fencing_token.unwrap(), info.owner_label.unwrap())
}

#[tokio::test]
async fn who_was_seen_to_hold_it_is_not_reset_in_a_later_turn() {
    let line = Line::of_labelled(3);
    // As the command line, it knows nothing of turns.
    let operator = manager(&line.servers);
    let mut passed_on = [false, false];
    // Whoever has been shown meanwhile, on a busy machine, does not pass on.
    for round in 0..40 {
        let is_called_the_same = round % 2 == 1;
        let (guard, next, mut last) = line.passing(LONG).await.unwrap();
        let (token, label) = shown(&operator).await;
        assert_eq!(token, guard.fencing_token());
        let whose = if is_called_the_same { label } else { token.to_string() };
        guard.release().await.unwrap();
        let later = next.await.unwrap();
        let reset = operator.reset_if_owner("x", &whose).await;
        assert!(matches!(reset, Err(Error::NotHeld { .. })), "{reset:?}");
        assert!(later.is_valid());
        all_have_x(&line.servers).await;
        // A turn behind which nobody was shown is as ever: it passes on.
        let before = line.asked();
        later.release().await.unwrap();
        let guard = match poll_once(&mut last) {
            Some(guard) => {
                assert_eq!(line.asked(), before, "no node was asked");
                passed_on[usize::from(is_called_the_same)] = true;
                guard.unwrap()
            }
            None => last.await.unwrap(),
        };
        guard.release().await.unwrap();
        none_has_x(&line.servers).await;
        if passed_on == [true, true] {
            return;
        }
    }
    panic!("{passed_on:?} of those called otherwise and the same passed on");
}

#[tokio::test]
async fn a_turn_is_never_called_as_an_earlier_one_and_by_its_own_label_if_it_is_long() {
    let line = Line::of_labelled(3);
    let (guard, next, last) = line.passing(LONG).await.unwrap();
    let request = line.locks.lock("x").ttl(LONG).owner_label("the later");
    let mut labelled: Acquire = Box::pin(request.acquire());
    assert!(poll_once(&mut labelled).is_none());
    drop(last);
    shown(&line.locks).await;
    guard.release().await.unwrap();
    // This one is short, and so is nobody's to see.
    let began = now();
    let short = next.await.unwrap();
    let info = line.locks.inspect("x").await.unwrap();
    assert!(info.is_held());
    // On a busy machine it may be long by now, and then is noted as itself.
    if began.elapsed() < Duration::from_millis(100) || info.fencing_token != Some(short.fencing_token()) {
        assert_eq!((info.owner_label, info.fencing_token), (None, None));
    }
    short.release().await.unwrap();
    let long = labelled.await.unwrap();
    assert_eq!(shown(&line.locks).await, (long.fencing_token(), "the later".to_owned()));
    long.release().await.unwrap();
    none_has_x(&line.servers).await;
}

#[tokio::test]
async fn whoever_does_not_come_for_its_turn_keeps_the_lock_from_others_for_a_moment_only() {
    for is_dropped in [false, true] {
        let line = Line::of(3);
        let other = manager(&line.servers);
        let (guard, next, last) = line.passing(LONG).await.unwrap();
        drop(last);
        all_have_x(&line.servers).await;
        guard.release().await.unwrap();
        // It is this one's now, and nobody polls it.
        let kept = (!is_dropped).then_some(next);
        other.lock("x").acquire().await.unwrap().release().await.unwrap();
        if let Some(next) = kept {
            next.await.unwrap().release().await.unwrap();
        }
        none_has_x(&line.servers).await;
    }
}

#[tokio::test]
async fn a_turn_that_is_dropped_at_any_poll_leaves_nothing() {
    let line = Line::of(3);
    for polls in 0..6 {
        let (guard, mut next, mut last) = line.passing(LONG).await.unwrap();
        for _ in 0..polls {
            if poll_once(&mut next).is_none() {
                tokio::task::yield_now().await;
            }
        }
        if polls % 2 == 0 {
            drop(next);
            guard.release().await.unwrap();
        } else {
            guard.release().await.unwrap();
            drop(next);
        }
        had(&mut last).release().await.unwrap();
        none_has_x(&line.servers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_turn_passes_the_lock_on() {
    let line = Line::of(3);
    let (guard, mut next, last) = line.passing(LONG).await.unwrap();
    guard.release().await.unwrap();
    let guard = had(&mut next);
    let panicked = tokio::spawn(async move {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("as the test wants"));
    });
    assert!(panicked.await.unwrap_err().is_panic());
    last.await.unwrap().release().await.unwrap();
    none_has_x(&line.servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_amid_turns_leaves_nothing() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let turns = Arc::<AtomicUsize>::default();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (locks, turns) = (locks.clone(), Arc::clone(&turns));
                tokio::spawn(async move {
                    loop {
                        match locks.lock("x").ttl(LONG).acquire().await {
                            Ok(guard) => drop(guard),
                            Err(error) => return error,
                        }
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        eventually_async("they take turns", async || turns.load(Ordering::Relaxed) > 500).await;
        let report = locks.shutdown_within(Duration::from_secs(10)).await;
        assert_eq!((report.still_held.len(), report.unconfirmed), (0, 0), "{report}");
        assert_eq!(servers.holding(&key("x")), 0);
        for ended in join_all(tasks).await {
            assert!(matches!(ended.unwrap(), Error::ShutDown));
        }
    }
}

#[tokio::test]
async fn each_turn_is_told_once() {
    let seen = Seen::default();
    let line = Line::told_to(3, seen.clone());
    let (guard, mut next, mut last) = line.passing(LONG).await.unwrap();
    guard.release().await.unwrap();
    had(&mut next).release().await.unwrap();
    drop(had(&mut last));
    none_has_x(&line.servers).await;
    let count = |what: &str| seen.count(what);
    assert_eq!(count("acquire other acquired network"), 2);
    assert_eq!(count("acquire other acquired local"), 2);
    assert_eq!((count("hold+ "), count("hold- other released"), count("hold- ")), (4, 4, 4));
    assert_eq!((count("wait+ "), count("wait- "), count("lost "), count("run ")), (3, 3, 0, 3));
}
