//! Schedules that are made for what chance does not come upon: each leads to where one rule is all that keeps a promise.
//!
//! Servers are called x, y and z, and stand in this order; A, B and so on are processes. A seed moves what need not be exact, and
//! draws all that is on its way for a usual time.

use std::ops::Range;
use std::time::Duration;

use redlock_simulated::simulation::Rule;

use crate::cluster::SlotStep;
use crate::plan::{
    Ending, Fault, FireKind, FireWish, How, LockKind, NodePlan, OLD, Passage, Plan, ProcessPlan, Script, Slow, Weather,
    Wish, rate,
};
use crate::random::Random;

/// A schedule, and the rule that it needs.
pub(crate) struct Made {
    pub(crate) rule: Rule,
    pub(crate) plan: fn(&mut Random) -> Plan,
}

pub(crate) const ALL: &[Made] = &[
    Made { rule: Rule::RepairsAreReleased, plan: a_repair_beside_a_late_refusal },
    Made { rule: Rule::UnsentIsSentAgain, plan: a_release_whose_connection_is_not_made_in_time },
    Made { rule: Rule::ReleaseAgainInTime, plan: a_release_that_is_refused_for_long },
    Made { rule: Rule::RepairAfterMajority, plan: a_repair_of_a_lost_lock },
    Made { rule: Rule::OneVoteAServer, plan: an_extension_by_one_server_twice },
    Made { rule: Rule::CommitComparesOwner, plan: a_commit_that_finds_another_owner },
    Made { rule: Rule::Evidence, plan: a_token_where_a_restarted_node_and_one_that_never_heard_vote },
    Made { rule: Rule::RestartIsNoEvidence, plan: a_token_where_a_restarted_node_and_one_that_never_heard_vote },
    Made { rule: Rule::YoungCountInNoExtension, plan: an_extension_by_a_node_that_forgot_a_vote },
    Made { rule: Rule::RoundsAreShort, plan: a_round_that_outlasts_what_a_node_forgot },
    Made {
        rule: Rule::YoungMarksAreNoEvidence,
        plan: a_fire_that_a_restarted_node_and_one_that_never_heard_are_asked_for,
    },
    Made {
        rule: Rule::CompletionComparesOwner,
        plan: a_completion_that_comes_late_to_a_node_that_forgot_a_greater_one,
    },
    Made { rule: Rule::TurnsAreBounded, plan: a_crowd_beside_another_process },
    Made { rule: Rule::MinorityIsNoProof, plan: a_fire_that_a_single_node_knows_of_and_forgets },
    Made { rule: Rule::RestoredMarksAreNoEvidence, plan: a_fire_that_a_snapshot_is_too_old_for },
    Made { rule: Rule::NotBeforeDue, plan: a_fire_that_is_completed_before_a_node_restarts_and_it_is_due },
    Made { rule: Rule::CompletionWithinValidity, plan: a_completion_that_outlasts_what_a_node_forgot },
    Made { rule: Rule::RepairHasEvidence, plan: a_mark_that_is_written_back_to_a_node_that_forgot_a_greater_one },
    Made { rule: Rule::TurnsAreValid, plan: a_lease_that_is_passed_on_to_a_runtime_that_blocks },
    Made { rule: Rule::MarksGoToHeardVoters, plan: a_completion_that_is_sent_again_to_an_older_snapshot },
    Made { rule: Rule::CompletionIsNotStretched, plan: a_mark_that_outlasts_the_validity_before_a_renewal },
    Made { rule: Rule::UnnamedKeysAreThere, plan: a_release_that_is_sent_on_to_who_gives_the_slot_away_again },
    Made { rule: Rule::CarrierGoesOn, plan: an_acquire_that_is_sent_on_to_a_connection_that_is_silent },
    Made { rule: Rule::HoldersMayFail, plan: a_runner_that_is_killed_while_others_stand_by },
];

