//! What happens in one schedule besides the protocol, drawn from its seed: the machines, the clients' wishes, the faults.

use redlock_runtime::protocol::RETENTION;

use super::clock::{MILLI, Micros, SECOND, WORST_RATE, micros};
use super::random::Random;

/// The rules of the protocol; each can be switched off, to see that the simulation notices.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Rules {
    /// A majority is counted over the configured nodes, not over those that can be reached.
    pub(crate) majority_of_configured: bool,
    /// The validity leaves out what clocks may run apart.
    pub(crate) drift: bool,
    /// A release waits for the acquire of its owner on that node.
    pub(crate) release_behind_straggler: bool,
    /// A release kills the connection on which its owner's acquire was cut off: it may still be travelling, and a
    /// release on another connection could overtake it.
    pub(crate) release_kills_cut_connection: bool,
    /// An error in answer to an acquire means that the key may be set.
    pub(crate) errors_may_have_set: bool,
    /// A node that restarted abstains.
    pub(crate) restart_abstention: bool,
    /// An extension never makes a key live shorter: it may be a late one, behind a longer one on another connection.
    pub(crate) extension_only_lengthens: bool,
    /// A key that a release keeps for `min_hold` is not its owner's any more, so that no late extension lengthens it.
    pub(crate) kept_key_has_no_owner: bool,
    /// A fencing token that no majority told is committed by one before it counts.
    pub(crate) token_is_committed: bool,
    /// A fencing counter that a node lacks is no evidence if the node restarted not long ago.
    pub(crate) restart_is_no_evidence: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        majority_of_configured: true,
        drift: true,
        release_behind_straggler: true,
        release_kills_cut_connection: true,
        errors_may_have_set: true,
        restart_abstention: true,
        extension_only_lengthens: true,
        kept_key_has_no_owner: true,
        token_is_committed: true,
        restart_is_no_evidence: true,
    };
}

/// When faults end, except on nodes that stay frozen.
pub(crate) const HEALED: Micros = 1_500 * MILLI;
/// The manager's `longest_ttl`; no acquisition or extension asks for more.
pub(crate) const LONGEST_TTL: Micros = 1_500 * MILLI;
/// The manager's `max_clock_skew`.
pub(crate) const MAX_CLOCK_SKEW: Micros = 60 * SECOND;
/// How much further apart clients' clocks may run within a schedule.
const SKEW_TO_COME: Micros = SECOND;
/// About the time of day at which a schedule begins: in 2025.
const TODAY: Micros = 1_750_000_000 * SECOND;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A node loses everything and starts again.
    Crash { node: usize, down: Micros },
    /// A node does nothing; what arrives is applied when it goes on.
    Hang { node: usize, lasting: Micros },
    /// A connection is closed, at once or right behind its next command; its commands may still
    /// arrive.
    Cut { client: usize, node: usize, lane: usize, is_next: bool, freight: Freight },
    /// What a connection carries from now on arrives late.
    Stall { client: usize, node: usize, lane: usize, lasting: Micros },
    /// What travels between the two is lost, and no connection can be made.
    Partition { client: usize, node: usize, lasting: Micros },
    /// A process does nothing, for a garbage collection or on a suspended machine.
    Pause { client: usize, lasting: Micros },
    /// The future of a client is dropped, whatever it awaits.
    Cancel { client: usize },
    /// A process ends.
    Kill { client: usize },
}

/// What becomes of what a cut connection carries to its node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freight {
    /// It never arrives.
    Lost,
    /// It arrives this much later, through a slow proxy.
    Travels(Micros),
}

/// One acquisition that a client wishes for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// When, after the one before it has ended.
    pub(crate) after: Micros,
    pub(crate) ttl: Micros,
    /// How long to wait for the lock; `None`: for ever.
    pub(crate) limit: Option<Micros>,
    /// How long its body runs.
    pub(crate) body: Micros,
    pub(crate) is_renewed: bool,
    pub(crate) min_hold: Option<Micros>,
    /// An extension that the body asks for: when, and for how long.
    pub(crate) extension: Option<(Micros, Micros)>,
}

