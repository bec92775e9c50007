//! Looks at the nodes again and again, and never so often that they would mind.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redlock_runtime::{Error, LockInfo, LockManager};
use tokio::sync::watch;
use tokio::time::sleep;

use super::model::Model;
use crate::clock::{since_1970, std_now as now};

/// All locks are looked at this often, if that takes little time.
const SURVEY_EVERY: Duration = Duration::from_secs(1);

/// Of the time this part is spent with it, if that takes long.
const SHARE: u32 = 5;

/// A fleet that is seen in less than this is no burden to its nodes.
const SHORT_SURVEY: Duration = Duration::from_millis(250);

/// How often the nodes are asked how they are, and what somebody has on the screen is looked at where all locks are not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The nodes are left alone for this between two looks at what they say that it changed.
const REST: Duration = Duration::from_millis(10);

/// So many locks are looked at, for all who have some on the screen.
const MOST_WATCHED: usize = 512;

/// What one round of questions is about, at most.
const AT_ONCE: usize = 128;

/// A fleet that is being looked at; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    locks: LockManager,
    /// A std mutex: it is never held across an await.
    model: Mutex<Model>,
    /// What each viewer has on the screen. A std mutex, for the same reason.
    watched: Mutex<HashMap<u64, Vec<Arc<str>>>>,
    viewers: AtomicU64,
    /// Told the version of the model.
    changed: watch::Sender<u64>,
    /// Whose turn it is to look at locks and to take in what was seen: of two looks at one lock the later one must be taken in last.
    turn: tokio::sync::Mutex<()>,
}

/// Somebody who looks; until it is dropped, the locks that it has on the screen are looked at more often.
#[derive(Debug)]
pub(crate) struct Viewer {
    fleet: Fleet,
    number: u64,
}

impl Viewer {
    /// What is on the screen from now on.
    pub(crate) fn sees(&self, names: impl IntoIterator<Item = Arc<str>>) {
        self.fleet.0.watched().insert(self.number, names.into_iter().collect());
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.fleet.0.watched().remove(&self.number);
    }
}

impl Inner {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<u64, Vec<Arc<str>>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    /// Looks from now on, in tasks of the present runtime.
    pub(crate) fn start(locks: LockManager) -> Self {
        let fleet = Self::new(locks);
        tokio::spawn(fleet.clone().survey_again_and_again());
        tokio::spawn(fleet.clone().look_again_and_again());
        tokio::spawn(fleet.clone().follow());
        fleet
    }

