//! What is drawn from a seed: nodes, processes, what their tasks want, and what goes wrong when.

use std::ops::Range;
use std::time::Duration;

use crate::cluster::SlotStep;
use crate::leads::{Candidacy, LEADS_HEALED};
use crate::random::Random;

/// What kind of trouble a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing goes wrong: nobody may wait for long, and those of a process come one after the other.
    Calm,
    /// Two processes, of which one wants the lock over and over.
    Crowded,
    /// Anything may go wrong.
    Rough,
    /// Rounds take as long as a TTL, and nodes restart in between.
    Slow,
    /// Nodes restart and vote again, so that tokens have to grow across it, by clocks that are far apart.
    Fenced,
    /// Jobs that run once per fire, by clocks that differ.
    Fires,
    /// Candidates of which one leads.
    Leads,
    /// Nothing is left to chance but what a [`Script`] leaves to it.
    Made,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) weather: Weather,
    pub(crate) nodes: Vec<NodePlan>,
    /// How many nodes there are instead in the memory of the process of which those here are managers.
    pub(crate) memory: usize,
    /// Whether the nodes are the servers of a cluster, which is the only voter.
    pub(crate) is_cluster: bool,
    /// A node that is configured twice.
    pub(crate) twin: Option<usize>,
    pub(crate) processes: Vec<ProcessPlan>,
    pub(crate) fencing: bool,
    pub(crate) node_timeout: Duration,
    pub(crate) longest_ttl: Duration,
    /// How many percent of the commands that wrote are answered with an error all the same.
    pub(crate) errors: u64,
    /// How many percent of the reports of changes are lost, and come twice.
    pub(crate) reports: (u64, u64),
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// What a schedule has that was made for something.
    pub(crate) script: Option<Script>,
    /// How many permits each process says that the locks have; of none: they are locks without.
    pub(crate) permits: Vec<u32>,
}

/// What a schedule that was made for something has beside the others.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// When faults end.
    pub(crate) healed: Duration,
    pub(crate) connect_timeout: Duration,
    /// What takes longer than everything else.
    pub(crate) slow: Vec<Slow>,
    /// Whether clocks run together as the protocol asks for. If not, only tokens are promised.
    pub(crate) are_clocks_right: bool,
}

/// What passes between a runtime of a process and a node for longer than everything else.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) process: usize,
    /// 0 is the background runtime, 1 whichever the callers have.
    pub(crate) runtime: usize,
    pub(crate) node: usize,
    pub(crate) passage: Passage,
    /// If it begins within this time.
    pub(crate) sent: Range<Duration>,
    /// It ends then.
    pub(crate) arrives: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Connection,
    Request,
    Reply,
}

#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// How much faster than true time its clock runs, in parts per million.
    pub(crate) rate: i64,
    pub(crate) age: Duration,
    pub(crate) version: u32,
    /// Whether the newer protocol is used.
    pub(crate) speaks_resp3: bool,
    /// Whether what is in between hides from where a connection comes, so that the node cannot be asked to close it.
    pub(crate) is_behind_proxy: bool,
    /// How long after its time a key that nobody asks for is deleted.
    pub(crate) expiry_lag: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct ProcessPlan {
    /// How much faster than true time its clock runs, in parts per million.
    pub(crate) rate: i64,
    /// How far its time of day is ahead.
    pub(crate) skew: Duration,
    /// Whether its callers' runtime has several threads.
    pub(crate) is_multi_thread: bool,
    /// By task, one after the other.
    pub(crate) tasks: Vec<Vec<Wish>>,
    /// Those who want to lead.
    pub(crate) leaders: Vec<Candidacy>,
}

/// What a task wants once.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: usize,
    /// How long it does something else before.
    pub(crate) after: Duration,
    pub(crate) ttl: Duration,
    pub(crate) limit: Option<Duration>,
    pub(crate) body: Duration,
    pub(crate) is_renewed: bool,
    pub(crate) min_hold: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    /// When the holder extends the lock itself, and for how long.
    pub(crate) extension: Option<(Duration, Duration)>,
    /// The acquisition is dropped at this poll.
    pub(crate) cancel: Option<u32>,
    /// Or after this time.
    pub(crate) give_up: Option<Duration>,
    pub(crate) how: How,
    /// Whether the body goes on after it was told that the lock is lost.
    pub(crate) is_stubborn: bool,
    /// Whether nothing may keep it from the lock.
    pub(crate) is_certain: bool,
    pub(crate) ending: Ending,
    /// The run of a job that the lock is wanted for.
    pub(crate) fire: Option<FireWish>,
    /// Which kind of lock it is.
    pub(crate) kind: LockKind,
}