/// One schedule.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How much faster than true time each node's clock runs.
    pub(crate) node_rates: Vec<i64>,
    /// How old each node is at the beginning.
    pub(crate) ages: Vec<Micros>,
    /// How much faster than true time each client's clock runs, and what it wishes.
    pub(crate) clients: Vec<(i64, Vec<Wish>)>,
    /// What each client adds to its clock for the time of day: they differ by less than `MAX_CLOCK_SKEW`.
    pub(crate) times_of_day: Vec<Micros>,
    /// Ordered by the moment.
    pub(crate) faults: Vec<(Micros, Fault)>,
    /// Nodes that are frozen at a moment and stay so until all clients are done: always a minority.
    pub(crate) frozen: Vec<(Micros, usize)>,
    /// How long a node's reply may take.
    pub(crate) node_timeout: Micros,
    /// How often an acquire is answered with an error although it set the key.
    pub(crate) error_percent: u64,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let nodes = random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]);
        let clients = random.pick(&[2, 2, 3]);
        let spare = (nodes - 1) / 2;
        let rate = |random: &mut Random| match random.index(3) {
            0 => WORST_RATE,
            1 => -WORST_RATE,
            _ => random.between(-WORST_RATE, WORST_RATE),
        };
        let is_fresh_cluster = random.percent(10);
        // Missing counters are evidence on the grown ones; some come of that age meanwhile.
        let retention = micros(RETENTION);
        let youngest = random.pick(&[
            2 * retention,
            2 * retention,
            2 * retention,
            2 * retention,
            100 * SECOND,
            retention - SECOND,
        ]);
        let age = |random: &mut Random| {
            if is_fresh_cluster { random.between(0, SECOND) } else { youngest + random.between(0, 2 * SECOND) }
        };
        let skew = random.pick(&[MILLI, MAX_CLOCK_SKEW - SKEW_TO_COME]);
        let mut faults: Vec<_> = (0..random.index(12))
            .map(|_| (random.between(0, HEALED - 300 * MILLI), draw_fault(random, nodes, clients)))
            .collect();
        faults.sort_by_key(|(moment, _)| *moment);
        let frozen = if random.percent(20) { random.index(spare + 1) } else { 0 };
        let first_frozen = random.index(nodes);
        Self {
            node_rates: (0..nodes).map(|_| rate(random)).collect(),
            ages: (0..nodes).map(|_| age(random)).collect(),
            clients: (0..clients).map(|_| (rate(random), draw_wishes(random))).collect(),
            times_of_day: (0..clients).map(|_| TODAY + random.between(0, skew)).collect(),
            faults,
            frozen: (0..frozen).map(|more| (random.between(0, HEALED), (first_frozen + more) % nodes)).collect(),
            node_timeout: random.pick(&[20, 30]) * MILLI,
            error_percent: random.pick(&[0, 0, 0, 5]),
        }
    }
}

fn draw_fault(random: &mut Random, nodes: usize, clients: usize) -> Fault {
    let (client, node, lane) = (random.index(clients), random.index(nodes), random.index(2));
    let lasting = random.between(MILLI, 300 * MILLI);
    match random.index(12) {
        0..=2 => Fault::Crash { node, down: random.between(MILLI, 50 * MILLI) },
        3 => Fault::Hang { node, lasting },
        4 => {
            let freight = if random.percent(50) { Freight::Travels(lasting / 15) } else { Freight::Lost };
            Fault::Cut { client, node, lane, is_next: random.percent(70), freight }
        }
        5 => Fault::Stall { client, node, lane, lasting },
        6..=7 => Fault::Partition { client, node, lasting },
        8..=9 => Fault::Pause { client, lasting: random.between(MILLI, 2_000 * MILLI) },
        10 => Fault::Cancel { client },
        _ => {
            if random.percent(70) {
                Fault::Cancel { client }
            } else {
                Fault::Kill { client }
            }
        }
    }
}

fn draw_wishes(random: &mut Random) -> Vec<Wish> {
    (0..random.pick(&[1, 1, 2]))
        .map(|_| {
            // The longest one brings clients who come when a node that restarted votes again, and have seen nothing before.
            let longest_pause = random.pick(&[2, 2, 300, 300, 5_000]) * MILLI;
            let after = random.between(0, longest_pause);
            let ttl = random.between(200 * MILLI, LONGEST_TTL);
            let body = random.between(0, 400 * MILLI);
            let body = body * random.pick(&[1, 1, 3]);
            let moment = random.between(0, body.max(1));
            let extension = random.between(100 * MILLI, LONGEST_TTL);
            let extension = random.percent(25).then_some((moment, extension));
            Wish {
                after,
                ttl,
                limit: random.pick(&[None, None, None, Some(0), Some(200 * MILLI)]),
                body,
                is_renewed: random.percent(70),
                min_hold: random.percent(25).then(|| random.between(0, 500 * MILLI)),
                extension,
            }
        })
        .collect()
}
