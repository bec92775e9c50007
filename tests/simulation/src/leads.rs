//! Candidates, of which one leads at a time: what is drawn for them, what they do, and what must hold.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use redlock_simulated::simulation::{Held, Place, block_on};
use redlock_simulated::{Error, Leadership, Term};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::checker::Waiter;
use crate::life::{NAMES, PLANNED, Task, panic_as_planned, place};
use crate::plan::{Fault, NodePlan, Plan, ProcessPlan, Weather, rate};
use crate::random::Random;
use crate::world::{Universe, locked, now};

/// Somebody who wants to lead, several times.
#[derive(Clone, Debug)]
pub(crate) struct Candidacy {
    after: Duration,
    ttl: Duration,
    by: By,
    /// What it does each time that it leads; it wants to lead no more after the last.
    terms: Vec<TermWish>,
}

/// By what somebody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Run,
    Watch,
    /// A thread that blocks.
    Thread,
}

/// What a leader does.
#[derive(Clone, Copy, Debug)]
struct TermWish {
    body: Duration,
    ending: TermEnding,
    /// Whether it does not listen to whether it leads no more.
    is_deaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TermEnding {
    Return,
    Resign,
    Fail,
    Panic,
}

/// When faults end that meet candidates.
pub(crate) const LEADS_HEALED: Duration = Duration::from_secs(4);

/// How long the name may be without a leader beside candidates, once its key is gone.
const SUCCESSION: Duration = Duration::from_millis(400);

/// How long whoever resigned stands back at most, how long it pauses at most after its first errors, and how long a release takes.
const STANDS_BACK: Duration = Duration::from_millis(400);
const AFTER_ERRORS: Duration = Duration::from_secs(4);
const RELEASES: Duration = Duration::from_millis(300);

impl Plan {
    /// Candidates in several processes.
    pub(crate) fn draw_leads(random: &mut Random) -> Self {
        let process_count = random.pick(&[2, 2, 3]);
        let node_count = random.pick(&[1, 3, 3, 3, 3, 5]);
        let nodes: Vec<_> = (0..node_count).map(|_| NodePlan::draw(random, false)).collect();
        let processes = (0..process_count).map(|_| {
            let leaders = (0..random.pick(&[1, 1, 2])).map(|_| Candidacy::draw(random)).collect();
            ProcessPlan {
                rate: rate(random),
                skew: random.millis(0, 50_000),
                is_multi_thread: random.percent(50),
                tasks: Vec::new(),
                leaders,
            }
        });
        let processes = processes.collect();
        let latest = LEADS_HEALED.as_millis() as u64 - 300;
        // Nothing goes wrong, a process is killed and nothing else goes wrong, or anything may.
        let kind = random.index(100);
        let mut faults: Vec<_> = match kind {
            0..20 => Vec::new(),
            20..40 => vec![(random.millis(0, 1_500), Fault::Kill { process: random.index(process_count) })],
            _ => {
                let fault =
                    |random: &mut Random| Fault::draw(random, Weather::Rough, nodes.len(), process_count, false);
                (0..random.index(14)).map(|_| (random.millis(0, latest), fault(random))).collect()
            }
        };
        faults.sort_by_key(|(moment, _)| *moment);
        let is_rough = kind >= 40;
        Self {
            weather: Weather::Leads,
            twin: None,
            processes,
            fencing: random.percent(75),
            node_timeout: random.pick(&[20, 30, 50].map(Duration::from_millis)),
            longest_ttl: Duration::from_millis(1_500),
            errors: if is_rough { random.pick(&[0, 0, 0, 5]) } else { 0 },
            reports: if is_rough { random.pick(&[(0, 0), (0, 0), (20, 20)]) } else { (0, 0) },
            nodes,
            memory: 0,
            is_cluster: false,
            faults,
            script: None,
            permits: Vec::new(),
        }
    }