/// Which kind of lock is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    Plain,
    /// One that readers share.
    Read,
    Write,
    /// The plain locks of all names.
    All,
}

/// A run of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FireWish {
    pub(crate) kind: FireKind,
    /// When it is due, as the time since the simulation's time of day began.
    pub(crate) due: Duration,
    /// How much too early it is asked for.
    pub(crate) early: Duration,
    /// Whether it is marked before its body starts.
    pub(crate) is_at_start: bool,
    /// Whether its body fails.
    pub(crate) fails: bool,
}

/// What a fire is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FireKind {
    Due,
    Number(u64),
    Called { period: Duration },
}

/// By what a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Guard,
    /// An annotated function.
    Attribute,
    /// A thread that blocks: a plain one, or one of its process's runtime.
    Blocking {
        /// Whether it calls an annotated function.
        is_attribute: bool,
        is_on_runtime: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Release,
    Drop,
    /// The release is dropped at this poll.
    Cancel(u32),
    Panic,
    /// Its token goes to another process, which adopts the lock after this time.
    Detach(Duration),
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A node ends, and comes back empty.
    Crash {
        node: usize,
        down: Duration,
    },
    /// A node takes a snapshot.
    Save {
        node: usize,
    },
    /// A node ends, and comes back with its last snapshot.
    Restore {
        node: usize,
        down: Duration,
    },
    Hang {
        node: usize,
        lasting: Duration,
    },
    /// A node refuses what would change something.
    Refuse {
        node: usize,
        lasting: Duration,
    },
    /// A node says that it is a replica.
    Depose {
        node: usize,
        lasting: Duration,
    },
    /// A node forgets its scripts.
    ForgetScripts {
        node: usize,
    },
    /// Connections of a runtime to a node are cut, now or with the next thing that is sent; what is on its way is lost or comes later.
    Cut {
        process: usize,
        node: usize,
        runtime: usize,
        is_next: bool,
        freight: Option<Duration>,
    },
    /// Nothing arrives for a while.
    Stall {
        process: usize,
        node: usize,
        runtime: usize,
        lasting: Duration,
    },
    /// Nothing gets through, and nobody is told: connections stay half open, and none is made.
    Partition {
        process: usize,
        node: usize,
        lasting: Duration,
    },
    Pause {
        process: usize,
        lasting: Duration,
    },
    Kill {
        process: usize,
    },
    /// Whichever process runs a fire at that moment is killed.
    KillRunner,
    /// The callers' runtime ends, and another begins.
    EndRuntime {
        process: usize,
    },
    Shutdown {
        process: usize,
        bound: Duration,
    },
    /// The slot of a lock, or of those who wait for it, moves to another server.
    Migrate {
        name: usize,
        is_counter: bool,
    },
    /// The slot of a lock moves by one step from one server to another.
    MoveSlot {
        name: usize,
        from: usize,
        to: usize,
        step: SlotStep,
    },
    /// Something is wrong with a node in memory.
    Memory {
        node: usize,
        fault: MemoryFault,
        lasting: Duration,
    },
}

/// What is wrong with a node in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemoryFault {
    Hangs,
    IsDown,
    Fails,
    FailsAfterwards,
    AnswersAfter(Duration),
    /// It forgets everything.
    Restarts,
}

/// When faults end.
fn healed(weather: Weather) -> Duration {
    match weather {
        Weather::Fenced => Duration::from_secs(4),
        Weather::Fires => FIRES_HEALED,
        Weather::Leads => LEADS_HEALED,
        _ => Duration::from_millis(1_500),
    }
}

/// When faults end that meet jobs.
const FIRES_HEALED: Duration = Duration::from_secs(5);

/// The greatest difference between the clocks of processes that call for the same fires.
pub(crate) const FIRE_SKEW: Duration = Duration::from_millis(150);

/// How long it may take to connect, in timeouts of a node, unless a schedule says otherwise.
pub(crate) const CONNECT_TIMEOUTS: u32 = 6;

