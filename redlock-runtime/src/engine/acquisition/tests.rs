//! Tests of what an acquisition leaves on the nodes, and of attempts.

use std::future::ready;
use std::sync::Mutex;

use tokio::sync::{oneshot, watch};

use super::*;
use crate::engine::{Fenced, Plan};
use crate::node::scripted::Scripted;
use crate::node::{Action, Delivery, Failure, NewMark, PendingReply, Reply, Voter};
use crate::protocol::{
    AskOrder, Counter, FenceFallback, LONGEST_TTL, MARK_RETENTION, Quorum, StoredMark, Verdict, longest_round,
};

/// Asks one of three nodes first, of which this one does not vote and the others answer so.
async fn ask_one_first(faulty: usize, others: Reply) -> Result<(), AttemptFailed> {
    let voters = (0..3).map(|node| -> Arc<dyn Voter> {
        let failed = Reply::Failed(Failure { reason: "READONLY".into(), delivery: Delivery::Answered });
        let reply = if node == faulty { failed } else { others.clone() };
        Scripted::voter(move |command, _| match command.action {
            Action::Acquire { .. } => PendingReply::new(ready(reply.clone())),
            _ => PendingReply::new(ready(Reply::Done)),
        })
    });
    let engine = Engine::new(voters.collect(), Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
    let plan = Plan { ask_order: AskOrder::OneFirst { except: NodeSet::default() }, ..Plan::once(None) };
    engine.acquire("key".into(), Duration::from_secs(60), None, plan).await.map(drop)
}

/// One of three nodes answers the acquire when the test says so, and counts the releases that it is sent.
async fn won_before_all_have_answered() -> (Acquisition, oneshot::Sender<Reply>, watch::Receiver<usize>) {
    let (answer, answered) = oneshot::channel();
    let answered = Mutex::new(Some(answered));
    let (told, released) = watch::channel(0);
    let slow = Scripted::voter(move |command, _| {
        if let Action::Acquire { .. } = command.action {
            let answered = answered.lock().unwrap().take().expect("it is acquired once");
            return PendingReply::new(async { answered.await.expect("the test answers") });
        }
        told.send_modify(|releases| *releases += 1);
        PendingReply::new(ready(Reply::Done))
    });
    let well = || -> Arc<dyn Voter> { Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done))) };
    let engine = Engine::new(vec![slow, well(), well()], Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
    let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(None)).await;
    (won.expect("two of three grant").acquisition, answer, released)
}

async fn until_released(released: &mut watch::Receiver<usize>) {
    let released = released.wait_for(|releases| *releases > 0);
    let _ = tokio::time::timeout(Duration::from_secs(10), released).await.expect("it is released").unwrap();
}

/// A key that renewal has set again on a node whose own acquire is still on its way, and that acquire's end.
async fn check_released_behind(end: Reply) {
    let (mut acquisition, answer, mut released) = won_before_all_have_answered().await;
    acquisition.add(Repairs { set: [0].into_iter().collect(), ..Repairs::default() });
    acquisition.release().await.expect("a majority confirms");
    assert_eq!(*released.borrow(), 0, "a release that is sent now could overtake the acquire");
    answer.send(end).unwrap();
    until_released(&mut released).await;
}

/// Completes a fire on three nodes: the first has not answered the acquire yet, and answers it after `waited`; the second is hung by
/// now. How that ends, if it does before the lock would be lost, and whether the first node was sent the mark.
async fn completed_beside_a_hung_node(first_may_vote: bool, waited: Duration) -> (Option<bool>, bool) {
    let (answer, answered) = oneshot::channel();
    let answered = Mutex::new(Some(answered));
    let (told, sent) = watch::channel(None);
    let late = move |command: Arc<Command>, _| {
        if let Action::Acquire { .. } = command.action {
            let answered = answered.lock().unwrap().take().expect("it is acquired once");
            return PendingReply::new(async { answered.await.expect("the test answers") });
        }
        told.send_replace(Some(command.new_mark.is_some()));
        PendingReply::new(ready(Reply::Done))
    };
    let late: Arc<dyn Voter> = if first_may_vote { Scripted::voter(late) } else { Scripted::new(late) };
    let hung: Arc<dyn Voter> = Scripted::voter(|command, _| match command.action {
        Action::Acquire { .. } => PendingReply::new(ready(Reply::Done)),
        _ => PendingReply::new(std::future::pending()),
    });
    let well: Arc<dyn Voter> = Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done)));
    let quorum = Quorum::of(3).unwrap();
    let engine = Engine::new(vec![late, hung, well], quorum, Duration::from_secs(5), LONGEST_TTL);
    let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(None)).await;
    let (acquisition, held) = (won.expect("two of three grant").acquisition, Duration::from_secs(60));
    let mark = NewMark { stored: StoredMark { fire: 7, token: 0 }, retention: MARK_RETENTION };
    let completing = tokio::spawn(acquisition.complete(mark, clock::now() + held));
    tokio::time::sleep(waited).await;
    answer.send(Reply::Done).unwrap();
    let completed = tokio::time::timeout(held / 2, completing).await.ok().map(|ended| ended.unwrap().is_ok());
    let is_marked = sent.clone().wait_for(Option::is_some).await.unwrap().unwrap();
    (completed, is_marked)
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_comes_while_its_fire_is_completed_stands_in_for_a_hung_node() {
    let (soon, late) = (Duration::from_millis(1), longest_round(LONGEST_TTL) + Duration::from_millis(1));
    assert_eq!(completed_beside_a_hung_node(true, soon).await, (Some(true), true));
    assert_eq!(completed_beside_a_hung_node(false, soon).await, (None, false), "it may not vote");
    assert_eq!(completed_beside_a_hung_node(true, late).await, (None, false), "it is too late for a vote");
}

