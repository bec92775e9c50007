//! A slot on its way from one master of a cluster to another.

use std::time::Duration;

use redis::cmd;

use crate::cluster::asked;
use crate::wait::long_eventually_some;
use crate::{Cluster, RedisServer};

/// How long moving one key may take.
const MOVE: Duration = Duration::from_secs(5);

/// A slot that one master is giving away and another is taking, until [`finish`](Self::finish).
///
/// Meanwhile the first answers for the keys that it still has, and sends clients to the other for those that it does
/// not have, with ASK. Dropping this changes nothing: the slot stays on its way.
#[derive(Debug)]
#[must_use = "the slot stays on its way until this is finished"]
pub struct Migration<'a> {
    /// What both are nodes of.
    cluster: &'a Cluster,
    /// What is moved.
    slot: u16,
    /// Who gives it away.
    from: &'a RedisServer,
    /// Who takes it.
    to: &'a RedisServer,
}

impl<'a> Migration<'a> {
    /// Tells both masters that it begins.
    #[track_caller]
    pub(crate) fn start(cluster: &'a Cluster, slot: u16, from: &'a RedisServer, to: &'a RedisServer) -> Self {
        // The taker first: it has to answer those whom the giver sends.
        set_slot(to, slot, "IMPORTING", &id_of(from));
        set_slot(from, slot, "MIGRATING", &id_of(to));
        Self { cluster, slot, from, to }
    }

    /// Who gives the slot away.
    pub fn from(&self) -> &'a RedisServer {
        self.from
    }

    /// Who takes it.
    pub fn to(&self) -> &'a RedisServer {
        self.to
    }

    /// The slot's keys that have not been moved, sorted.
    ///
    /// # Panics
    ///
    /// If the giver does not answer.
    #[track_caller]
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = asked(self.from, cmd("CLUSTER").arg("GETKEYSINSLOT").arg(self.slot).arg(1000));
        keys.sort_unstable();
        keys
    }

    /// Moves one key.
    ///
    /// # Panics
    ///
    /// If the giver does not have it, or one of the two does not answer.
    #[track_caller]
    pub fn move_key(&self, key: &str) {
        assert!(self.try_move_key(key), "{key} was not there to be moved");
    }

    /// Moves one key; whether it was there.
    #[track_caller]
    fn try_move_key(&self, key: &str) -> bool {
        let mut command = cmd("MIGRATE");
        command.arg("127.0.0.1").arg(self.to.port()).arg("").arg(0).arg(MOVE.as_millis());
        if let Some(credentials) = self.to.setup().harness_credentials() {
            match credentials.user {
                Some(user) => command.arg("AUTH2").arg(user),
                None => command.arg("AUTH"),
            };
            command.arg(credentials.password);
        }
        let answer: String = asked(self.from, command.arg("KEYS").arg(key));
        answer == "OK"
    }

    /// Moves the keys that are left.
    ///
    /// # Panics
    ///
    /// Like [`move_key`](Self::move_key).
    #[track_caller]
    pub fn move_keys(&self) {
        for key in self.keys() {
            self.move_key(&key);
        }
    }

    /// Moves the keys that are left, tells every master whose slot it is now, and waits until all agree.
    ///
    /// # Panics
    ///
    /// Like [`move_key`](Self::move_key), and if they do not within ninety seconds.
    #[track_caller]
    pub fn finish(self) {
        self.move_keys();
        self.settle();
    }

    /// Like [`finish`](Self::finish), while keys of the slot come and go.
    ///
    /// # Panics
    ///
    /// Like [`finish`](Self::finish), also if the taker already has a key that is to be moved to it.
    #[track_caller]
    pub fn finish_under_load(self) {
        long_eventually_some("the giver has none of the keys any more", || {
            let keys = self.keys();
            for key in &keys {
                self.try_move_key(key);
            }
            keys.is_empty().then_some(())
        });
        self.settle();
    }

    /// Tells every master whose slot it is now, and waits until all agree.
    #[track_caller]
    fn settle(&self) {
        let id = id_of(self.to);
        let others = self.cluster.masters().into_iter();
        let others = others.filter(|master| ![self.to.port(), self.from.port()].contains(&master.port()));
        // The taker first: should the giver go first, it would send clients to one that sends them back.
        for master in [self.to, self.from].into_iter().chain(others) {
            set_slot(master, self.slot, "NODE", &id);
        }
        long_eventually_some("all agree on whose slot it is", || {
            (self.cluster.agreed()?.owner(self.slot)?.port == self.to.port()).then_some(())
        });
    }
}

#[track_caller]
fn id_of(node: &RedisServer) -> String {
    asked(node, cmd("CLUSTER").arg("MYID"))
}

#[track_caller]
fn set_slot(node: &RedisServer, slot: u16, what: &str, id: &str) {
    asked::<()>(node, cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(what).arg(id));
}
