//! What the gate runs.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use redlock_simulated::simulation::Rule;

use crate::made::{self, Made};
use crate::random::Random;
use crate::run::{CLUSTERS, FIRES, KINDS, Kind, LEADS, LOCKS, MEMORY, NAMES, PERMITS, READERS, run_plan};

/// Runs these seeds on all processors; returns what was broken.
fn broken(seeds: std::ops::Range<u64>, kind: &Kind) -> Vec<(u64, Vec<String>)> {
    let next = AtomicU64::new(seeds.start);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return broken;
            }
            let violations = kind.run(seed, None, false).violations;
            if !violations.is_empty() {
                broken.push((seed, violations));
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no schedule panics")).collect()
    })
}

/// Runs so many schedules that are the same in each run of the tests, and so many new ones.
fn none_is_broken(kind: &Kind, fixed: u64, new: u64) {
    let base = RandomState::new().hash_one("base") >> 16;
    println!("new schedules of `{}`: the {new} from seed {base}", kind.many);
    let mut broken = broken(0..fixed, kind);
    broken.extend(self::broken(base..base + new, kind));
    let replay = format!("cargo run -p redlock-simulation -- {} SEED", kind.one);
    assert!(broken.is_empty(), "base seed {base}, replay by `{replay}`: {broken:#?}");
}

#[test]
fn no_schedule_breaks_a_promise() {
    none_is_broken(&LOCKS, 2_800, 1_200);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for kind in &KINDS {
        for seed in 0..80 {
            let [one, other] = [(); 2].map(|()| kind.run(seed, None, false).trace);
            assert_eq!(one, other, "{}, seed {seed}", kind.many);
        }
    }
}

#[test]
fn no_schedule_has_two_leaders_or_none_for_long() {
    none_is_broken(&LEADS, 350, 150);
}

#[test]
fn no_schedule_of_nodes_in_memory_breaks_a_promise() {
    none_is_broken(&MEMORY, 700, 300);
}

#[test]
fn no_schedule_of_slots_that_move_breaks_a_promise() {
    none_is_broken(&CLUSTERS, 350, 150);
}

/// Rules that a cluster needs, and a seed that finds what each prevents.
const FOUND_IN_CLUSTERS: &[(Rule, u64)] = &[
    (Rule::AskedWhenNothingIsLeft, 278),
    (Rule::EmptiedKeysAreLeftAlone, 2_013),
    (Rule::ReleaseAfterAcquire, 29),
    (Rule::MaybeSetIsReleased, 180),
    (Rule::WatchBeforeAttempt, 11),
];

#[test]
fn schedules_of_slots_that_move_find_what_each_rule_prevents() {
    find_all(FOUND_IN_CLUSTERS, &CLUSTERS);
}

/// Each rule of these, and a seed that finds what it prevents.
const FOUND_BY_LEADS: &[(Rule, u64)] = &[(Rule::ResignedStandBack, 12), (Rule::BodyEndsWithTerm, 19)];

#[test]
fn schedules_of_candidates_find_what_each_rule_prevents() {
    find_all(FOUND_BY_LEADS, &LEADS);
}

/// Rules that nodes in memory need, too, and a seed that finds what each prevents.
const FOUND_IN_MEMORY: &[(Rule, u64)] = &[
    (Rule::MajorityOfAll, 54),
    (Rule::DropReleases, 231),
    (Rule::ReleaseAgain, 14),
    (Rule::WatchBeforeAttempt, 13),
    (Rule::ReleaseCalls, 13),
];

#[test]
fn schedules_of_nodes_in_memory_find_what_each_rule_prevents() {
    find_all(FOUND_IN_MEMORY, &MEMORY);
}

#[test]
fn no_schedule_repeats_a_fire_that_was_completed() {
    none_is_broken(&FIRES, 1_200, 500);
}

/// Each rule of these, and a seed that finds what it prevents.
const FOUND_BY_FIRES: &[(Rule, u64)] = &[
    (Rule::MarkRidesOnAcquire, 1),
    (Rule::SinceBeforeDueIsEvidence, 52),
    (Rule::DoubtRefuses, 31),
    (Rule::CompletionIsConfirmed, 17),
    (Rule::RepairWritesGreatest, 19),
];

