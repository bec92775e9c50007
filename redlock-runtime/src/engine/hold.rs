use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heard::{Heard, Voters};
use super::repair::Repairs;
use super::settlement::{Owner, Settlement};
use super::{Engine, InFlight, Lost, cut_short};
use crate::background::background;
use crate::entropy::fresh_owner;
use crate::node::{Action, Command, Delivery, Reply};
use crate::protocol::{Fate, Ledger, NodeSet, Verdict, patience};

/// One owner of one key on all nodes, from before its first command until the last node has confirmed its release.
///
/// Dropping it, at whatever moment, releases the key on every node on which it may be set, in the background.
pub(crate) struct Hold {
    /// The nodes.
    engine: Arc<Engine>,
    /// The key, the same on every node.
    key: Arc<str>,
    /// The owner's value: fresh for every attempt, so that nothing an earlier one left can be taken for this one.
    owner: Arc<str>,
    /// Where the key may be set.
    ledger: Ledger,
    /// Acquire requests whose reply is on its way.
    stragglers: Vec<InFlight>,
    /// The acquire request, to recall where it was not sent yet.
    acquire: Option<Arc<Command>>,
    /// The release leaves the key until this moment.
    keep_until: Option<Instant>,
}

impl Hold {
    pub(super) fn new(engine: Arc<Engine>, key: Arc<str>) -> Self {
        Self {
            engine,
            key,
            owner: fresh_owner(),
            ledger: Ledger::default(),
            stragglers: Vec::new(),
            acquire: None,
            keep_until: None,
        }
    }

    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    pub(crate) fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Answers from now on for keys that were set again, too.
    pub(crate) fn add(&mut self, repairs: Repairs) {
        for node in repairs.set.iter() {
            // It is not over yet, so nothing is owed now.
            let _ = self.ledger.ended(node, Fate::Set);
        }
        self.stragglers.extend(repairs.asked);
    }

    /// Lets a release leave the key until this moment.
    pub(crate) fn keep_until(&mut self, moment: Instant) {
        self.keep_until = Some(moment);
    }

    /// Asks every node for the lock.
    pub(super) async fn ask_all(&mut self, ttl: Duration, until: Option<Instant>) -> (Verdict, Heard) {
        let command = Command::new(Action::Acquire { ttl }, &self.key, &self.owner);
        self.stragglers = self.engine.ask_each(&command);
        self.acquire = Some(command);
        for asked in &self.stragglers {
            self.ledger.asked(asked.node);
        }
        let Self { engine, ledger, stragglers, .. } = self;
        let patience = patience(engine.node_timeout(), ttl);
        let heard = engine.hear(Voters::Electorate, stragglers, patience, until, |node, reply| {
            // Nothing is released before the round is over, so nothing can be owed yet.
            let _ = ledger.ended(node, fate(reply));
        });
        heard.await
    }

    /// Lets the nodes whose connection is still being made grant the lock once it is there. What was sent already needs
    /// nobody to wait for it; the release will find its reply.
    pub(super) fn see_late_connections_through(&mut self) {
        self.stragglers = mem::take(&mut self.stragglers)
            .into_iter()
            .map(|InFlight { node, reply }| InFlight { node, reply: reply.seen_through_if_unsent() })
            .collect();
    }

    /// Gives a lost attempt back: returns when the nodes that granted it have confirmed, or their time is over, or the
    /// caller's (`until`).
    pub(super) async fn give_back(mut self, until: Option<Instant>) {
        let owed = self.ledger.over();
        let (patience, _) = cut_short(self.engine.node_timeout(), until);
        self.start_release(owed).settle(owed, patience).await;
    }

    /// Releases the lock on every node; returns when a majority has confirmed, or no longer can.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the release goes on in the background.
    pub(crate) async fn release(mut self) -> Result<(), Lost> {
        let _ = self.ledger.over();
        let all = NodeSet::first(self.engine.quorum().nodes());
        self.start_release(all).confirm().await
    }

    /// Prepares every request that is owed: at once to `nodes`, behind their stragglers to the others.
    fn start_release(&mut self, nodes: NodeSet) -> Settlement {
        if let Some(acquire) = self.acquire.take() {
            acquire.recall();
        }
        let stragglers = mem::take(&mut self.stragglers);
        let behind: NodeSet = stragglers.iter().map(|asked| asked.node).collect();
        let owner = Owner {
            engine: Arc::clone(&self.engine),
            key: Arc::clone(&self.key),
            value: Arc::clone(&self.owner),
            keep_until: self.keep_until,
        };
        Settlement::start(Arc::new(owner), nodes.without(behind), self.ledger.suspected(), stragglers)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // After a release or a giving back nothing is left here: the settlement answers for it.
        let Some(acquire) = self.acquire.take() else { return };
        acquire.recall();
        let mut hold = Self {
            engine: Arc::clone(&self.engine),
            key: Arc::clone(&self.key),
            owner: Arc::clone(&self.owner),
            ledger: self.ledger,
            stragglers: mem::take(&mut self.stragglers),
            acquire: None,
            keep_until: self.keep_until,
        };
        // Counted before it starts: whoever waits for releases must not miss it.
        let counted = self.engine.count_debt();
        // Nothing but a spawn happens here: the thread may be one that is ending, without its thread-locals.
        background().spawn(async move {
            let owed = hold.ledger.over();
            drop(hold.start_release(owed));
            drop(counted);
        });
    }
}

/// What a reply to an acquire says about the key.
pub(super) fn fate(reply: &Reply) -> Fate {
    match reply {
        Reply::Done => Fate::Set,
        Reply::NotOurs { .. } | Reply::Missing => Fate::NotSet,
        Reply::Failed(failure) => match failure.delivery {
            Delivery::NotSent => Fate::NotSet,
            Delivery::Answered | Delivery::Unknown(_) => Fate::MaybeSet,
        },
    }
}