    /// The longest TTL of somebody who wants to lead.
    fn leaders_ttl(&self) -> Duration {
        let all = self.processes.iter().flat_map(|process| &process.leaders);
        all.map(|candidacy| candidacy.ttl).max().unwrap_or_default()
    }
}

impl Candidacy {
    fn draw(random: &mut Random) -> Self {
        let by = random.pick(&[By::Run, By::Run, By::Run, By::Watch, By::Watch, By::Thread]);
        let mut terms: Vec<_> = (0..random.between(1, 5)).map(|_| TermWish::draw(random, by)).collect();
        if let (By::Thread, Some(last)) = (by, terms.last_mut()) {
            // It campaigns for ever otherwise.
            last.ending = TermEnding::Panic;
        }
        Self { after: random.millis(0, 300), ttl: random.millis(300, 1_000), by, terms }
    }
}

impl TermWish {
    fn draw(random: &mut Random, by: By) -> Self {
        let body = random.millis(0, 150) * random.pick(&[1, 1, 2, 6]);
        let ending = match random.index(10) {
            0..5 => TermEnding::Return,
            5..8 => TermEnding::Resign,
            8 => TermEnding::Fail,
            _ => TermEnding::Panic,
        };
        // Only a body that can be dropped need not listen.
        Self { body, ending, is_deaf: by == By::Run && random.percent(30) }
    }

    /// What it does without any more wishes.
    const IDLE: Self = Self { body: Duration::ZERO, ending: TermEnding::Return, is_deaf: false };
}

/// Somebody who wants to lead, in one process.
struct Candidate {
    task: Task,
    place: Place,
    /// By which number the checker knows it.
    number: u64,
    terms: Mutex<VecDeque<TermWish>>,
    /// Since it campaigns.
    waiter: Mutex<Option<Waiter>>,
    /// Told when it wants to lead no more.
    over: Notify,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.leaves();
    }
}

/// Leading, until it is dropped.
struct Leads<'a> {
    candidate: &'a Candidate,
    /// By which number the checker knows the term.
    number: u64,
    wish: TermWish,
}

impl Drop for Leads<'_> {
    fn drop(&mut self) {
        let Self { candidate, number, wish } = self;
        let universe = &*candidate.task.universe;
        universe.vacated(*number, (wish.ending == TermEnding::Resign).then_some(candidate.number));
        universe.over(0, *number);
        if locked(&candidate.terms).is_empty() {
            candidate.over.notify_one();
            return;
        }
        candidate.campaigns(match wish.ending {
            TermEnding::Return | TermEnding::Panic => RELEASES,
            TermEnding::Resign => RELEASES + STANDS_BACK,
            TermEnding::Fail => RELEASES + AFTER_ERRORS,
        });
    }
}

impl Candidate {
    /// It campaigns again, after that at the latest.
    fn campaigns(&self, after: Duration) {
        self.leaves();
        let waiter = self.task.universe.checker.joined_at(0, self.place, now() + after);
        *locked(&self.waiter) = Some(waiter);
    }

    fn leaves(&self) {
        if let Some(waiter) = locked(&self.waiter).take() {
            self.task.universe.checker.left(waiter);
        }
    }