/// The one for this rule.
pub(crate) fn for_rule(rule: Rule) -> Option<&'static Made> {
    ALL.iter().find(|made| made.rule == rule)
}

const X: usize = 0;
const Y: usize = 1;
const Z: usize = 2;

/// The rate of a clock that is drawn.
const ANY: i64 = 0;

/// As long as faults last.
const THROUGHOUT: Duration = Duration::from_secs(5);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Somewhere within a few milliseconds after that.
fn about(random: &mut Random, millis: u64) -> Duration {
    ms(millis) + Duration::from_micros(random.between(0, 3_000))
}

fn node(random: &mut Random) -> NodePlan {
    NodePlan {
        rate: rate(random),
        age: OLD + random.millis(0, 2_000),
        version: 7,
        speaks_resp3: true,
        is_behind_proxy: false,
        expiry_lag: Duration::ZERO,
    }
}

/// Each wish is a task's, so that all times count from the beginning.
fn process(wishes: impl IntoIterator<Item = Wish>) -> ProcessPlan {
    ProcessPlan {
        rate: ANY,
        skew: Duration::ZERO,
        is_multi_thread: false,
        tasks: wishes.into_iter().map(|wish| vec![wish]).collect(),
        leaders: Vec::new(),
    }
}

/// Wants the lock at a time, and holds it for one.
fn wish(after: Duration, ttl: u64, body: u64) -> Wish {
    Wish {
        name: 0,
        after,
        ttl: ms(ttl),
        limit: None,
        body: ms(body),
        is_renewed: true,
        min_hold: None,
        max_hold: None,
        extension: None,
        cancel: None,
        give_up: None,
        how: How::Guard,
        is_stubborn: false,
        is_certain: false,
        ending: Ending::Release,
        fire: None,
        kind: LockKind::Plain,
    }
}

fn plan(random: &mut Random, nodes: usize, mut processes: Vec<ProcessPlan>, longest_ttl: u64) -> Plan {
    for process in processes.iter_mut().filter(|process| process.rate == ANY) {
        process.rate = rate(random);
    }
    Plan {
        weather: Weather::Made,
        nodes: (0..nodes).map(|_| node(random)).collect(),
        memory: 0,
        is_cluster: false,
        twin: None,
        processes,
        fencing: true,
        node_timeout: ms(50),
        longest_ttl: ms(longest_ttl),
        errors: 0,
        reports: (0, 0),
        faults: Vec::new(),
        script: Some(Script { healed: ms(6_000), connect_timeout: ms(300), slow: Vec::new(), are_clocks_right: true }),
        permits: Vec::new(),
    }
}

/// Of the callers' runtime.
fn slow(process: usize, node: usize, passage: Passage, sent: Range<Duration>, arrives: Duration) -> Slow {
    Slow { process, runtime: 1, node, passage, sent, arrives }
}

fn with(plan: Plan, faults: Vec<(Duration, Fault)>, change: impl FnOnce(&mut Script)) -> Plan {
    let mut script = plan.script.clone().expect("it is a schedule that was made");
    change(&mut script);
    Plan { faults, script: Some(script), ..plan }
}

/// B has z for a moment, so that z refuses A, which gets the others; but A does not hear of it. When B has given z back, A's
/// renewal sets the key there. A lets go, and then hears the refusal.
fn a_repair_beside_a_late_refusal(random: &mut Random) -> Plan {
    let a = process([wish(about(random, 50), 1_800, 640)]);
    let b = process([Wish { limit: Some(Duration::ZERO), ..wish(about(random, 47), 1_800, 0) }]);
    let plan = Plan { node_timeout: ms(100), ..plan(random, 3, vec![a, b], 1_800) };
    with(plan, Vec::new(), |script| {
        script.healed = ms(0);
        // B comes to x and y after A, and A to z after B.
        script.slow = vec![
            slow(1, X, Passage::Connection, ms(0)..ms(60), ms(65)),
            slow(1, Y, Passage::Connection, ms(0)..ms(60), ms(65)),
            slow(0, Z, Passage::Connection, ms(0)..ms(60), ms(62)),
            slow(0, Z, Passage::Reply, ms(66)..ms(400), ms(950)),
        ];
    })
}

