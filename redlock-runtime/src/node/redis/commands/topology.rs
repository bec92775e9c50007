//! What is said to learn who is a master, who follows it, and which server has which slots.

use std::time::Duration;

use redis::Pipeline;

use super::whole_milliseconds;

/// The channel on which a Sentinel tells that a service has another master.
pub(in crate::node) const MASTER_SWITCHED: &str = "+switch-master";

/// What a Sentinel answers that watches over no such service.
pub(in crate::node) const NO_SUCH_MASTER: &str = "No such master with that name";

/// Asks a Sentinel where the master of a service is, and for the state of the service.
pub(in crate::node) fn find_master(service: &str) -> Pipeline {
    let mut question = Pipeline::new();
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    question.cmd("SENTINEL").arg("MASTER").arg(service);
    question
}

/// Writes these keys, as far as the server has their slots, and counts the replicas that have them, once so many do or the
/// time is over. They have whatever was written before as well.
pub(in crate::node) fn count_replicas(marks: &[String], needed: usize, within: Duration) -> Pipeline {
    let mut question = Pipeline::with_capacity(marks.len() + 1);
    for mark in marks {
        question.cmd("SET").arg(mark).arg(1).arg("PX").arg(1000);
    }
    question.cmd("WAIT").arg(needed).arg(whole_milliseconds(within));
    question
}

/// Asks a server of a cluster how that is, and which servers have which slots.
pub(in crate::node) fn map_cluster() -> Pipeline {
    let mut question = Pipeline::new();
    question.cmd("CLUSTER").arg("INFO");
    question.cmd("CLUSTER").arg("SLOTS");
    question
}
