//! Small types that cannot hold a wrong value.

pub(crate) mod timeout;

pub(crate) mod name;

pub(crate) mod token;

pub(crate) mod slot;

pub(crate) mod fire;
pub(crate) mod keys;
pub(crate) mod permits;
pub(crate) mod readers_writers;
pub(crate) mod several;
pub(crate) mod subject;

pub(crate) mod on_shutdown;