#[tokio::test]
async fn a_key_that_is_set_after_its_lock_was_given_out_of_hand_is_released() {
    let (acquisition, answer, mut released) = won_before_all_have_answered().await;
    let engine = Arc::clone(&acquisition.engine);
    acquisition.leave();
    assert_eq!(*released.borrow(), 0);
    answer.send(Reply::Done).unwrap();
    until_released(&mut released).await;
    tokio::time::timeout(Duration::from_secs(10), engine.tracked_releases().all_confirmed()).await.expect("it is over");
}

#[tokio::test]
async fn a_key_whose_grant_is_there_when_its_lock_is_given_out_of_hand_stays() {
    let (acquisition, answer, released) = won_before_all_have_answered().await;
    let engine = Arc::clone(&acquisition.engine);
    answer.send(Reply::Done).unwrap();
    acquisition.leave();
    tokio::time::timeout(Duration::from_secs(10), engine.tracked_releases().all_confirmed()).await.expect("it is over");
    assert_eq!(*released.borrow(), 0);
}

#[tokio::test]
async fn a_lock_is_given_out_of_hand_on_a_thread_without_a_runtime_while_an_answer_needs_one() {
    let late = Scripted::voter(|command, _| match command.action {
        Action::Acquire { .. } => PendingReply::new(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Reply::Done
        }),
        _ => PendingReply::new(ready(Reply::Done)),
    });
    let well = || -> Arc<dyn Voter> { Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done))) };
    let quorum = Quorum::of(3).unwrap();
    let engine = Engine::new(vec![late, well(), well()], quorum, Duration::from_secs(5), LONGEST_TTL);
    // What waits for an answer has not been polled yet.
    let mut acquisition = Acquisition::new(Arc::clone(&engine), "key".into());
    acquisition.is_open = true;
    acquisition.send(
        [0],
        &Command::new(Action::Acquire { ttl: LONGEST_TTL, is_watched: false }, &"key".into(), &"owner".into()),
    );
    std::thread::spawn(|| acquisition.leave()).join().expect("it needs no runtime of the caller's");
    let confirmed = engine.tracked_releases().all_confirmed();
    tokio::time::timeout(Duration::from_secs(10), confirmed).await.expect("it is over");
}

#[tokio::test]
async fn a_key_that_was_set_again_is_released_behind_the_first_acquire_however_that_ends() {
    check_released_behind(Reply::NOT_OURS).await;
    check_released_behind(Reply::not_sent("it was cancelled before it was sent")).await;
    check_released_behind(Reply::Done).await;
}

#[tokio::test]
async fn whatever_numbers_a_node_tells_no_arithmetic_ends_in_a_panic() {
    let max_clock_skew = Duration::from_secs(60);
    for seen in [0, u64::MAX] {
        let answers = |counter| {
            let counter = Some(Counter::Known(counter));
            let held = Reply::NotOurs { owner: Some("a".into()), remaining: Some(Duration::MAX), counter, mark: None };
            [held, Reply::Granted { counter, is_wanted: true, mark: None }]
        };
        for told in [1 << 52, u64::MAX].map(answers).into_iter().flatten() {
            let voter = |reply: Reply| -> Arc<dyn Voter> {
                Scripted::voter(move |_, _| PendingReply::new(ready(reply.clone())))
            };
            let well = || voter(Reply::Granted { counter: Some(Counter::Known(7)), is_wanted: false, mark: None });
            let nodes = vec![voter(told), well(), well()];
            let engine = Engine::new(nodes, Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
            let fenced = Fenced { seen, fence_fallback: FenceFallback::TrustClocks { max_clock_skew }, room: 0 };
            let won = engine.acquire("key".into(), Duration::from_secs(60), None, Plan::once(Some(fenced))).await;
            assert_eq!(won.expect("two of three agree").term.fencing_token, 7, "what the third told is none");
        }
    }
}

#[tokio::test]
async fn the_others_decide_where_the_node_that_is_asked_first_does_not_vote() {
    for faulty in 0..3 {
        ask_one_first(faulty, Reply::Done).await.expect("a majority grants");
        let held = Reply::NotOurs { owner: Some("another".into()), remaining: None, counter: None, mark: None };
        let failed = ask_one_first(faulty, held).await.expect_err("a majority refuses");
        assert_eq!(failed.verdict, Verdict::Refused);
    }
}
