//! The machine: the only sources of time, chance, threads and tasks.

pub(crate) mod process;

pub(crate) mod drivers;

pub(crate) mod clock;

pub(crate) mod schedule;

pub(crate) mod deadline;

pub(crate) mod entropy;

pub(crate) mod tasks;

pub(crate) mod parking;

pub(crate) mod background;

#[cfg(redlock_simulated)]
pub(crate) mod simulated;