/// More than the retention of fencing counters.
pub(crate) const OLD: Duration = Duration::from_secs(2 * 24 * 60 * 60);

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let weather = match random.index(100) {
            0..20 => Weather::Calm,
            20..28 => Weather::Crowded,
            28..40 => Weather::Slow,
            40..55 => Weather::Fenced,
            _ => Weather::Rough,
        };
        let is_fine = matches!(weather, Weather::Calm | Weather::Crowded);
        let node_count = match weather {
            Weather::Slow | Weather::Fenced => 3,
            _ => random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]),
        };
        let process_count = if weather == Weather::Crowded { 2 } else { random.pick(&[2, 2, 3]) };
        let names = random.pick(&[1, 1, 2]);
        let has_short_ttl = matches!(weather, Weather::Slow | Weather::Fenced);
        let is_fresh = !has_short_ttl && random.percent(10);
        let is_long = !has_short_ttl && (is_fresh || random.percent(50));
        let node_timeout = match weather {
            Weather::Slow => random.pick(&[20, 60, 200].map(Duration::from_millis)),
            _ => random.pick(&[20, 30, 50].map(Duration::from_millis)),
        };
        let nodes: Vec<_> = (0..node_count).map(|_| NodePlan::draw(random, is_fresh)).collect();
        let mut faults: Vec<_> =
            (0..if is_fine { 0 } else { random.index(if weather == Weather::Fenced { 30 } else { 12 }) })
                .map(|_| {
                    let latest = healed(weather).as_millis() as u64 - 300;
                    (random.millis(0, latest), Fault::draw(random, weather, nodes.len(), process_count, is_long))
                })
                .collect();
        if weather == Weather::Fenced {
            let node = random.index(nodes.len());
            faults.push((random.millis(50, 600), Fault::Crash { node, down: random.millis(1, 50) }));
        }
        faults.sort_by_key(|(moment, _)| *moment);
        let twin = (!is_fine && nodes.len() >= 2 && random.percent(4)).then(|| random.index(nodes.len()));
        Self {
            weather,

            twin,
            processes: (0..process_count)
                .map(|process| ProcessPlan::draw(random, weather, process, names, is_long))
                .collect(),
            fencing: weather == Weather::Fenced || random.percent(75),
            node_timeout,
            longest_ttl: Duration::from_millis(match weather {
                Weather::Fenced => 250,
                _ if is_long => 300_000,
                _ => 1_500,
            }),
            errors: if is_fine { 0 } else { random.pick(&[0, 0, 0, 5]) },
            reports: if is_fine { (0, 0) } else { random.pick(&[(0, 0), (0, 0), (20, 20)]) },
            nodes,
            memory: 0,
            is_cluster: false,
            faults,
            script: None,
            permits: Vec::new(),
        }
    }

    /// The same troubles, for locks with permits.
    pub(crate) fn draw_permits(random: &mut Random) -> Self {
        let mut plan = match random.index(10) {
            0 => Self::draw_memory(random),
            1..3 => Self::draw_cluster(random),
            _ => Self::draw(random),
        };
        let permits = match plan.weather {
            // Else nobody hands a permit on in his process: each of its tasks has one.
            Weather::Crowded => random.pick(&[1, 2]),
            _ => random.pick(&[1, 2, 2, 3]),
        };
        let differ = !plan.is_fine() && random.percent(15);
        plan.permits = plan.processes.iter().map(|_| if differ { random.pick(&[1, 2, 3]) } else { permits }).collect();
        // A permit cannot be given out of hand.
        let wishes = plan.processes.iter_mut().flat_map(|process| &mut process.tasks).flatten();
        for wish in wishes.filter(|wish| matches!(wish.ending, Ending::Detach(_))) {
            wish.ending = Ending::Release;
        }
        plan
    }

    /// The same troubles, for locks that readers share.
    pub(crate) fn draw_readers(random: &mut Random) -> Self {
        Self::draw(random).of_kinds(random, &[LockKind::Read, LockKind::Read, LockKind::Write])
    }

    /// The same troubles, for locks of several names, and of one beside them.
    pub(crate) fn draw_names(random: &mut Random) -> Self {
        Self::draw(random).of_kinds(random, &[LockKind::All, LockKind::All, LockKind::Plain])
    }

    fn of_kinds(mut self, random: &mut Random, kinds: &[LockKind]) -> Self {
        let wishes = self.processes.iter_mut().flat_map(|process| &mut process.tasks).flatten();
        for wish in wishes {
            wish.kind = random.pick(kinds);
            // They cannot be given out of hand, and functions are annotated for plain locks.
            if matches!(wish.ending, Ending::Detach(_)) {
                wish.ending = Ending::Release;
            }
            match &mut wish.how {
                How::Guard => {}
                How::Attribute => wish.how = How::Guard,
                How::Blocking { is_attribute, .. } => *is_attribute = false,
            }
        }
        self
    }

    /// Whether other locks than plain ones are wanted.
    pub(crate) fn has_kinds(&self) -> bool {
        self.processes.iter().flat_map(|process| &process.tasks).flatten().any(|wish| wish.kind != LockKind::Plain)
    }

    /// How many may hold a lock at once, if it is one with permits.
    pub(crate) fn most_permits(&self) -> Option<usize> {
        self.permits.iter().max().map(|most| *most as usize)
    }

    /// Jobs that several processes call for the same fires.
    pub(crate) fn draw_fires(random: &mut Random) -> Self {
        let is_fine = random.percent(15);
        let process_count = random.pick(&[2, 2, 3]);
        let is_long = random.percent(50);
        let node_count = random.pick(&[1, 3, 3, 3, 3, 5]);
        let kind = random.index(3);
        let is_young = kind == 0 && random.percent(30);
        let nodes: Vec<_> = (0..node_count)
            .map(|_| {
                let age = if is_young { random.millis(0, 1_000) } else { 5 * OLD };
                NodePlan { age, ..NodePlan::draw(random, false) }
            })
            .collect();
        let is_at_start = random.percent(15);
        let period = random.millis(1_000, 1_500);
        let fires: Vec<_> = (0..random.between(2, 4))
            .map(|fire| {
                let due = Duration::from_millis(300) + period * fire as u32;
                let kind = match kind {
                    0 => FireKind::Due,
                    1 => FireKind::Number(fire + 1),
                    _ => FireKind::Called { period },
                };
                FireWish { kind, due, early: Duration::ZERO, is_at_start, fails: false }
            })
            .collect();
        let skews: Vec<_> = (0..process_count).map(|_| random.millis(0, FIRE_SKEW.as_millis() as u64)).collect();
        let processes = skews
            .into_iter()
            .map(|skew| {
                let tasks = (0..random.pick(&[1, 1, 2])).map(|_| {
                    let wishes = fires.iter().map(|fire| Wish::draw_fire(random, *fire, is_fine, is_long));
                    wishes.collect()
                });
                let tasks = tasks.collect();
                ProcessPlan {
                    rate: rate(random),
                    skew,
                    is_multi_thread: random.percent(50),
                    tasks,
                    leaders: Vec::new(),
                }
            })
            .collect();
        let count = if is_fine { 0 } else { random.index(16) };
        let mut faults: Vec<_> = (0..count)
            .map(|_| {
                let fault = if random.percent(30) {
                    Fault::Crash { node: random.index(nodes.len()), down: random.millis(1, 50) }
                } else {
                    Fault::draw(random, Weather::Rough, nodes.len(), process_count, is_long)
                };
                (random.millis(0, FIRES_HEALED.as_millis() as u64 - 300), fault)
            })
            .collect();
        if !is_fine && !is_long && random.percent(40) {
            let fire = random.pick(&fires);
            faults.push((fire.due + random.millis(20, 150), Fault::KillRunner));
        }
        faults.sort_by_key(|(moment, _)| *moment);
        Self {
            weather: Weather::Fires,
            twin: (!is_fine && nodes.len() >= 2 && random.percent(3)).then(|| random.index(nodes.len())),
            processes,
            fencing: random.percent(75),
            node_timeout: random.pick(&[20, 30, 50].map(Duration::from_millis)),
            longest_ttl: Duration::from_millis(if is_long { 300_000 } else { 500 }),
            errors: if is_fine { 0 } else { random.pick(&[0, 0, 0, 5]) },
            reports: if is_fine { (0, 0) } else { random.pick(&[(0, 0), (0, 0), (20, 20)]) },
            nodes,
            memory: 0,
            is_cluster: false,
            faults,
            script: None,
            permits: Vec::new(),
        }
    }

    /// When faults end.
    pub(crate) fn healed(&self) -> Duration {
        self.script.as_ref().map_or(healed(self.weather), |script| script.healed)
    }

    pub(crate) fn is_fine(&self) -> bool {
        matches!(self.weather, Weather::Calm | Weather::Crowded)
    }

    /// Whether locks are wanted for runs of jobs.
    pub(crate) fn has_fires(&self) -> bool {
        self.processes.iter().flat_map(|process| &process.tasks).flatten().any(|wish| wish.fire.is_some())
    }
}