/// A drops its guard. The release is the first thing that is sent in the background, and the connection to x takes longer there than a
/// connection may be silent.
fn a_release_whose_connection_is_not_made_in_time(random: &mut Random) -> Plan {
    let a = process([Wish { ending: Ending::Drop, ..wish(about(random, 50), 4_000, 20) }]);
    let plan = plan(random, 3, vec![a], 4_000);
    with(plan, Vec::new(), |script| {
        script.healed = ms(0);
        script.connect_timeout = ms(3_500);
        script.slow = vec![Slow { runtime: 0, ..slow(0, X, Passage::Connection, ms(0)..ms(600), ms(1_000)) }];
    })
}

/// x refuses A's release, and all else, for three seconds. Its key expires a moment after that.
fn a_release_that_is_refused_for_long(random: &mut Random) -> Plan {
    let a = process([Wish { is_renewed: false, ..wish(about(random, 50), 3_270, 40) }]);
    let faults = vec![(ms(70), Fault::Refuse { node: X, lasting: ms(3_000) })];
    let plan = Plan { node_timeout: ms(10), ..plan(random, 3, vec![a], 3_270) };
    with(plan, faults, |script| script.healed = ms(3_070))
}

/// A is stopped while its renewal is answered, and goes on when its lock is lost and its keys are gone, so that no majority
/// extends them. Were it to set them again, B could not have the lock.
fn a_repair_of_a_lost_lock(random: &mut Random) -> Plan {
    let body = random.between(2_500, 3_500);
    let a = process([Wish { is_stubborn: true, ..wish(about(random, 50), 900, body) }]);
    let wants = Wish { limit: Some(ms(500)), is_certain: true, ..wish(about(random, 1_870), 900, 10) };
    let plan = plan(random, 3, vec![a, process([wants])], 900);
    with(plan, vec![(ms(675), Fault::Pause { process: 0, lasting: ms(1_175) })], |script| {
        // The second renewal, as the first one's connections have to be made.
        let reply = |node| slow(0, node, Passage::Reply, ms(600)..ms(675), ms(680));
        script.slow = [X, Y, Z].map(|node| Slow { runtime: 0, ..reply(node) }).into();
    })
}

/// A server has two of three names. Two servers grant A the lock; then one of them alone extends it, by both its names, and the
/// other one's key expires: the lock is where a single restart loses it.
fn an_extension_by_one_server_twice(random: &mut Random) -> Plan {
    let a = process([wish(about(random, 50), 600, 2_500)]);
    let faults = vec![(about(random, 100), Fault::Partition { process: 0, node: Y, lasting: ms(3_000) })];
    let plan = plan(random, 2, vec![a], 600);
    with(Plan { twin: Some(X), ..plan }, faults, |_| {})
}

/// x has counted further than y, so A commits x's number on both; y gets that when A's key has expired and it is B's, whose token
/// is z's number, and the same. A does not notice, for its clock is far too slow.
fn a_commit_that_finds_another_owner(random: &mut Random) -> Plan {
    // A and B have no counter of their own clocks that is as great.
    let d = ProcessPlan { skew: ms(50_000), ..process([wish(about(random, 10), 100, 5)]) };
    let warm = |name, after| Wish { name, ..wish(after, 100, 1) };
    let wants = Wish { is_renewed: false, ..wish(ms(100), 100, 300) };
    let a = ProcessPlan { rate: -900_000, ..process([warm(1, about(random, 40)), wants]) };
    let b = process([wish(about(random, 225), 100, 200)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Y, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 1, node: Z, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 2, node: X, lasting: THROUGHOUT }),
    ];
    let plan = plan(random, 3, vec![d, a, b], 250);
    let commit = Duration::from_micros(101_100)..ms(105);
    with(plan, faults, |script| {
        script.are_clocks_right = false;
        script.slow = vec![slow(1, Y, Passage::Request, commit, ms(250))];
    })
}

