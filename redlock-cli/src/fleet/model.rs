//! What is known of a fleet, and what changes of it with each look.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_runtime::{LockInfo, NodeInfo, NodeStanding};

use super::chart::Chart;
use super::history::{Change, Event, History};
use super::row::{Row, State, Updated};
use crate::output::plain;

/// So many round trips of each node are kept.
const ROUND_TRIPS: usize = 60;

/// All that was seen.
#[derive(Debug)]
pub(crate) struct Model {
    rows: HashMap<Arc<str>, Row>,
    lamps: Vec<Lamp>,
    history: History,
    chart: Chart,
    /// Why the locks cannot all be seen, if they cannot.
    problem: Option<String>,
    /// The number of the survey under way, from one.
    survey: u64,
    /// When all locks were seen last, and how long that took.
    surveyed: Option<(Instant, Duration)>,
    /// Grows with every change.
    version: u64,
    /// When the first look began.
    began: Instant,
}

/// A node, as a lamp shows it.
#[derive(Clone, Debug)]
pub(crate) struct Lamp {
    pub(crate) node: Arc<str>,
    /// What metrics call it.
    pub(crate) label: Arc<str>,
    pub(crate) standing: NodeStanding,
    pub(crate) round_trip: Option<Duration>,
    /// Why it does not answer.
    pub(crate) failure: Option<Arc<str>>,
    /// Since when it stands like that.
    pub(crate) since: Instant,
    /// The last round trips, the latest last; nothing where it did not answer.
    pub(crate) round_trips: VecDeque<Option<Duration>>,
}

