//! Fencing tokens only grow: every schedule of a few clients on three nodes, explored by a model checker.
//!
//! Every decision is taken by `redlock_runtime::protocol`, by the functions that the engine and the nodes call. The model
//! holds what is around them: who has been asked, what was heard of it, whose key is on which node.
//!
//! Nothing is assumed about time. A key may be gone whenever another owner asks for it: it expired, or its release came,
//! however late; a release deletes only its owner's key, so it is no event by itself. A request may arrive when nobody waits
//! for it any more, a commit too; an answer may be lost; an attempt may be given up at any moment. One node may restart
//! empty, before it is as old as the retention. It then abstains in attempts that begin before those are over that had
//! begun when it restarted, which is what `Electorate` is there for.
//!
//! A client may reserve a block of tokens for those who follow its attempt within its process. All of it is given when the attempt
//! gets its own: later ones are checked against more than they would be if some were given later, or never. That a token of the
//! block is not given when another owner has had the lock since is what the validity is for, and so not explored here.
//!
//! Two things are checked: a token is greater than every token that was given before its attempt began, and no token is given
//! twice. That two callers never hold the lock at once is *not* assumed, and would not be true here.
//!
//! Each rule can be broken (`plan::Rules`), and for each a test asserts that a token is then found that did not grow. What is
//! left out is the clocks that carry tokens across the expiry of a counter; `histories.rs` tries those at random.
//!
//! In reading order: `plan` what is explored; `state` everything at one moment; `steps` what nodes and attempts do;
//! `sameness` which states are one; `explore` what may happen next; `schedules` the tests; `histories` years at random.
//! `once`, `permits` and `claims` are models of their own: of fires that are completed, of locks that several hold, and of readers,
//! writers and locks of several names. `checks` explores any of them.

mod checks;
mod claims;
mod explore;
mod histories;
mod once;
mod permits;
mod plan;
mod sameness;
mod schedules;
mod state;
mod steps;