/// A clock that runs apart from true time by less than the 1 % that the protocol allows for between any two: half of it.
pub(crate) fn rate(random: &mut Random) -> i64 {
    const MOST: u64 = 4_950;
    match random.index(3) {
        0 => MOST as i64,
        1 => -(MOST as i64),
        _ => random.between(0, 2 * MOST) as i64 - MOST as i64,
    }
}

impl NodePlan {
    pub(crate) fn draw(random: &mut Random, is_fresh: bool) -> Self {
        Self {
            rate: rate(random),
            // Ages are told in whole seconds.
            age: if is_fresh { random.millis(0, 1_000) } else { OLD + random.millis(0, 2_000) },
            version: random.pick(&[6, 7]),
            speaks_resp3: random.percent(85),
            is_behind_proxy: random.percent(5),
            expiry_lag: random.pick(&[0, 1, 100].map(Duration::from_millis)),
        }
    }
}

impl ProcessPlan {
    pub(crate) fn draw(random: &mut Random, weather: Weather, process: usize, names: usize, is_long: bool) -> Self {
        let tasks = match (weather, process) {
            (Weather::Crowded, 0) => 3,
            (Weather::Crowded, _) => 1,
            _ => random.pick(&[1, 1, 2, 3]),
        };
        Self {
            rate: rate(random),
            skew: random.millis(0, 50_000),
            is_multi_thread: random.percent(50),
            tasks: (0..tasks).map(|_| Wish::draw_all(random, weather, process, names, is_long)).collect(),
            leaders: Vec::new(),
        }
    }
}

