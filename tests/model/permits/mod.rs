//! Never do more hold a lock than it has permits: every schedule of a few clients on three nodes, explored by a model checker.
//!
//! What follows from the votes is decided by `redlock_runtime::protocol`, by the functions that the engine calls. The model holds what
//! is around them: who has been asked for what, what was heard of it, whose key is in which slot of which node.
//!
//! A client asks all nodes for any permit, each of which grants the first that is free in the client's order; an answer may be lost.
//! It decides at any moment by what it has heard: it has a permit, or asks for one alone that a majority had free, or is over. It may
//! be over at any moment, also as a holder. Then, and not before, its keys may be gone, and so may those that it has in other slots than
//! its own. A few keys are in the way all the same: they are to expire or to be released, or a request arrived that nobody waited for
//! any more. One node may restart empty. It then abstains in attempts that begin before those are over that had begun
//! when it restarted.
//!
//! Each rule can be broken (`plan::Rule`), and for each a test asserts that more holders than permits are then found, and prints how.
//!
//! In reading order: `plan` what is explored; `state` everything at one moment; `steps` what nodes and clients do; `explore` what may
//! happen next; `schedules` the tests.

mod explore;
mod plan;
mod schedules;
mod state;
mod steps;