impl Model {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            rows: HashMap::new(),
            lamps: Vec::new(),
            history: History::default(),
            chart: Chart::new(now),
            problem: None,
            survey: 1,
            surveyed: None,
            version: 0,
            began: now,
        }
    }

    /// Takes in what was seen of some locks; `since_1970` is the time of day.
    pub(crate) fn take_in(&mut self, infos: &[LockInfo], now: Instant, since_1970: Duration) {
        for info in infos {
            self.take_in_one(info, now, since_1970);
        }
    }

    fn take_in_one(&mut self, info: &LockInfo, now: Instant, since_1970: Duration) {
        let is_worth_a_row = Row::is_worth_a_row(info);
        let mut later = Row::new(info, now);
        later.survey = self.survey;
        // What is there when the first look comes was not acquired just now.
        let is_news = self.surveyed.is_some();
        let change = match self.rows.get_mut(&later.name) {
            Some(row) => {
                let name = Arc::clone(&row.name);
                let waiting = later.waiting;
                let Updated { change, is_changed } = row.update(later);
                if is_changed {
                    self.version += 1;
                    row.version = self.version;
                }
                if change.is_none() && row.state == State::Held {
                    self.history.name_owner(&name, row.holder.as_ref(), row.token);
                }
                if !is_worth_a_row {
                    self.rows.remove(&name);
                }
                change.map(|change| (name, change, waiting))
            }
            None if is_worth_a_row => {
                self.version += 1;
                later.version = self.version;
                let (name, waiting) = (Arc::clone(&later.name), later.waiting);
                let change = match later.state {
                    State::Held => Some(Change::Acquired { holder: later.holder.clone(), token: later.token }),
                    State::Kept => Some(Change::Kept),
                    State::Unsettled => Some(Change::Unsettled),
                    State::Free => None,
                };
                self.rows.insert(Arc::clone(&name), later);
                change.filter(|_| is_news).map(|change| (name, change, waiting))
            }
            None => None,
        };
        if let Some((name, change, waiting)) = change {
            if matches!(change, Change::Acquired { .. }) {
                self.chart.note_acquired();
            }
            self.history.note(&name, Event { at: since_1970, change, waiting });
        }
    }

    /// The names that the survey under way has not come to.
    pub(crate) fn unseen(&self) -> Vec<Arc<str>> {
        self.rows.values().filter(|row| row.survey != self.survey).map(|row| Arc::clone(&row.name)).collect()
    }

    /// All locks were seen.
    pub(crate) fn end_survey(&mut self, now: Instant, took: Duration) {
        self.version += u64::from(self.surveyed.is_none() || self.problem.is_some());
        self.survey += 1;
        self.surveyed = Some((now, took));
        self.problem = None;
    }

    /// Not all locks can be seen.
    pub(crate) fn fail(&mut self, problem: String) {
        let problem = Some(problem);
        self.version += u64::from(self.problem != problem);
        self.problem = problem;
    }

    /// Takes in how the nodes are.
    pub(crate) fn take_in_nodes(&mut self, infos: &[NodeInfo], now: Instant) {
        if self.lamps.len() != infos.len() {
            self.lamps = infos.iter().map(|info| Lamp::new(info, now)).collect();
        }
        for (lamp, info) in self.lamps.iter_mut().zip(infos) {
            lamp.update(info, now);
        }
        self.version += 1;
    }

    /// Time passed: the chart goes on.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.chart.go_on(now);
        let (waiting, held) = (self.waiting(), self.held());
        self.chart.note(waiting, held);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    pub(crate) fn lamps(&self) -> &[Lamp] {
        &self.lamps
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn chart(&self) -> &Chart {
        &self.chart
    }

    /// How many wait, for all locks that are seen.
    pub(crate) fn waiting(&self) -> u64 {
        self.rows.values().fold(0, |waiting, row| waiting.saturating_add(row.waiting))
    }

    /// How many locks are held.
    pub(crate) fn held(&self) -> u64 {
        let held = self.rows.values().filter(|row| row.state == State::Held).count();
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How long ago all locks were seen, and how long that took.
    pub(crate) fn surveyed(&self) -> Option<(Instant, Duration)> {
        self.surveyed
    }

    /// When the first look began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

impl Lamp {
    fn new(info: &NodeInfo, now: Instant) -> Self {
        Self {
            node: plain(&info.node).into(),
            label: plain(&info.label).into(),
            standing: info.standing,
            round_trip: None,
            failure: None,
            since: now,
            round_trips: VecDeque::with_capacity(ROUND_TRIPS),
        }
    }

    fn update(&mut self, info: &NodeInfo, now: Instant) {
        if self.standing != info.standing {
            self.since = now;
        }
        self.standing = info.standing;
        self.round_trip = info.round_trip;
        self.failure = info.failure.as_deref().map(|failure| plain(failure).into());
        if self.round_trips.len() == ROUND_TRIPS {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(info.round_trip);
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::{Order, Sort, Window};
    use super::*;
    use redlock_runtime::{LockManager, Timeout};

    /// A manager of its own, and what it makes the model see.
    struct Stage {
        locks: LockManager,
        model: Model,
        now: Instant,
    }

    impl Stage {
        /// Nodes of one name are the same in all tests.
        fn new(test: &str) -> Self {
            let nodes = ["a", "b", "c"].map(|node| format!("memory://{test}-{node}"));
            let locks = LockManager::builder().nodes(nodes).build().unwrap();
            let now = crate::clock::std_now();
            Self { locks, model: Model::new(now), now }
        }

        async fn survey(&mut self) {
            let mut pages = self.locks.inspect_all();
            while let Some(page) = pages.next().await {
                self.model.take_in(&page.unwrap(), self.now, Duration::ZERO);
            }
            let unseen = self.locks.inspect_each(self.model.unseen().iter().map(ToString::to_string)).await.unwrap();
            self.model.take_in(&unseen, self.now, Duration::ZERO);
            self.model.end_survey(self.now, Duration::ZERO);
        }

        fn changes(&self, name: &str) -> Vec<&Change> {
            self.model.history().of(name).map(|event| &event.change).collect()
        }
    }

    #[tokio::test]
    async fn what_happens_to_a_lock_is_its_history() {
        let mut stage = Stage::new("history");
        stage.survey().await;
        let guard = stage.locks.lock("a").acquire().await.unwrap();
        stage.survey().await;
        stage.survey().await;
        assert!(matches!(stage.changes("a")[..], [Change::Acquired { .. }]), "{:?}", stage.changes("a"));
        assert_eq!((stage.model.len(), stage.model.held()), (1, 1));
        guard.release().await.unwrap();
        stage.survey().await;
        assert!(matches!(stage.changes("a")[..], [Change::Released { .. }, Change::Acquired { .. }]));
        assert_eq!(stage.model.len(), 0);
        let point = *stage.model.chart().since(0).0.last().unwrap();
        assert_eq!(point.acquired, 1);
    }

    #[tokio::test]
    async fn another_owner_is_seen_by_its_token() {
        let mut stage = Stage::new("owners");
        stage.survey().await;
        let skip = |stage: &Stage| stage.locks.lock("a").timeout(Timeout::Skip);
        for _ in 0..3 {
            let guard = skip(&stage).acquire().await.unwrap();
            // What is noted about an owner comes a moment behind its acquisition.
            while stage.locks.inspect("a").await.unwrap().fencing_token.is_none() {
                tokio::task::yield_now().await;
            }
            stage.survey().await;
            guard.release().await.unwrap();
        }
        assert_eq!(stage.changes("a").len(), 3, "{:?}", stage.changes("a"));
    }

    #[tokio::test]
    async fn who_acquired_a_lock_is_told_of_one_that_was_seen_before_its_owner_said_so() {
        let mut stage = Stage::new("names");
        stage.survey().await;
        let guard = stage.locks.lock("a").owner_label("somebody").acquire().await.unwrap();
        let mut info = stage.locks.inspect("a").await.unwrap();
        (info.owner_label, info.fencing_token, info.held_for) = (None, None, None);
        stage.model.take_in(&[info], stage.now, Duration::ZERO);
        while stage.locks.inspect("a").await.unwrap().owner_label.is_none() {
            tokio::task::yield_now().await;
        }
        stage.survey().await;
        let token = Some(guard.fencing_token());
        let told = Change::Acquired { holder: Some("somebody".into()), token };
        assert_eq!(stage.changes("a"), [&told]);
    }

    #[tokio::test]
    async fn what_was_there_before_is_no_acquisition() {
        let mut stage = Stage::new("before");
        let _guard = stage.locks.lock("a").acquire().await.unwrap();
        stage.survey().await;
        assert_eq!(stage.model.len(), 1);
        assert!(stage.changes("a").is_empty());
    }

    #[tokio::test]
    async fn permits_are_shown_as_one_lock() {
        let mut stage = Stage::new("permits");
        let _one = stage.locks.lock("p").permits(3).acquire().await.unwrap();
        let _two = stage.locks.lock("p").permits(3).acquire().await.unwrap();
        stage.survey().await;
        let row = stage.model.row("p").unwrap();
        assert_eq!((row.permits(), row.state), (Some((2, 3)), State::Held));
    }

    #[tokio::test]
    async fn a_window_is_a_part_of_all_in_their_order() {
        let mut stage = Stage::new("windows");
        let mut guards = Vec::new();
        for number in 0..30 {
            guards.push(stage.locks.lock(format!("Job:{number:02}")).acquire().await.unwrap());
        }
        stage.survey().await;
        let names = |search: &str, order, from, count| {
            let window = Window { sort: Sort::Name, order, search: search.to_owned(), from, count };
            let view = window.of(&stage.model, stage.now);
            (view.rows.iter().map(|row| row.name.to_string()).collect::<Vec<_>>(), view.from, view.matching)
        };
        assert_eq!(names("", Order::Ascending, 10, 2), (vec!["Job:10".to_owned(), "Job:11".to_owned()], 10, 30));
        assert_eq!(names("", Order::Descending, 0, 1), (vec!["Job:29".to_owned()], 0, 30));
        assert_eq!(names("job:1", Order::Ascending, 500, 2), (vec!["Job:18".to_owned(), "Job:19".to_owned()], 8, 10));
        assert_eq!(names("nothing", Order::Ascending, 0, 9), (Vec::new(), 0, 0));
    }
}
