//! The protocol's decisions against simulated nodes, by the hundred thousand.
//!
//! A discrete-event simulation: time is a number, and nothing happens but the next entry of a queue. Two or three
//! clients want one lock on one to five nodes. Each client runs the life of a lock as the engine does and takes every
//! decision from `redlock_runtime::protocol`: who may vote (`Electorate`), what the votes say (`Round`), how long that is
//! good for (`valid_until`, `patience`, `renewal_due`), which token it carries (`Fence`), what is owed a release
//! (`Ledger`), when to ask again (`next_step`, `Backoff`). The simulation holds the IO around them: connections, timers, and what the scripts do on a node.
//!
//! Nodes keep one key with an expiry on a clock of their own, and its fencing counter; all clocks run apart by up to 1 %, and
//! what clients take for the time of day differs by less than `max_clock_skew`. Commands are first in, first out on one
//! connection and in any order on two. Nodes hang, crash and restart empty; connections stall, are cut
//! with their commands delivered or lost, or are cut off in silence; clients pause at any point, are cancelled wherever
//! they are, or are killed. All of it is drawn from a seed, so a failure is replayed by `schedules::replay`.
//!
//! What must hold is in `invariants.rs`. The faults stay within what is promised: clocks are bounded, and fewer than a
//! majority of the nodes restart within the longest TTL. Fencing tokens are compared as long as no more than one node has
//! restarted within the retention.
//!
//! Each rule can be switched off (`plan::Rules`), and for each a test asserts that a broken promise is then found.
//!
//! Left out: wake-ups and the local line of waiters; failover and `FLUSHALL`; how long a release may take.
//!
//! In reading order: `plan` what is drawn from the seed; `node`, `network` and `world` what is simulated; `attempt`,
//! `fencing`, `lease` and `settlement` how a client drives the protocol; `invariants`; `schedules` the tests. `verdicts`
//! tests the counting of votes by itself.

mod attempt;
mod clock;
mod fencing;
mod invariants;
mod lease;
mod network;
mod node;
mod plan;
mod random;
mod schedules;
mod settlement;
mod verdicts;
mod world;