/// Very many tasks of A want the lock at once, and pass it on; B wants it a moment later, and hears of no turn.
fn a_crowd_beside_another_process(random: &mut Random) -> Plan {
    let crowd: Vec<_> = (0..150).map(|_| Wish { is_certain: true, ..wish(about(random, 50), 2_000, 1) }).collect();
    let b = process([Wish { is_certain: true, ..wish(about(random, 56), 2_000, 1) }]);
    let plan = plan(random, 3, vec![process(crowd), b], 2_000);
    // Tokens that were reserved would bound it as well.
    Plan { weather: Weather::Crowded, fencing: false, ..plan }
}

/// x and y give D its token, by a clock that is ahead of A's; x restarts, and is old enough to vote when A wants the lock, which
/// does not reach y. z never heard of D.
fn a_token_where_a_restarted_node_and_one_that_never_heard_vote(random: &mut Random) -> Plan {
    let d = ProcessPlan { skew: random.millis(10_000, 50_000), ..process([wish(about(random, 10), 200, 20)]) };
    let a = process([wish(about(random, 3_500), 200, 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (about(random, 600), Fault::Crash { node: X, down: random.millis(1, 50) }),
    ];
    let plan = plan(random, 3, vec![d, a], 250);
    with(plan, faults, |_| {})
}

/// B holds x and y, and z has granted A the lock, which waits for x. z restarts, and gets B's key, which was late. B extends its
/// lock on y and z, and its key on x expires. Then x hears A.
fn an_extension_by_a_node_that_forgot_a_vote(random: &mut Random) -> Plan {
    forgotten_vote(random, 10_000, 250, 1_400)
}

/// The same, but B extends its lock on z when that counts again, long after A's round ought to have ended.
fn a_round_that_outlasts_what_a_node_forgot(random: &mut Random) -> Plan {
    forgotten_vote(random, 4_000, 2_400, 3_200)
}

fn forgotten_vote(random: &mut Random, longest_ttl: u64, cut_off: u64, arrives: u64) -> Plan {
    let a = process([wish(about(random, 50), longest_ttl, 200)]);
    let b = process([wish(about(random, 10), 500, 5_000)]);
    let faults = vec![
        // A does not hear that z ends.
        (ms(95), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(100), Fault::Crash { node: Z, down: random.millis(1, 10) }),
        (about(random, cut_off), Fault::Partition { process: 1, node: X, lasting: THROUGHOUT }),
    ];
    let plan = Plan { node_timeout: ms(200), ..plan(random, 3, vec![a, b], longest_ttl) };
    with(plan, faults, |script| {
        script.connect_timeout = ms(3_500);
        script.slow = vec![
            slow(0, X, Passage::Connection, ms(0)..ms(90), ms(arrives)),
            slow(1, Z, Passage::Connection, ms(0)..ms(90), ms(150)),
        ];
    })
}

/// Wants the lock for a fire that is due at a time, after that.
fn fire(due: u64, after: Duration, body: u64) -> Wish {
    let fire = FireWish { kind: FireKind::Due, due: ms(due), early: ms(0), is_at_start: false, fails: false };
    Wish { fire: Some(fire), ..wish(after, 200, body) }
}

/// A fire is completed on x and y; x restarts, and is old enough to vote when it is asked for once more, by a process that
/// does not reach y. z never heard of it.
fn a_fire_that_a_restarted_node_and_one_that_never_heard_are_asked_for(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 20)]);
    let b = process([fire(300, about(random, 3_200), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (about(random, 600), Fault::Crash { node: X, down: random.millis(1, 50) }),
    ];
    with(plan(random, 3, vec![a, b], 250), faults, |_| {})
}

/// A completes the first fire on x and y, and z does not hear of it, so that it is sent there again and again. B completes the
/// second on x and z; z restarts, and hears of A's when its age, which is told in whole seconds, is greater than none. It knows a fire then, and not the
/// greatest.
fn a_completion_that_comes_late_to_a_node_that_forgot_a_greater_one(random: &mut Random) -> Plan {
    let held = Wish { is_renewed: false, ..fire(300, about(random, 10), 30) };
    let a = process([held]);
    let b = process([fire(900, about(random, 10), 20)]);
    let c = process([fire(900, about(random, 3_500), 20)]);
    let faults = vec![
        (ms(325), Fault::Partition { process: 0, node: Z, lasting: ms(2_300) }),
        (ms(0), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 2, node: X, lasting: THROUGHOUT }),
        (about(random, 1_200), Fault::Crash { node: Z, down: random.millis(1, 20) }),
    ];
    with(plan(random, 3, vec![a, b, c], 250), faults, |_| {})
}