    fn begins(&self, term: &Term) -> Leads<'_> {
        let universe = &*self.task.universe;
        universe.succeeds(self.number);
        let waiter = locked(&self.waiter).take();
        let number = universe.acquired(0, self.place, waiter, Held::of_term(term));
        universe.checker.with_leaders(|leaders, _| leaders.last = Some((number, self.place.process)));
        let wish = locked(&self.terms).pop_front().unwrap_or(TermWish::IDLE);
        Leads { candidate: self, number, wish }
    }

    /// What it does while it leads.
    async fn works(&self, leads: &Leads<'_>, term: &Term) {
        let universe = &*self.task.universe;
        if leads.wish.is_deaf {
            return self.works_on(leads.wish.body, &Held::of_term(term)).await;
        }
        let works = sleep(leads.wish.body);
        tokio::select! {
            biased;
            loss = term.lost() => {
                universe.told(0, leads.number);
                universe.note(|| format!("p{} leads no more: {loss}", self.place.process));
                if term.is_leader() {
                    universe.violated(format!("p{} was told that it leads no more, and leads", self.place.process));
                }
                // It winds down.
                sleep(Duration::from_millis(3)).await;
            }
            () = works => {}
        }
    }

    /// What a leader does that does not listen: it is dropped, step by step, when it leads no more.
    async fn works_on(&self, body: Duration, held: &Held) {
        const STEP: Duration = Duration::from_millis(10);

        let (universe, mut steps_too_many) = (&*self.task.universe, 0);
        for _ in 0..body.as_millis() / STEP.as_millis() {
            sleep(STEP).await;
            if held.remaining().is_zero() && universe.has_run_for(self.place.process, STEP * 2) {
                steps_too_many += 1;
            }
        }
        if steps_too_many > 1 {
            universe.violated(format!("p{} goes on, and leads no more", self.place.process));
        }
    }

    fn ends(leads: &Leads<'_>, term: &Term) -> Result<(), &'static str> {
        match leads.wish.ending {
            TermEnding::Return => Ok(()),
            TermEnding::Resign => {
                term.resign();
                Ok(())
            }
            TermEnding::Fail => Err(PLANNED),
            TermEnding::Panic => panic_as_planned(),
        }
    }

    /// Nobody stops to campaign but when his manager was shut down.
    fn stopped(&self, ended: Result<(), Error>) {
        let (universe, process) = (&*self.task.universe, self.place.process);
        match ended {
            Ok(()) if universe.checker.is_shut_down(process) => {}
            Ok(()) => universe.violated(format!("p{process} stopped to campaign")),
            Err(error) => universe.violated(format!("p{process} cannot campaign: {error}")),
        }
    }

    async fn runs(self: &Arc<Self>, ttl: Duration) {
        let candidate = Arc::clone(self);
        let running = self.task.locks.lead(NAMES[0]).ttl(ttl).run(async move |term: &Term| {
            let leads = candidate.begins(term);
            candidate.works(&leads, term).await;
            Self::ends(&leads, term)
        });
        tokio::select! {
            biased;
            () = self.over.notified() => {}
            ended = running => self.stopped(ended),
        }
    }

    async fn watches(&self, ttl: Duration) {
        let mut watch = self.task.locks.lead(NAMES[0]).ttl(ttl).watch();
        while !locked(&self.terms).is_empty() {
            match watch.next().await {
                Some(Ok(Leadership::Leading(term))) => {
                    let leads = self.begins(&term);
                    self.works(&leads, &term).await;
                    let (ended, is_waited_for) =
                        (Self::ends(&leads, &term), leads.wish.body.as_millis().is_multiple_of(2));
                    drop(leads);
                    if ended.is_ok() && is_waited_for {
                        let ended = term.end().await;
                        self.task.universe.note(|| format!("p{}: its term ended: {ended:?}", self.place.process));
                    }
                }
                Some(Ok(seen)) => {
                    self.task.universe.note(|| format!("p{} sees {seen:?}", self.place.process));
                    self.task.universe.checker.meet("looked who leads");
                }
                Some(Err(error)) => return self.stopped(Err(error)),
                None => return self.stopped(Ok(())),
            }
        }
    }

    fn blocks(&self, ttl: Duration) {
        let ended = self.task.locks.lead(NAMES[0]).ttl(ttl).run_blocking(|term| {
            let leads = self.begins(term);
            block_on(self.works(&leads, term));
            Self::ends(&leads, term)
        });
        self.stopped(ended);
    }
}

impl Task {
    /// Wants to lead, until all has been done.
    pub(crate) async fn lead(self, candidacy: Candidacy) {
        let Candidacy { after, ttl, by, terms } = candidacy;
        sleep(after).await;
        let (here, universe) = (place(), Arc::clone(&self.universe));
        let candidate = Arc::new(Candidate {
            number: universe.checker.number(),
            place: if by == By::Thread { a_thread(here) } else { here },
            task: self.clone(),
            terms: Mutex::new(terms.into()),
            waiter: Mutex::default(),
            over: Notify::new(),
        });
        // Whoever panicked campaigns again.
        loop {
            candidate.campaigns(RELEASES);
            let ended = match by {
                By::Run => AssertUnwindSafe(candidate.runs(ttl)).catch_unwind().await,
                By::Watch => AssertUnwindSafe(candidate.watches(ttl)).catch_unwind().await,
                By::Thread => {
                    let candidate = Arc::clone(&candidate);
                    let blocks = move || catch_unwind(AssertUnwindSafe(|| candidate.blocks(ttl)));
                    match self.on_thread(a_thread(here), blocks).await {
                        Ok(ended) => ended,
                        Err(panic) => Err(panic),
                    }
                }
            };
            if !self.goes_on(&candidate, ended) {
                return;
            }
        }
    }