#[test]
fn schedules_of_jobs_find_what_each_rule_prevents() {
    find_all(FOUND_BY_FIRES, &FIRES);
}

#[test]
fn no_schedule_lets_more_in_than_there_are_permits() {
    none_is_broken(&PERMITS, 800, 500);
}

/// Each rule of these, and a seed that finds what it prevents.
const FOUND_BY_PERMITS: &[(Rule, u64)] = &[(Rule::OneSlotIsOneLock, 29), (Rule::AllSlotsAreReleased, 33)];

#[test]
fn schedules_of_permits_find_what_each_rule_prevents() {
    find_all(FOUND_BY_PERMITS, &PERMITS);
}

#[test]
fn no_schedule_has_a_writer_beside_another_holder() {
    none_is_broken(&READERS, 350, 150);
}

/// Each rule of these, and a seed that finds what it prevents.
const FOUND_BY_READERS: &[(Rule, u64)] = &[
    (Rule::WritersLookForReaders, 5),
    (Rule::ReadersLookForWriters, 0),
    (Rule::ReadersExpireOneByOne, 5),
    (Rule::MajorityOfAll, 3),
    (Rule::DropReleases, 12),
];

#[test]
fn schedules_of_readers_find_what_each_rule_prevents() {
    find_all(FOUND_BY_READERS, &READERS);
}

#[test]
fn no_schedule_has_a_name_twice() {
    none_is_broken(&NAMES, 350, 150);
}

/// Each rule of these, and a seed that finds what it prevents.
const FOUND_BY_NAMES: &[(Rule, u64)] = &[(Rule::AllOrNothing, 0), (Rule::MajorityOfAll, 3), (Rule::DropReleases, 12)];

#[test]
fn schedules_of_several_names_find_what_each_rule_prevents() {
    find_all(FOUND_BY_NAMES, &NAMES);
}

/// Each rule, and a seed that finds what it prevents; another one if the code has changed since.
const FOUND: &[(Rule, u64)] = &[
    (Rule::MajorityOfAll, 3),
    (Rule::Drift, 0),
    (Rule::ValidityOfTheAttempt, 4),
    (Rule::ReleaseAfterAcquire, 33),
    (Rule::KillCutConnection, 87),
    (Rule::KeptKeyIsNobodys, 339),
    (Rule::MaybeSetIsReleased, 43),
    (Rule::ReleaseAgain, 26),
    (Rule::LateKeysAreReleased, 2_002_581),
    (Rule::DropReleases, 10),
    (Rule::Abstention, 15),
    (Rule::ExtensionComparesOwner, 374),
    (Rule::ReleaseComparesOwner, 4),
    (Rule::ExtensionOnlyLengthens, 5),
    (Rule::Commit, 5),
    (Rule::LossNotice, 7),
    (Rule::WatchBeforeAttempt, 8),
    (Rule::NextIsCalled, 858),
    (Rule::ReleaseCalls, 8),
    (Rule::StandBack, 13),
    (Rule::TokensEndWithBlock, 12),
    (Rule::EarlierTurnsAreOver, 21),
    (Rule::DetachedIsNotPassedOn, 552),
    (Rule::FirstComeFirstServed, 25),
    (Rule::BlockingUsesBackground, 46),
];

#[test]
fn schedules_find_what_each_rule_prevents() {
    find_all(FOUND, &LOCKS);
}

fn find_all(rules: &[(Rule, u64)], kind: &Kind) {
    for (rule, seed) in rules {
        let mut seeds = std::iter::once(*seed).chain(0..2_000);
        let found = seeds.find_map(|seed| {
            let violation = kind.run(seed, Some(*rule), false).violations.into_iter().next()?;
            Some((seed, violation))
        });
        let (seed, violation) = found.unwrap_or_else(|| panic!("nothing misses {rule:?}"));
        println!("{rule:?}: seed {seed}: {violation}");
        assert_eq!(kind.run(seed, None, false).violations, Vec::<String>::new(), "{rule:?}");
    }
}

