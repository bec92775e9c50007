//! Readers and writers, and locks of several names, exclude each other as they should: every schedule of a few attempts on three
//! nodes, explored by a model checker.
//!
//! Every decision is taken by `redlock_runtime::protocol`, by the functions that the nodes of this process call and that the
//! scripts follow. The model holds what is around them: who has been asked, what was heard of it, whose entries are on which node.
//!
//! An attempt may end at any moment: its process crashed, it is released, or its validity is over. What stands for it on the nodes
//! may then be gone whenever another asks, which is all that is assumed about time; and so it is gone at once, because what is still
//! there does no more than refuse. A request may be late, an answer lost. An extension reaches a majority, and what stands elsewhere
//! may be gone at any moment from then on; where nothing stands it is to be set again, however late. One node may restart empty. It
//! then abstains in attempts that begin before those are over that were under way when it restarted, unless they were extended
//! since; and it counts in no extension before those have decided that had asked by then.
//!
//! That two never hold what excludes each other is checked in every state. Each rule can be broken (`plan::Rule`), and for each a
//! test asserts that a schedule is then found, and prints it.
//!
//! Whether all get what they want is another question, with a model of its own: `turns`.
//!
//! In reading order: `plan` what is explored; `state` everything at one moment; `steps` what nodes and attempts do;
//! `sameness` which states are one; `explore` what may happen next; `schedules` the tests; `turns` the other model.

mod explore;
mod plan;
mod sameness;
mod schedules;
mod state;
mod steps;
mod turns;
