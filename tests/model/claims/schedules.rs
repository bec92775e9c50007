//! The rules hold in every schedule, and none of them can be left out.

use super::explore::ALONE;
use super::plan::{Claim, Rule, World};
use crate::checks::{self, check_holds};

/// Attempts that want this, on nodes of which one may restart empty.
fn world<const NODES: usize>(claims: &'static [Claim]) -> World<NODES> {
    World { claims, restarts: 1, downgrades: false, broken: None }
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(world: World<3>) {
    let told = world.broken.expect("one is broken");
    checks::check_breaks(&[ALONE], &told, world, |after| {
        (after.phases, after.nodes.map(|node| (node.entries.map(|entry| entry.parts), node.has_restarted)))
    });
}

const READERS_AND_WRITER: &[Claim] = &[Claim::READ, Claim::READ, Claim::WRITE];

const WRITERS_AND_READER: &[Claim] = &[Claim::WRITE, Claim::WRITE, Claim::READ];

/// Each shares a name with each, and nobody has all.
const SETS: &[Claim] = &[Claim::Names(0b011), Claim::Names(0b110), Claim::Names(0b101)];

#[test]
fn no_writer_is_beside_two_readers() {
    check_holds::<World<3>>(world(READERS_AND_WRITER));
}

#[test]
fn no_writer_is_beside_another_or_a_reader() {
    check_holds::<World<3>>(world(WRITERS_AND_READER));
}

#[test]
fn no_writer_is_beside_a_reader_who_was_a_writer() {
    check_holds::<World<3>>(World { downgrades: true, ..world(WRITERS_AND_READER) });
}

#[test]
fn no_name_is_held_twice() {
    check_holds::<World<3>>(world(SETS));
}

#[test]
fn no_name_is_held_twice_by_one_who_wants_it_alone_beside_sets() {
    check_holds::<World<3>>(world(&[Claim::Names(0b011), Claim::Names(0b001), Claim::Names(0b110)]));
}

#[test]
fn two_writers_and_two_readers_keep_out_of_each_others_way() {
    check_holds::<World<3>>(World {
        downgrades: true,
        ..world(&[Claim::WRITE, Claim::WRITE, Claim::READ, Claim::READ])
    });
}

#[test]
fn no_writer_is_beside_two_readers_on_five_nodes() {
    check_holds::<World<5>>(world(READERS_AND_WRITER));
}

#[test]
fn no_writer_is_beside_a_reader_on_five_nodes_of_which_two_restart() {
    check_holds::<World<5>>(World { restarts: 2, ..world(&[Claim::READ, Claim::WRITE]) });
}

#[test]
fn an_entry_must_live_as_long_as_its_owner_believes() {
    check_breaks(World { broken: Some(Rule::EntriesOutliveValidity), ..world(READERS_AND_WRITER) });
}

#[test]
fn a_writer_must_look_for_readers() {
    check_breaks(World { broken: Some(Rule::WritersLookForReaders), ..world(READERS_AND_WRITER) });
}

#[test]
fn a_reader_must_look_for_writers() {
    check_breaks(World { broken: Some(Rule::ReadersLookForWriters), ..world(READERS_AND_WRITER) });
}

#[test]
fn a_reader_needs_a_majority_as_a_writer_does() {
    check_breaks(World { broken: Some(Rule::ReadersNeedMajority), ..world(READERS_AND_WRITER) });
}

#[test]
fn each_reader_must_expire_by_itself() {
    check_breaks(World { broken: Some(Rule::ReadersExpireOneByOne), ..world(READERS_AND_WRITER) });
}

#[test]
fn an_intent_must_not_be_taken_for_a_grant() {
    check_breaks(World { broken: Some(Rule::IntentIsNoGrant), ..world(READERS_AND_WRITER) });
}

#[test]
fn an_entry_must_be_set_again_only_where_it_could_be_granted() {
    check_breaks(World { broken: Some(Rule::RepairsLook), ..world(READERS_AND_WRITER) });
    check_breaks(World { broken: Some(Rule::RepairsLook), ..world(SETS) });
}

#[test]
fn a_writer_must_stop_writing_before_he_becomes_a_reader() {
    check_breaks(World { downgrades: true, broken: Some(Rule::StopsWritingFirst), ..world(WRITERS_AND_READER) });
}

#[test]
fn a_node_that_restarted_must_abstain_while_somebody_is_under_way_who_began_before() {
    check_breaks(World { broken: Some(Rule::Abstention), ..world(READERS_AND_WRITER) });
    check_breaks(World { broken: Some(Rule::Abstention), ..world(SETS) });
}

#[test]
fn a_node_that_restarted_must_count_in_no_extension_while_somebody_may_have_heard_it_before() {
    check_breaks(World { broken: Some(Rule::YoungCountInNoExtension), ..world(READERS_AND_WRITER) });
    check_breaks(World { broken: Some(Rule::YoungCountInNoExtension), ..world(SETS) });
}

#[test]
fn a_node_must_grant_all_names_or_none() {
    check_breaks(World { broken: Some(Rule::AllOrNothing), ..world(SETS) });
}
