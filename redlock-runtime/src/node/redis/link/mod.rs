//! A connection to whichever server a node is: where that is, how it is made, kept, told dead, and what travels on it.

pub(in crate::node::redis) mod bounded;
pub(crate) mod connection;
mod corked;
pub(crate) mod dial;
pub(crate) mod endpoint;
mod health;
pub(in crate::node::redis) mod lookup;
mod lookup_host;
pub(in crate::node::redis) mod published;
pub(crate) mod replicas;
pub(crate) mod sentinel;
pub(in crate::node::redis) mod subscription;
pub(in crate::node::redis) mod traffic;
