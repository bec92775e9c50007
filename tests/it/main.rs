//! The tests of redlock against real servers, one file per promise, in one binary so that it links once.

mod acquire;
mod attribute;
mod attribute_budget;
mod attribute_deadlock;
mod attribute_odd;
mod attribute_shapes;
mod bad_input;
mod clocks;
mod connections;
mod deadline;
mod electorate;
mod faults;
mod harness;
mod nothing_left;
mod processes;
mod python;
mod renewal;
mod slow_nodes;
mod split_votes;
mod statistics;
mod subscription;
mod waiting;
mod waiting_deadline;
mod waiting_faults;
mod waiting_line;
mod waiting_memory;