/// A's completion reaches x alone, and B is told of it by x. Then x restarts, and C wants the fire.
fn a_fire_that_a_single_node_knows_of_and_forgets(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 30)]);
    let b = process([fire(300, about(random, 700), 20)]);
    let c = process([fire(300, about(random, 3_800), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(325), Fault::Partition { process: 0, node: Y, lasting: THROUGHOUT }),
        (about(random, 1_200), Fault::Crash { node: X, down: random.millis(1, 20) }),
    ];
    with(plan(random, 3, vec![a, b, c], 250), faults, |_| {})
}

/// A completes two fires on x and y, and x takes a snapshot in between, with which it comes back. z never heard of them, and C does not
/// reach y.
fn a_fire_that_a_snapshot_is_too_old_for(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 20), fire(900, about(random, 10), 20)]);
    let c = process([fire(900, about(random, 3_200), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (about(random, 600), Fault::Save { node: X }),
        (about(random, 1_200), Fault::Restore { node: X, down: random.millis(1, 20) }),
    ];
    with(plan(random, 3, vec![a, c], 250), faults, |_| {})
}

/// A asks for a fire long before it is due, and completes it on x and y. x restarts, still before it is due, and C, which does not reach y, takes
/// it for a node that would know. z never heard of it.
fn a_fire_that_is_completed_before_a_node_restarts_and_it_is_due(random: &mut Random) -> Plan {
    let early = FireWish { kind: FireKind::Due, due: ms(1_500), early: ms(1_250), is_at_start: false, fails: false };
    let a = process([Wish { fire: Some(early), ..fire(1_500, about(random, 0), 10) }]);
    // It is connected when x ends, and so knows when that began again.
    let warm = Wish { name: 1, ..wish(about(random, 10), 100, 1) };
    let c = process([warm, fire(1_500, about(random, 2_300), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(200), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (about(random, 300), Fault::Crash { node: X, down: random.millis(1, 10) }),
    ];
    with(plan(random, 3, vec![a, c], 250), faults, |_| {})
}

/// A's completion reaches x, and y when x has long restarted and votes again; y, whose clock is slow, keeps A's key for so long. C is refused by y before
/// that, and granted the lock by x and z.
fn a_completion_that_outlasts_what_a_node_forgot(random: &mut Random) -> Plan {
    let a = process([Wish { ttl: ms(1_000), ..fire(300, about(random, 10), 20) }]);
    let warm = Wish { name: 1, ..wish(about(random, 10), 100, 1) };
    // With a TTL that leaves the nodes as much time to answer as z takes.
    let c = process([warm, Wish { ttl: ms(1_000), ..fire(300, about(random, 3_680), 20) }]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (about(random, 400), Fault::Crash { node: X, down: random.millis(1, 10) }),
    ];
    let mut plan = Plan { node_timeout: ms(200), ..plan(random, 3, vec![a, c], 1_000) };
    plan.nodes[Y].rate = -800_000;
    with(plan, faults, |script| {
        script.connect_timeout = ms(3_500);
        script.slow = vec![
            slow(0, Y, Passage::Request, ms(325)..ms(400), ms(5_500)),
            slow(0, Y, Passage::Connection, ms(400)..ms(3_900), ms(4_000)),
            slow(1, Z, Passage::Reply, ms(3_975)..ms(4_010), ms(4_150)),
        ];
    })
}

/// A completes the first fire on x and y, B the second on x and z, and z forgets it. C, which does not reach x, is told of the first by y
/// alone, and D asks for the second.
fn a_mark_that_is_written_back_to_a_node_that_forgot_a_greater_one(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 20)]);
    let b = process([fire(900, about(random, 10), 20)]);
    let c = process([fire(300, about(random, 3_600), 20)]);
    let d = process([fire(900, about(random, 3_700), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 0, node: Z, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 1, node: Y, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 2, node: X, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 3, node: X, lasting: THROUGHOUT }),
        (about(random, 1_200), Fault::Crash { node: Z, down: random.millis(1, 20) }),
    ];
    with(plan(random, 3, vec![a, b, c, d], 250), faults, |_| {})
}

