//! The rules hold in every schedule, and none of them can be left out.

use super::explore::{AGAIN, IN_DOUBT};
use super::plan::{OnceAt, Rule, Time, World};
use crate::checks::{self, check_holds};

/// Attempts for these fires, on old nodes of which one may restart, empty unless `restores` says so.
fn world(fires: &'static [u8]) -> World {
    World {
        fires,
        time: Time::Counted,
        ticks: 0,
        clocks: &[0],
        is_fleet_new: false,
        once_at: OnceAt::End,
        planted: None,
        losses: 0,
        restarts: 1,
        restores: false,
        renews: false,
        broken: None,
    }
}

/// Attempts for a fire that is due at the fifth tick, in a new fleet, whose clock begins at the first.
fn timed_world() -> World {
    World { time: Time::Due, ticks: 5, clocks: &[0, 1], is_fleet_new: true, ..world(&[5, 5]) }
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(name: &'static str, world: World) {
    let told = world.broken.expect("one is broken");
    checks::check_breaks(&[name], &told, world, |after| after.nodes.map(|node| (node.key, node.mark, node.restarted)));
}

#[test]
fn a_completed_fire_does_not_run_again_for_three_attempts_when_a_message_is_late_or_lost() {
    check_holds(World { losses: 1, renews: true, ..world(&[1, 1, 1]) });
}

#[test]
fn a_completed_fire_does_not_run_again_beside_a_greater_one() {
    check_holds(World { losses: 1, planted: Some(1), ..world(&[2, 1, 2]) });
}

#[test]
fn a_completed_fire_does_not_run_again_beside_a_smaller_one() {
    check_holds(World { losses: 1, ..world(&[1, 2, 1]) });
}

#[test]
fn a_completed_fire_does_not_run_again_when_every_message_may_be_late_or_lost() {
    check_holds(World { losses: u8::MAX, restarts: 0, ..world(&[1, 2, 1]) });
}

#[test]
fn a_completed_fire_does_not_run_again_after_two_restarts() {
    check_holds(World { restarts: 2, renews: true, planted: Some(1), ..world(&[2, 1, 2]) });
}

#[test]
fn a_completed_fire_does_not_run_again_after_a_restart_from_an_older_snapshot() {
    check_holds(World { restores: true, losses: 1, renews: true, planted: Some(1), ..world(&[2, 2, 2]) });
}

#[test]
fn a_completed_fire_does_not_run_again_beside_a_smaller_one_after_a_restart_from_an_older_snapshot() {
    check_holds(World { restores: true, losses: 1, ..world(&[1, 2, 2]) });
}

#[test]
fn a_fire_that_is_marked_before_it_starts_does_not_start_twice() {
    check_holds(World { losses: 1, once_at: OnceAt::Start, ..world(&[1, 1, 1]) });
}

#[test]
fn a_new_fleet_knows_of_fires_that_are_due_after_it_was_set_up() {
    check_holds(timed_world());
}

#[test]
fn a_call_less_than_half_a_period_after_a_completed_one_does_not_run() {
    check_holds(World { time: Time::Called { period: 4 }, is_fleet_new: false, ..timed_world() });
}

#[test]
fn a_mark_must_ride_on_the_acquire() {
    check_breaks(AGAIN, World { broken: Some(Rule::MarkRidesOnAcquire), ..world(&[1, 1]) });
}

#[test]
fn a_missing_mark_is_no_evidence_on_a_node_that_restarted_empty() {
    check_breaks(AGAIN, World { broken: Some(Rule::YoungMarksAreNoEvidence), ..world(&[1, 1]) });
}

#[test]
fn a_mark_is_no_evidence_on_a_node_that_restarted_with_it() {
    let broken = Some(Rule::RestoredMarksAreNoEvidence);
    check_breaks(AGAIN, World { restores: true, broken, ..world(&[1, 2, 2]) });
}

#[test]
fn a_fire_must_not_run_in_doubt() {
    check_breaks(AGAIN, World { broken: Some(Rule::DoubtRefuses), ..world(&[1, 1]) });
}

#[test]
fn a_node_that_restarted_must_abstain_while_an_older_attempt_is_under_way() {
    check_breaks(AGAIN, World { broken: Some(Rule::Abstention), ..world(&[1, 1, 1]) });
}

#[test]
fn a_completion_must_compare_the_owner() {
    check_breaks(AGAIN, World { losses: 1, broken: Some(Rule::CompletionComparesOwner), ..world(&[1, 2, 2]) });
}

#[test]
fn a_completion_must_be_confirmed() {
    check_breaks(AGAIN, World { broken: Some(Rule::CompletionIsConfirmed), ..world(&[1, 1]) });
}

#[test]
fn a_completion_must_be_confirmed_within_the_validity() {
    check_breaks(AGAIN, World { broken: Some(Rule::CompletionWithinValidity), ..world(&[1, 1, 1]) });
}

#[test]
fn a_completion_must_not_be_stretched_across_a_renewal() {
    check_breaks(AGAIN, World { renews: true, broken: Some(Rule::CompletionIsNotStretched), ..world(&[1, 1]) });
}

#[test]
fn a_completion_must_not_be_sent_where_no_grant_was_heard() {
    check_breaks(AGAIN, World { losses: 1, broken: Some(Rule::MarksGoToHeardGrants), ..world(&[1, 2, 2]) });
}

#[test]
fn a_completion_must_not_be_sent_to_a_node_that_abstains() {
    check_breaks(AGAIN, World { losses: 1, broken: Some(Rule::MarksGoToVoters), ..world(&[1, 2, 2]) });
}

#[test]
fn a_mark_must_live_for_the_retention_from_when_it_was_last_written() {
    check_breaks(AGAIN, World { broken: Some(Rule::MarkExpiryIsRenewed), ..world(&[1, 2, 2]) });
}

#[test]
fn a_mark_of_a_minority_is_no_proof() {
    check_breaks(AGAIN, World { broken: Some(Rule::MinorityIsNoProof), ..world(&[1, 1, 1]) });
}

#[test]
fn what_is_written_back_is_the_greatest_mark() {
    check_breaks(AGAIN, World { broken: Some(Rule::RepairWritesGreatest), ..world(&[2, 1, 2]) });
}

#[test]
fn a_mark_must_not_be_written_back_without_evidence() {
    check_breaks(AGAIN, World { planted: Some(1), broken: Some(Rule::RepairHasEvidence), ..world(&[2, 1, 2]) });
}

#[test]
fn nobody_may_ask_before_a_fire_is_due() {
    check_breaks(AGAIN, World { broken: Some(Rule::NotBeforeDue), ..timed_world() });
}

#[test]
fn clocks_that_differ_count_twice_in_what_a_node_knows_of_a_fire_that_is_due() {
    check_breaks(AGAIN, World { broken: Some(Rule::SkewCountsTwice), ..timed_world() });
}

#[test]
fn a_new_fleet_would_be_in_doubt_if_only_the_retention_counted() {
    check_breaks(IN_DOUBT, World { broken: Some(Rule::SinceBeforeDueIsEvidence), ..timed_world() });
}

#[test]
fn an_attempt_must_start_while_its_keys_are_there() {
    check_breaks(AGAIN, World { restarts: 0, broken: Some(Rule::ValidityWhenStarting), ..world(&[1, 1]) });
}
