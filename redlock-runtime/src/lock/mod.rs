//! What a user asks for and holds, one kind a file.

pub(crate) mod shared;

pub(crate) mod guard;

pub(crate) mod body;
pub(crate) mod fire;
pub(crate) mod lead;
pub(crate) mod once;
mod resolved;

pub(crate) mod request;

pub(crate) mod permits;
mod read_write;
mod several;

pub(crate) mod get_or_compute;
