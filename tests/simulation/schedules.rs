//! The tests: no schedule breaks a promise, and without any one rule some schedule does.

use std::{env, thread};

use super::invariants::Violation;
use super::plan::Rules;
use super::world::{Met, World};

/// Runs one schedule again, as it was.
fn replay(seed: u64, rules: Rules) -> World {
    World::new(seed, rules).run()
}

/// Runs all these seeds, each one by itself.
fn run_all(seeds: std::ops::Range<u64>) -> Met {
    let mut met = Met::default();
    for seed in seeds {
        let world = replay(seed, Rules::ALL);
        assert!(
            world.violations.is_empty(),
            "seed {seed}: {:?}\nrun again with replay({seed}, Rules::ALL)\n{:#?}",
            world.violations,
            world.plan
        );
        met.add(world.met);
    }
    met
}

#[test]
fn no_schedule_breaks_a_promise() {
    // More of them than every run can afford: `SCHEDULES=5000000`.
    let schedules = env::var("SCHEDULES").ok().and_then(|number| number.parse().ok()).unwrap_or(100_000_u64);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let share = schedules.div_ceil(threads);
    let mut met = Met::default();
    thread::scope(|scope| {
        let parts: Vec<_> =
            (0..threads).map(|part| scope.spawn(move || run_all(part * share..(part + 1) * share))).collect();
        for part in parts {
            met.add(part.join().expect("a seed failed, see above"));
        }
    });
    println!("{schedules} schedules: {met:?}");
    assert!(met.won > schedules, "schedules in which nobody ever holds the lock prove nothing: {met:?}");
    let mut counted = met;
    for rare in counted.counts() {
        assert!(*rare > schedules / 200, "something that the rules are for hardly ever happens: {met:?}");
    }
}

/// Looks for a schedule in which these rules break a promise of this kind.
fn finds(rules: Rules, is_meant: impl Fn(&Violation) -> bool) {
    const SEEDS: u64 = 100_000;
    let found = (0..SEEDS).find(|seed| replay(*seed, rules).violations.iter().any(&is_meant));
    assert!(found.is_some(), "{SEEDS} schedules and no violation with {rules:?}");
    println!("{rules:?} breaks with seed {found:?}");
}

fn is_two_holders(violation: &Violation) -> bool {
    matches!(violation, Violation::TwoHolders { .. })
}

#[test]
fn a_majority_of_the_reachable_nodes_lets_two_hold() {
    finds(Rules { majority_of_configured: false, ..Rules::ALL }, is_two_holders);
}

#[test]
fn a_validity_without_drift_lets_two_hold() {
    finds(Rules { drift: false, ..Rules::ALL }, is_two_holders);
}

#[test]
fn a_release_that_overtakes_its_acquire_leaves_the_key() {
    finds(Rules { release_behind_straggler: false, ..Rules::ALL }, |violation| {
        matches!(violation, Violation::LeftBehind { .. })
    });
}

#[test]
fn a_restarted_node_that_votes_at_once_lets_two_hold() {
    finds(Rules { restart_abstention: false, ..Rules::ALL }, is_two_holders);
}

#[test]
fn an_error_that_is_taken_for_not_set_leaves_the_key() {
    finds(Rules { errors_may_have_set: false, ..Rules::ALL }, |violation| {
        matches!(violation, Violation::LeftBehind { .. })
    });
}

#[test]
fn an_extension_that_shortens_a_key_lets_two_hold() {
    finds(Rules { extension_only_lengthens: false, ..Rules::ALL }, is_two_holders);
}

#[test]
fn a_late_extension_that_finds_a_kept_key_makes_it_live_on() {
    finds(Rules { kept_key_has_no_owner: false, ..Rules::ALL }, |violation| {
        matches!(violation, Violation::LeftBehind { .. })
    });
}

#[test]
fn a_release_that_overtakes_what_a_cut_connection_carries_leaves_the_key() {
    finds(Rules { release_kills_cut_connection: false, ..Rules::ALL }, |violation| {
        matches!(violation, Violation::LeftBehind { .. })
    });
}

fn is_unfenced(violation: &Violation) -> bool {
    matches!(violation, Violation::Unfenced { .. })
}

#[test]
fn a_token_that_no_majority_told_and_none_committed_may_not_be_the_greatest() {
    finds(Rules { token_is_committed: false, ..Rules::ALL }, is_unfenced);
}

#[test]
fn a_restarted_node_that_takes_its_missing_counter_for_evidence_lets_tokens_shrink() {
    finds(Rules { restart_is_no_evidence: false, ..Rules::ALL }, is_unfenced);
}
