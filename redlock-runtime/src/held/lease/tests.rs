//! Tests of what is done to the keys of a lock while it is renewed, released or detached.

use std::future::{Future, ready};
use std::sync::Weak;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::engine::Plan;
use crate::held::owner_label::Labels;
use crate::node::scripted::Scripted;
use crate::node::{Action, Command, PendingReply, Reply};
use crate::protocol::{LONGEST_TTL, Quorum, valid_until};

/// What came to a node that lost the key and takes its time to set it again.
#[derive(Default)]
struct Came {
    repair: Option<Arc<Command>>,
    releases: u32,
}

async fn within_bounds<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("it comes soon")
}

/// A lock that is held on three nodes, and its renewal, which is setting the key again on one that lost it.
struct Repairing {
    lease: Arc<Lease>,
    renewing: JoinHandle<Result<(), Error>>,
    /// What that node answers.
    grant: oneshot::Sender<Reply>,
    came: watch::Receiver<Came>,
}

async fn repairing() -> Repairing {
    let (grant, granted) = oneshot::channel();
    let (told, mut came) = watch::channel(Came::default());
    let granted = Mutex::new(Some(granted));
    let lost_the_key = Scripted::voter(move |command, _| match command.action {
        Action::Adopt { .. } | Action::Commit { .. } | Action::Mark => unreachable!("nothing is acquired here"),
        Action::Extend { .. } => PendingReply::new(ready(Reply::Missing)),
        Action::Acquire { .. } => {
            told.send_modify(|came| came.repair = Some(command));
            let granted = granted.lock().unwrap().take().expect("it is repaired once");
            PendingReply::new(async { granted.await.expect("the test answers") })
        }
        Action::Release { .. } => {
            told.send_modify(|came| came.releases += 1);
            PendingReply::new(ready(Reply::Done))
        }
    });
    let well = || -> Arc<dyn crate::node::Voter> { Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done))) };
    let quorum = Quorum::of(3).unwrap();
    let engine = Engine::new(vec![lost_the_key, well(), well()], quorum, Duration::from_secs(5), LONGEST_TTL);
    let (began, ttl) = (clock::now(), Duration::from_secs(60));
    let name = Name::parse("x".to_owned()).unwrap();
    let held = (began, valid_until(began, ttl), 0);
    let lease = Arc::new(Lease::new(engine, name, "key".into(), "owner".into(), ttl, held, None));
    let renewing = {
        let lease = Arc::clone(&lease);
        tokio::spawn(async move { lease.renew().await })
    };
    let _ = within_bounds(came.wait_for(|came| came.repair.is_some())).await.unwrap();
    Repairing { lease, renewing, grant, came }
}

/// A lock that one of three nodes has not granted yet.
struct GrantedLate {
    lease: Arc<Lease>,
    /// What that node answers.
    grant: oneshot::Sender<Reply>,
    /// What it was asked, as long as somebody keeps it.
    asked: Weak<Command>,
}

async fn granted_late() -> GrantedLate {
    let (grant, granted) = oneshot::channel();
    let (told, mut asked) = watch::channel(Weak::new());
    let granted = Mutex::new(Some(granted));
    let well = || Scripted::voter(|_, _| PendingReply::new(ready(Reply::Done)));
    let slow = Scripted::voter(move |command, _| match command.action {
        Action::Acquire { .. } => {
            told.send_replace(Arc::downgrade(&command));
            let granted = granted.lock().unwrap().take().expect("it is acquired once");
            PendingReply::new(async { granted.await.expect("the test answers") })
        }
        _ => PendingReply::new(ready(Reply::Done)),
    });
    let engine = Engine::new(vec![well(), well(), slow], Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
    let ttl = Duration::from_secs(60);
    let won = engine.acquire("key".into(), ttl, None, Plan::once(None)).await.expect("two of three grant");
    let (name, owner) = (Name::parse("x".to_owned()).unwrap(), Arc::clone(won.acquisition.owner()));
    let held = (won.term.began, won.term.valid_until, 0);
    let lease = Arc::new(Lease::new(engine, name, "key".into(), owner, ttl, held, None));
    drop(lease.entrust(won.acquisition));
    let asked = asked.borrow_and_update().clone();
    GrantedLate { lease, grant, asked }
}

#[tokio::test]
async fn what_a_slow_node_was_asked_is_forgotten_when_the_lock_is_renewed() {
    let GrantedLate { lease, grant, asked } = granted_late().await;
    lease.drop_stragglers_of_the_caller();
    assert!(asked.strong_count() > 0, "it may have to be recalled");
    grant.send(Reply::Done).unwrap();
    within_bounds(lease.renew()).await.unwrap();
    assert_eq!(asked.strong_count(), 0, "it was answered");
}

#[tokio::test]
async fn what_a_node_was_asked_is_forgotten_without_a_label_too() {
    let GrantedLate { lease, grant, asked } = granted_late().await;
    Labels::new(Arc::clone(&lease.engine), Some("".into())).note_later(&lease, None, clock::now());
    grant.send(Reply::Done).unwrap();
    within_bounds(async {
        while asked.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_being_set_again_when_the_lock_is_released_is_released_behind_it() {
    let Repairing { lease, renewing, grant, mut came } = repairing().await;
    within_bounds(lease.end()).await;
    within_bounds(renewing).await.unwrap().unwrap();
    let repair = came.borrow().repair.clone().expect("it was sent");
    assert!(repair.is_recalled(), "had it not been sent yet, it would be sent behind the release");
    // One may come at once, in case this runtime is blocked; what counts is the one behind the grant.
    let before = came.borrow().releases;
    grant.send(Reply::Done).unwrap();
    let _ = within_bounds(came.wait_for(|came| came.releases > before)).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_being_set_again_when_the_lock_is_detached_is_released_behind_it() {
    let Repairing { lease, renewing, grant, mut came } = repairing().await;
    drop(lease.leave_now());
    within_bounds(renewing).await.unwrap().unwrap();
    assert!(came.borrow().repair.as_ref().expect("it was sent").is_recalled());
    // Whoever has the token may have released the lock by then; if not, a majority has the key without this node.
    let before = came.borrow().releases;
    grant.send(Reply::Done).unwrap();
    let _ = within_bounds(came.wait_for(|came| came.releases > before)).await.unwrap();
}