    fn new(locks: LockManager) -> Self {
        let model = Mutex::new(Model::new(now()));
        let (changed, _) = watch::channel(0);
        let (watched, viewers, turn) = (Mutex::default(), AtomicU64::new(0), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { locks, model, watched, viewers, changed, turn }))
    }

    pub(crate) fn locks(&self) -> &LockManager {
        &self.0.locks
    }

    /// What was seen. Whoever has it keeps others from it.
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.0.model()
    }

    pub(crate) fn viewer(&self) -> Viewer {
        Viewer { fleet: self.clone(), number: self.0.viewers.fetch_add(1, Ordering::Relaxed) }
    }

    /// How many look.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Does something to the model, and tells those who look if it changed.
    fn change<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.model();
        let done = change(&mut model);
        let version = model.version();
        drop(model);
        self.0.changed.send_if_modified(|told| std::mem::replace(told, version) != version);
        done
    }

    async fn survey_again_and_again(self) {
        loop {
            let took = self.survey_and_tell().await;
            sleep(SURVEY_EVERY.max(took)).await;
        }
    }

    /// Looks at all locks once; how long the nodes were busy with that, and as much again for each part of the time that is theirs.
    async fn survey_and_tell(&self) -> Duration {
        let began = now();
        match self.survey().await {
            Ok(busy) => {
                let ended = now();
                self.change(|model| model.end_survey(ended, ended - began));
                busy
            }
            Err(error) => {
                self.change(|model| model.fail(error.to_string()));
                SURVEY_EVERY
            }
        }
    }

    /// Looks at all locks once; how long the nodes were asked.
    async fn survey(&self) -> Result<Duration, Error> {
        let mut busy = Duration::ZERO;
        let mut pages = self.locks().inspect_all();
        loop {
            let turn = self.0.turn.lock().await;
            let asked = now();
            let Some(page) = pages.next().await else { break };
            self.take_in(&page?);
            drop(turn);
            busy += self.rest(asked, busy).await;
        }
        // A lock that is released and acquired again while the nodes list theirs may be missing in the list.
        let unseen = self.model().unseen();
        for names in unseen.chunks(AT_ONCE) {
            let asked = now();
            self.look_at_each(names).await?;
            busy += self.rest(asked, busy).await;
        }
        Ok(busy)
    }

    /// Leaves the nodes to others for a while, if the survey is a long one; how long they were asked.
    async fn rest(&self, asked: std::time::Instant, busy: Duration) -> Duration {
        let took = now() - asked;
        // The first survey shows what there is as soon as possible.
        if busy + took > SHORT_SURVEY && self.model().surveyed().is_some() {
            sleep(took * (SHARE - 1)).await;
        }
        took
    }

    /// Looks at these locks, with one round of questions.
    async fn look_at_each(&self, names: &[Arc<str>]) -> Result<(), Error> {
        let _turn = self.0.turn.lock().await;
        let infos = self.locks().inspect_each(names.iter().map(ToString::to_string)).await?;
        self.take_in(&infos);
        Ok(())
    }

    /// Looks at whatever the nodes say that it changed.
    async fn follow(self) {
        let mut changes = self.locks().changes();
        while let Ok(names) = changes.next().await {
            let names = self.worth_a_look(names);
            for names in names.chunks(AT_ONCE) {
                let asked = now();
                // Nodes that cannot be reached are told of by the survey.
                let _ = self.look_at_each(names).await;
                // Whatever changes meanwhile is looked at once.
                sleep(REST.max((now() - asked) * (SHARE - 1))).await;
            }
        }
    }

    /// Of many locks only those that are new, and those that somebody has on the screen: most of what changes is extended.
    fn worth_a_look(&self, names: Vec<String>) -> Vec<Arc<str>> {
        let is_many = self.is_many();
        let watched: BTreeSet<Arc<str>> = self.0.watched().values().flatten().map(Arc::clone).collect();
        let model = self.model();
        let is_worth = |name: &String| !is_many || model.row(name).is_none() || watched.contains(name.as_str());
        names.into_iter().filter(is_worth).map(Arc::from).collect()
    }

    /// Whether there are so many locks that all of them cannot be looked at all the time.
    fn is_many(&self) -> bool {
        self.model().surveyed().is_none_or(|(_, took)| took >= SHORT_SURVEY)
    }

    fn take_in(&self, infos: &[LockInfo]) {
        let (now, since_1970) = (now(), since_1970());
        self.change(|model| model.take_in(infos, now, since_1970));
    }

    async fn look_again_and_again(self) {
        loop {
            self.look().await;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) {
        if let Ok(infos) = self.locks().nodes().await {
            let now = now();
            self.change(|model| model.take_in_nodes(&infos, now));
        }
        let now = now();
        self.change(|model| model.tick(now));
        if self.model().surveyed().is_none() || !self.is_many() {
            return;
        }
        let watched: BTreeSet<Arc<str>> = self.0.watched().values().flatten().map(Arc::clone).collect();
        // Anybody may ask for a page of whatever name.
        let is_known = |model: &Model, name: &Arc<str>| model.row(name).is_some();
        let watched: Vec<_> = {
            let model = self.model();
            watched.into_iter().filter(|name| is_known(&model, name)).take(MOST_WATCHED).collect()
        };
        for names in watched.chunks(AT_ONCE) {
            // Nodes that cannot be reached are told of by the survey.
            let _ = self.look_at_each(names).await;
        }
    }
}

/// What there is to see at this moment.
pub(crate) async fn look_once(locks: LockManager) -> Fleet {
    let fleet = Fleet::new(locks);
    tokio::join!(fleet.look(), fleet.survey_and_tell());
    fleet
}