/// Two threads of A have x one after the other, and while the second has it a third call blocks the only thread of A's runtime, on which a task is
/// next in line. The lease is that task's from then on, but it does not come for it before the keys have expired and B has the lock.
fn a_lease_that_is_passed_on_to_a_runtime_that_blocks(random: &mut Random) -> Plan {
    let blocking = |is_on_runtime, wish| Wish { how: How::Blocking { is_attribute: false, is_on_runtime }, ..wish };
    // The TTL of the first is not the others': it is released, and the next acquisition knows how long a round trip takes.
    let first = blocking(false, wish(ms(40), 400, 30));
    let second = blocking(false, wish(ms(55), 40, 8));
    let next = wish(ms(58), 40, 5);
    let blocks = Wish { name: 1, limit: Some(ms(64)), ..blocking(true, wish(ms(62), 500, 0)) };
    let a = process([first, second, next, blocks]);
    let b = process([Wish { is_certain: true, ..wish(about(random, 80), 2_000, 60) }]);
    let c = process([Wish { name: 1, ..wish(about(random, 20), 1_000, 250) }]);
    plan(random, 3, vec![a, b, c], 2_000)
}

/// A completes the first fire on x and y, and hears of z's grant when it is about to. z takes a snapshot before that, with A's key in it; then A
/// releases that key, and does not hear that it has. B completes the second fire on y and z. z comes back with its snapshot, and A releases the
/// key once more: were that a completion, z would have a mark that looks as if it knew of all before it. C does not reach y.
fn a_completion_that_is_sent_again_to_an_older_snapshot(random: &mut Random) -> Plan {
    // It is connected to z in the background, too, and z knows the script of a completion.
    let warm = Wish { name: 1, ending: Ending::Drop, ..wish(about(random, 10), 100, 1) };
    let earlier = fire(100, about(random, 10), 10);
    let a = process([warm, earlier, Wish { ttl: ms(4_000), is_renewed: false, ..fire(300, ms(10), 30) }]);
    let b = process([fire(900, about(random, 10), 20)]);
    let c = process([fire(900, about(random, 7_600), 20)]);
    let faults = vec![
        (ms(0), Fault::Partition { process: 1, node: X, lasting: THROUGHOUT }),
        (ms(0), Fault::Partition { process: 2, node: Y, lasting: 2 * THROUGHOUT }),
        (ms(330), Fault::Save { node: Z }),
        // For so long that the mark is younger than z, whose age may be told two seconds too small.
        (ms(380), Fault::Partition { process: 0, node: Z, lasting: ms(3_000) }),
        (about(random, 1_200), Fault::Restore { node: Z, down: random.millis(1, 20) }),
    ];
    with(plan(random, 3, vec![a, b, c], 4_000), faults, |script| {
        script.healed = ms(10_500);
        script.slow = vec![
            slow(0, Z, Passage::Reply, ms(308)..ms(325), ms(348)),
            slow(0, Z, Passage::Reply, ms(346)..ms(380), ms(900)),
            Slow { runtime: 0, ..slow(0, Z, Passage::Reply, ms(346)..ms(380), ms(900)) },
        ];
    })
}

