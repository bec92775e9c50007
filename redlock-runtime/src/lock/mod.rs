//! What a user asks for and holds, one kind a file.

pub(crate) mod shared;

pub(crate) mod guard;

mod resolved;

pub(crate) mod request;

pub(crate) mod get_or_compute;