impl Wish {
    fn draw_all(random: &mut Random, weather: Weather, process: usize, names: usize, is_long: bool) -> Vec<Self> {
        let count = match (weather, process) {
            (Weather::Crowded, 0) => 40,
            (Weather::Crowded, _) => 2,
            (Weather::Fenced, _) => random.between(5, 12) as usize,
            _ => random.pick(&[1, 1, 2, 3]),
        };
        (0..count).map(|_| Self::draw(random, weather, names, is_long)).collect()
    }

    fn draw(random: &mut Random, weather: Weather, names: usize, is_long: bool) -> Self {
        let is_fine = matches!(weather, Weather::Calm | Weather::Crowded);
        let is_crowded = weather == Weather::Crowded;
        let longest_pause = random.pick(&[2, 2, 300, 300]);
        let is_quick = weather == Weather::Fenced && random.percent(60);
        let body = if is_crowded || is_quick {
            random.between(0, 8)
        } else {
            random.between(0, 400) * random.pick(&[1, 1, 3])
        };
        let (least, most) = match (is_long, weather) {
            (true, _) => (60_000, 300_000),
            (false, Weather::Slow) => (300, 1_000),
            (false, Weather::Fenced) => (50, 250),
            (false, _) => (200, 1_500),
        };
        let extension = (random.millis(0, body.max(1)), random.millis(least / 2, most));
        let blocking = random.index(100);
        let is_on_runtime = !is_fine && blocking < 3;
        Self {
            name: if is_crowded { 0 } else { random.index(names) },
            after: if is_crowded { Duration::ZERO } else { random.millis(0, longest_pause) },
            ttl: random.millis(least, most),
            limit: if is_crowded { None } else { random.pick(&[None, None, None, Some(0), Some(200)]) }
                .map(Duration::from_millis),
            body: Duration::from_millis(body),
            is_renewed: is_fine || random.percent(70),
            min_hold: (!is_fine && random.percent(20)).then(|| random.millis(0, 500)),
            max_hold: (!is_fine && random.percent(10)).then(|| random.millis(50, 500)),
            extension: (!is_crowded && random.percent(25)).then_some(extension),
            cancel: (!is_crowded && random.percent(20)).then(|| random.between(1, 12) as u32),
            give_up: (!is_crowded && random.percent(10)).then(|| random.millis(0, 300)),
            how: match random.index(100) {
                _ if is_crowded => How::Guard,
                0..15 => How::Attribute,
                _ if blocking < 8 => How::Blocking { is_attribute: blocking.is_multiple_of(2), is_on_runtime },
                _ => How::Guard,
            },
            is_stubborn: !is_fine && random.percent(15),
            is_certain: false,
            ending: match random.index(20) {
                _ if is_crowded => Ending::Release,
                11..14 => Ending::Drop,
                14..17 => Ending::Cancel(random.between(0, 4) as u32),
                17 if !is_fine => Ending::Panic,
                18 if !is_fine => Ending::Detach(random.millis(0, 100)),
                _ => Ending::Release,
            },
            fire: None,
            kind: LockKind::Plain,
        }
    }
}

