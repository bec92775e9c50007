//! A completed fire does not run again: every schedule of a few attempts on three nodes, explored by a model checker.
//!
//! Every decision is taken by `redlock_runtime::protocol`, by the functions that the engine and the nodes call. The model
//! holds what is around them: who has been asked, what was heard of it, whose key and which mark is on which node.
//!
//! An attempt may end at any moment: its process crashed, its body failed, or its validity is over. Then, and not before, its keys
//! may be gone whenever another owner asks for them, which is all that is assumed about time. What it sent may
//! still arrive, a late acquire and a late completion too; an answer may be lost, and what was lost sent again. One node may
//! restart empty, before it is as old as the retention. It then abstains in attempts that begin before those are over that had
//! begun when it restarted, unless they were renewed since. Where fires are times, there is a clock with a few ticks, and
//! processes whose clocks are ahead of it by none or by one.
//!
//! Two things are checked: a fire that was told to be completed, or a smaller one, does not start after that; and whoever asks
//! next is not in doubt while a majority that did not restart can be reached, nor while all nodes can, and what it then does
//! is known to those who follow. That two bodies never run at once is *not* checked here.
//!
//! Each rule can be broken (`plan::Rule`), and for each a test asserts that a schedule is then found, and prints it.
//!
//! In reading order: `plan` what is explored; `state` everything at one moment; `steps` what nodes and attempts do;
//! `sameness` which states are one; `explore` what may happen next; `schedules` the tests.

mod explore;
mod plan;
mod sameness;
mod schedules;
mod state;
mod steps;