/// So many seeds of each schedule that was made are tried.
const MADE: u64 = 20;

#[test]
fn schedules_that_are_made_for_a_rule_need_it() {
    for Made { rule, plan } in made::ALL {
        let run = |seed, off| {
            let mut random = Random::new(seed);
            run_plan(plan(&mut random), random, off, false).violations
        };
        let found: Vec<_> = (0..MADE).filter_map(|seed| run(seed, Some(*rule)).into_iter().next()).collect();
        println!("{rule:?}: {} of {MADE}, such as {:?}", found.len(), found.first());
        assert!(found.len() > MADE as usize / 2, "hardly anything misses {rule:?}");
        for seed in 0..MADE {
            // One is replayed by `cargo run -p redlock-simulation -- made RULE SEED`.
            assert_eq!(run(seed, None), Vec::<String>::new(), "{rule:?}, seed {seed}");
        }
    }
}

/// Rules that no schedule can need, each for the reason that stands beside its name in the runtime.
const BEYOND_SCHEDULES: &[Rule] = &[Rule::ConfirmationIsEqual];

/// Those that schedules are drawn for.
const DRAWN: [&[(Rule, u64)]; 8] = [
    FOUND,
    FOUND_BY_FIRES,
    FOUND_BY_PERMITS,
    FOUND_BY_READERS,
    FOUND_BY_NAMES,
    FOUND_BY_LEADS,
    FOUND_IN_MEMORY,
    FOUND_IN_CLUSTERS,
];

#[test]
fn every_rule_has_a_schedule() {
    let drawn = DRAWN.into_iter().flatten().map(|(rule, _)| *rule);
    let made = made::ALL.iter().map(|made| made.rule);
    let found: Vec<_> = drawn.chain(made).collect();
    for rule in Rule::EVERY {
        let is_beyond = BEYOND_SCHEDULES.contains(rule);
        assert!(
            found.contains(rule) || is_beyond,
            "{rule:?} has no schedule that finds what it prevents: add a seed or make one"
        );
        assert!(!(found.contains(rule) && is_beyond), "{rule:?} is found, so a schedule can need it");
        // Else `schedules rules` leaves it out, and it cannot be named.
        let kinds = KINDS.iter().filter(|kind| kind.rules.contains(rule)).count();
        assert_eq!(kinds, 1, "{rule:?} is listed for so many kinds of schedules");
    }
}

#[test]
fn a_fire_whose_runner_died_is_missed_where_whoever_stands_by_leaves_it_to_him() {
    let made = made::for_rule(Rule::HoldersMayFail).expect("one was made");
    for seed in 0..MADE {
        let run = |off| {
            let mut random = Random::new(seed);
            run_plan((made.plan)(&mut random), random, off, false)
        };
        let missed = run(Some(Rule::HoldersMayFail)).violations;
        assert!(missed.iter().any(|missed| missed.contains("nobody made up for fire")), "seed {seed}: {missed:?}");
        assert_eq!(run(None).met.0.get("died while others stood by"), Some(&1), "seed {seed}");
    }
}

#[test]
fn who_stands_by_for_a_fire_that_a_later_one_overtakes_is_told_so() {
    for seed in 0..MADE {
        let mut random = Random::new(seed);
        let ran = run_plan(made::a_fire_that_a_later_one_overtakes(&mut random), random, None, false);
        assert_eq!(ran.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!(ran.met.0.get("overtaken after its runner died"), Some(&1), "seed {seed}: {:?}", ran.met.0);
    }
}

#[test]
fn a_completion_that_is_sent_again_on_a_dead_connection_is_found_overdue() {
    for seed in 0..MADE {
        let mut random = Random::new(seed);
        let plan = made::a_completion_on_a_connection_that_died_behind_a_refusal(&mut random);
        let ran = run_plan(plan, random, None, false);
        assert_eq!(ran.violations, Vec::<String>::new(), "seed {seed}");
    }
}