impl Wish {
    fn draw_fire(random: &mut Random, fire: FireWish, is_fine: bool, is_long: bool) -> Self {
        let (least, most) = if is_long { (60_000, 300_000) } else { (150, 500) };
        let fails = !is_fine && random.percent(20);
        let body = random.between(0, 60) * random.pick(&[1, 1, 1, 8]);
        let latest = if random.percent(85) { 80 } else { 1_500 };
        let is_blocking = random.percent(10);
        let is_on_runtime = !is_fine && random.percent(30);
        Self {
            name: 0,
            // After the fire is due by the own clock; a job may be late.
            after: random.millis(0, latest),
            ttl: random.millis(least, most),
            limit: random.pick(&[None, None, Some(0), Some(200)]).map(Duration::from_millis),
            body: Duration::from_millis(body),
            is_renewed: random.percent(80),
            min_hold: (!is_fine && random.percent(5)).then(|| random.millis(0, 200)),
            max_hold: None,
            extension: None,
            cancel: (!is_fine && random.percent(10)).then(|| random.between(1, 12) as u32),
            give_up: None,
            how: if is_blocking { How::Blocking { is_attribute: false, is_on_runtime } } else { How::Guard },
            is_stubborn: !is_fine && random.percent(15),
            is_certain: false,
            ending: match random.index(20) {
                0..2 if !is_fine => Ending::Drop,
                2..4 if !is_fine => Ending::Cancel(random.between(0, 6) as u32),
                4 if !is_fine => Ending::Panic,
                _ => Ending::Release,
            },
            fire: Some(FireWish { fails, ..fire }),
            kind: LockKind::Plain,
        }
    }
}

impl Fault {
    pub(crate) fn draw(random: &mut Random, weather: Weather, nodes: usize, processes: usize, is_long: bool) -> Self {
        let (process, node, runtime) = (random.index(processes), random.index(nodes), random.index(2));
        let lasting = random.millis(1, 300);
        let crash = Self::Crash { node, down: random.millis(1, 50) };
        if weather == Weather::Slow && random.percent(50) {
            return crash;
        }
        if weather == Weather::Fenced && random.percent(70) {
            // Which nodes vote changes all the time.
            return match random.index(3) {
                0 => Self::Hang { node, lasting },
                1 => Self::Partition { process, node, lasting },
                _ => Self::Stall { process, node, runtime: 1, lasting },
            };
        }
        match random.index(20) {
            0..=2 => crash,
            3..=4 => Self::Hang { node, lasting },
            5..=7 => {
                let freight = random.percent(50).then_some(lasting / 15);
                Self::Cut { process, node, runtime, is_next: random.percent(70), freight }
            }
            8 => Self::Stall { process, node, runtime, lasting },
            9..=10 => Self::Partition { process, node, lasting },
            11..=12 => Self::Pause { process, lasting: random.millis(1, if is_long { 200 } else { 2_000 }) },
            13 => Self::Refuse { node, lasting },
            14 => Self::Depose { node, lasting },
            15 => Self::ForgetScripts { node },
            16 => Self::EndRuntime { process },
            17 => Self::Shutdown { process, bound: random.millis(50, 3_000) },
            // Whoever is killed does not make more tokens.
            _ if !is_long && weather != Weather::Fenced => Self::Kill { process },
            _ => Self::Pause { process, lasting: random.millis(1, 200) },
        }
    }
}