    fn goes_on(&self, candidate: &Candidate, ended: thread::Result<()>) -> bool {
        match ended {
            Ok(()) => false,
            Err(panic) if panic.downcast_ref() == Some(&PLANNED) => {
                self.universe.checker.meet("panicked");
                !locked(&candidate.terms).is_empty()
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Where a thread's code runs.
fn a_thread(here: Place) -> Place {
    Place { runtime: Place::THREAD, ..here }
}

/// What is known of leaders.
#[derive(Default)]
pub(crate) struct Leaders {
    /// The last term, and of which process.
    last: Option<(u64, usize)>,
    /// Since when nobody leads.
    vacant: Option<Instant>,
    /// Who resigned then.
    resigned: Option<u64>,
}

impl Leaders {
    /// The process was killed.
    pub(crate) fn ended(&mut self, process: usize) {
        if let Some((_, leader)) = self.last
            && leader == process
            && self.vacant.is_none()
        {
            (self.vacant, self.resigned) = (Some(now()), None);
        }
    }
}

impl Universe {
    /// Whether nothing goes wrong but that processes are killed.
    fn is_clean(&self) -> bool {
        let has_errors = self.plan.errors > 0 || self.plan.reports != (0, 0);
        !has_errors && self.plan.faults.iter().all(|(_, fault)| matches!(fault, Fault::Kill { .. }))
    }

    /// Somebody leads no more, who resigned or not.
    fn vacated(&self, term: u64, resigned: Option<u64>) {
        self.checker.with_leaders(|leaders, _| {
            // Another may lead already if it was lost.
            if leaders.last.is_some_and(|(last, _)| last == term) && leaders.vacant.is_none() {
                (leaders.vacant, leaders.resigned) = (Some(now()), resigned);
            }
        });
    }

    /// A candidate leads.
    fn succeeds(&self, candidate: u64) {
        self.checker.meet("leads");
        let (is_clean, healed) = (self.is_clean(), self.start + self.plan.healed());
        let (vacancy, waiting) = self.checker.with_leaders(|leaders, waiting| {
            // At first nobody does.
            let since = leaders.vacant.take().or(leaders.last.is_none().then_some(self.start));
            let vacancy = since.map(|since| (since, leaders.resigned.take()));
            (vacancy, waiting)
        });
        let Some((since, resigned)) = vacancy else { return };
        let from = if is_clean { since } else { since.max(healed) };
        let longest = waiting
            .iter()
            .map(|(place, since)| (*place, now().saturating_duration_since(from.max(*since))))
            .filter(|(place, waited)| self.has_run_for(place.process, *waited))
            .map(|(_, waited)| waited)
            .max();
        // A key that nobody releases stays for its TTL. A connection that fell silent is noticed first.
        let allowed = match (is_clean, self.plan.faults.is_empty()) {
            (true, true) => SUCCESSION,
            (true, false) => self.plan.leaders_ttl() + SUCCESSION,
            _ => self.plan.leaders_ttl() + self.plan.node_timeout * 22 + SUCCESSION,
        };
        if let Some(longest) = longest.filter(|longest| *longest > allowed) {
            self.violated(format!("late: nobody led for {longest:?} beside candidates"));
        }
        let others_campaigned = waiting.iter().any(|(_, campaigns)| *campaigns <= since);
        if resigned == Some(candidate) && others_campaigned && is_clean && self.plan.faults.is_empty() {
            self.violated("whoever resigned leads again, beside candidates".to_owned());
        }
    }
}