/// A marks a fire before its body, on x, which restarts and votes again before the mark comes to y; meanwhile A's lock is renewed, and its key set
/// on z. B is refused by y a moment before that, and granted the lock by x, and by z when A's key has expired there.
fn a_mark_that_outlasts_the_validity_before_a_renewal(random: &mut Random) -> Plan {
    let marked_first = FireWish { kind: FireKind::Due, due: ms(300), early: ms(0), is_at_start: true, fails: false };
    let starts = |after| Wish { ttl: ms(1_000), fire: Some(marked_first), ..fire(300, after, 20) };
    let warm = |after| Wish { name: 1, ..wish(after, 100, 1) };
    // The rates of clocks would add up in so many renewals.
    let exact = |process| ProcessPlan { rate: 1, ..process };
    let a = exact(process([warm(about(random, 10)), starts(ms(10))]));
    let b = exact(process([warm(about(random, 100)), starts(ms(3_600))]));
    let faults = vec![
        (about(random, 710), Fault::Crash { node: X, down: random.millis(1, 10) }),
        // So A does not set its key there once more.
        (ms(715), Fault::Partition { process: 0, node: X, lasting: THROUGHOUT }),
    ];
    let mut plan = Plan { node_timeout: ms(1_000), ..plan(random, 3, vec![a, b], 1_000) };
    plan.nodes.iter_mut().for_each(|node| node.rate = 0);
    with(plan, faults, |script| {
        script.slow = vec![
            slow(0, Z, Passage::Connection, ms(0)..ms(330), ms(9_000)),
            slow(0, Y, Passage::Request, ms(312)..ms(360), ms(3_922)),
            // No renewal behind that.
            Slow { runtime: 0, ..slow(0, Y, Passage::Request, ms(3_100)..ms(4_100), ms(4_100)) },
            Slow { runtime: 0, ..slow(0, Z, Passage::Request, ms(3_100)..ms(4_100), ms(4_100)) },
            slow(1, Z, Passage::Request, ms(3_895)..ms(3_915), ms(4_005)),
        ];
    })
}

/// A cluster, and C gives up before it hears that it has one of six permits, and which. When it releases whichever it is, all of them have moved
/// from z to y, and when it is told so, the one that it has is on its way on to x.
fn a_release_that_is_sent_on_to_who_gives_the_slot_away_again(random: &mut Random) -> Plan {
    let hold = |random: &mut Random, count: usize| {
        process((0..count).map(|_| wish(about(random, 35), 60_000, 600)).collect::<Vec<_>>())
    };
    let (a, b) = (hold(random, 3), hold(random, 2));
    let warm = Wish { ending: Ending::Drop, ..wish(ms(5), 60_000, 1) };
    let c = process([warm, Wish { give_up: Some(ms(30)), ..wish(ms(60), 60_000, 1) }]);
    let moves = |from, to, step| Fault::MoveSlot { name: 0, from, to, step };
    let faults = vec![
        (ms(95), moves(Z, Y, SlotStep::Begins)),
        (ms(100), moves(Z, Y, SlotStep::Keys { of: None })),
        (ms(140), moves(Z, Y, SlotStep::Ends)),
        (ms(150), moves(Y, X, SlotStep::Begins)),
        (ms(160), moves(Y, X, SlotStep::Keys { of: Some(2) })),
        (ms(350), moves(Y, X, SlotStep::Keys { of: None })),
        (ms(360), moves(Y, X, SlotStep::Ends)),
    ];
    let plan = plan(random, 3, vec![a, b, c], 60_000);
    with(Plan { is_cluster: true, permits: vec![6; 3], node_timeout: ms(300), ..plan }, faults, |script| {
        script.healed = ms(500);
        let told_late = [0, 1].map(|runtime| Slow { runtime, ..slow(2, Z, Passage::Reply, ms(110)..ms(140), ms(200)) });
        script.slow = told_late.into_iter().chain([slow(2, Z, Passage::Reply, ms(60)..ms(70), ms(120))]).collect();
    })
}

