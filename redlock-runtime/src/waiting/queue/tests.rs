//! Tests of the queues of a process.

use super::*;
use crate::engine::Engine;
use crate::node::PendingReply;
use crate::node::scripted::Scripted;
use crate::protocol::LONGEST_TTL;
use crate::values::name::Name;

fn lease() -> Arc<Lease> {
    lease_with(0)
}

/// Of this fencing token.
fn lease_with(token: u64) -> Arc<Lease> {
    let node = Scripted::new(|_, _| PendingReply::new(std::future::pending()));
    let engine = Engine::new(vec![node], Quorum::of(1).unwrap(), Duration::from_secs(1), LONGEST_TTL);
    let (began, ttl) = (clock::now(), Duration::from_secs(60));
    let name = Name::parse("x".to_owned()).unwrap();
    Arc::new(Lease::new(engine, name, "key".into(), "owner".into(), ttl, (began, began + ttl, token), None))
}

#[test]
fn whoever_leaves_late_does_not_vacate_the_place_of_another() {
    let wait_queues = WaitQueues::new(Quorum::of(1).unwrap(), Duration::from_secs(1), None, (SLOW_POLL, false, false));
    let late = wait_queues.hold_locally(&lease());
    drop(wait_queues.hold_locally(&lease()));
    assert!(wait_queues.local_holders_of("key").is_empty());
    let _local_hold = wait_queues.hold_locally(&lease());
    drop(late);
    assert!(!wait_queues.local_holders_of("key").is_empty());
}

#[test]
fn whoever_follows_in_line_proposes_more_than_the_token_before() {
    let fence_fallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) };
    let wait_queues = WaitQueues::new(
        Quorum::of(1).unwrap(),
        Duration::from_secs(1),
        Some(fence_fallback),
        (SLOW_POLL, false, false),
    );
    let (local_hold, mut place) = (wait_queues.hold_locally(&lease_with(41)), wait_queues.join(&"key".into(), None));
    drop(local_hold);
    let NextStep::Ask(plan) = place.next(clock::now()) else { panic!("the lock is free") };
    assert_eq!(plan.fencing.map(|fenced| fenced.seen), Some(41));
}
