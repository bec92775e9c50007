//! Locks as people see and mend them from outside, whoever holds them.

pub(crate) mod inspect;

pub(crate) mod last_run;

pub(crate) mod leader;

mod holding;

pub(crate) mod list;

pub(crate) mod overview;

pub(crate) mod nodes;

pub(crate) mod permits;

pub(crate) mod reset;

pub(crate) mod sharing;

pub(crate) mod changes;

pub(crate) mod watch;

pub(crate) mod check;