/// A cluster, and A does not know that the slot has moved from z to y. Its acquire is sent on, through a connection on which nothing arrives for
/// longer than one may be silent, and released on another one.
fn an_acquire_that_is_sent_on_to_a_connection_that_is_silent(random: &mut Random) -> Plan {
    // The slot of the other name is y's, so that A is connected there.
    let warm = |random: &mut Random, name| Wish { name, ..wish(about(random, 5), 60_000, 1) };
    let tasks = [warm(random, 0), warm(random, 1), Wish { give_up: Some(ms(40)), ..wish(ms(60), 60_000, 1) }];
    let steps = [(ms(40), SlotStep::Begins), (ms(45), SlotStep::Keys { of: None }), (ms(50), SlotStep::Ends)];
    let moves = |(moment, step)| (moment, Fault::MoveSlot { name: 0, from: Z, to: Y, step });
    let plan = plan(random, 3, vec![process(tasks)], 60_000);
    with(Plan { is_cluster: true, ..plan }, steps.map(moves).into(), |script| {
        script.healed = ms(2_000);
        script.slow = vec![slow(0, Y, Passage::Request, ms(60)..ms(80), ms(1_500))];
    })
}

/// A is killed while its body runs, and B and C stand by for longer than its TTL.
fn a_runner_that_is_killed_while_others_stand_by(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 400)]);
    let standing_by =
        |random: &mut Random| process([Wish { limit: Some(ms(3_000)), ..fire(300, about(random, 30), 20) }]);
    let (b, c) = (standing_by(random), standing_by(random));
    let faults = vec![(about(random, 450), Fault::Kill { process: 0 })];
    with(plan(random, 3, vec![a, b, c], 250), faults, |_| {})
}

/// As before; but in B's line somebody who wants a later fire is in front of who stands by for A's.
#[cfg(test)]
pub(crate) fn a_fire_that_a_later_one_overtakes(random: &mut Random) -> Plan {
    let a = process([fire(300, about(random, 10), 400)]);
    let stands_by = |due, after| Wish { limit: Some(ms(3_000)), ..fire(due, after, 20) };
    let b = process([stands_by(310, about(random, 30)), stands_by(300, about(random, 100))]);
    let faults = vec![(about(random, 450), Fault::Kill { process: 0 })];
    with(plan(random, 3, vec![a, b], 250), faults, |_| {})
}

/// A's completion is refused twice, and then sent again on a connection that is dead by then, where only somebody who finds it overdue
/// would look.
#[cfg(test)]
pub(crate) fn a_completion_on_a_connection_that_died_behind_a_refusal(random: &mut Random) -> Plan {
    let a = process([Wish { ttl: ms(60_000), is_renewed: false, ..fire(300, about(random, 10), 200) }]);
    let faults = vec![
        (ms(480), Fault::Refuse { node: X, lasting: ms(250) }),
        (random.millis(530, 580), Fault::Partition { process: 0, node: X, lasting: ms(270) }),
    ];
    let plan = Plan { node_timeout: ms(20), ..plan(random, 1, vec![a], 61_000) };
    with(plan, faults, |_| {})
}
