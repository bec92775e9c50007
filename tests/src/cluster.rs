//! Masters that share the slots, and their replicas.

use std::time::Duration;

use redis::{Cmd, RedisResult, cmd};

use crate::cluster_view::View;
use crate::probe::parse_info;
use crate::replication::follows;
use crate::room::Room;
use crate::wait::{long_eventually_some, within};
use crate::{Migration, RedisServer, Servers, Setup};

/// How many masters share the slots.
const MASTERS: usize = 3;

/// How many nodes there are: each master has a replica.
const NODES: usize = 2 * MASTERS;

/// How many slots there are.
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>
pub const SLOTS: u16 = 16_384;

/// How long a node must be silent until the others take it for dead, in milliseconds: soon, yet longer than a busy
/// machine makes it.
const NODE_TIMEOUT_MILLISECONDS: &str = "2000";

/// How long a failover that was asked for may take before the replica gives it up.
/// <https://redis.io/docs/latest/commands/cluster-failover/>
const MANUAL_FAILOVER: Duration = Duration::from_secs(6);

/// Three masters and a replica for each, gone when this is dropped.
#[derive(Debug)]
#[must_use = "the servers are gone when this is dropped"]
pub struct Cluster {
    /// All of them; the first three were the masters at first.
    nodes: Servers,
    /// Given back behind the servers.
    _room: Room,
}

impl Cluster {
    /// Starts the nodes, open to everybody, and waits until they are a cluster.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start`], and if they do not become one.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_as(&Setup::new())
    }

    /// Starts the nodes, all set up like this, and waits until they are a cluster.
    ///
    /// # Panics
    ///
    /// Like [`start`](Self::start).
    #[track_caller]
    pub fn start_as(setup: &Setup) -> Self {
        let room = Room::take();
        let setup = setup.clone().with_replication().in_cluster().with_arguments(&[
            "--cluster-node-timeout",
            NODE_TIMEOUT_MILLISECONDS,
            // However long a replica was without its master, it may take over.
            "--cluster-replica-validity-factor",
            "0",
            // A replica stays with its master, so that who follows whom is known.
            "--cluster-allow-replica-migration",
            "no",
        ]);
        let cluster = Self { nodes: Servers::start_as(NODES, &setup), _room: room };
        cluster.introduce();
        cluster.wait_until_ok();
        cluster
    }

    /// All nodes, running or not, in an order that does not change: the first three are the masters at first.
    pub fn servers(&self) -> &Servers {
        &self.nodes
    }

    /// The nodes' addresses, with commas between them, as they stand in a URL.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.nodes.hosts()
    }

    /// `redis+cluster://HOSTS`, with the user and the password; it begins with `rediss` if the nodes speak TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.nodes[0].setup().url_up_to_hosts("+cluster"), self.hosts())
    }

    /// The slot of a key.
    ///
    /// # Panics
    ///
    /// If no node answers.
    #[track_caller]
    #[must_use]
    pub fn slot_of(&self, key: &str) -> u16 {
        let node = self.nodes.answering().next().expect("a node of the cluster answers");
        asked(node, cmd("CLUSTER").arg("KEYSLOT").arg(key))
    }

    /// The master that serves the slot, as all nodes agree.
    ///
    /// # Panics
    ///
    /// If they do not within ninety seconds.
    #[track_caller]
    pub fn owner(&self, slot: u16) -> &RedisServer {
        long_eventually_some(format!("all nodes agree on who serves slot {slot}"), || {
            self.server_at(self.agreed()?.owner(slot)?.port)
        })
    }

    /// The masters that serve slots, as all nodes agree.
    ///
    /// # Panics
    ///
    /// Like [`owner`](Self::owner).
    #[track_caller]
    #[must_use]
    pub fn masters(&self) -> Vec<&RedisServer> {
        long_eventually_some("all nodes agree on who serves", || {
            let view = self.agreed()?;
            view.nodes().iter().filter(|node| node.serves()).map(|node| self.server_at(node.port)).collect()
        })
    }

    /// The replicas of a master, as all nodes agree, running or not.
    ///
    /// # Panics
    ///
    /// Like [`owner`](Self::owner).
    #[track_caller]
    #[must_use]
    pub fn replicas_of(&self, master: &RedisServer) -> Vec<&RedisServer> {
        long_eventually_some("all nodes agree on who follows", || {
            let view = self.agreed()?;
            let id = &view.at(master.port())?.id;
            let replicas = view.nodes().iter().filter(|node| node.master.as_ref() == Some(id));
            replicas.map(|node| self.server_at(node.port)).collect()
        })
    }

    /// Begins to move a slot to another master; it goes on when the test says so.
    ///
    /// # Panics
    ///
    /// If a node refuses it.
    #[track_caller]
    pub fn migrate(&self, slot: u16, to: &RedisServer) -> Migration<'_> {
        let to = self.server_at(to.port()).expect("the target is of this cluster");
        Migration::start(self, slot, self.owner(slot), to)
    }

    /// Has a replica of that master take its place in order, and waits until all agree; returns it.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn fail_over(&self, master: &RedisServer) -> &RedisServer {
        let replica = self.replicas_of(master)[0];
        long_eventually_some("the replica takes its master's place", || {
            // It gives up when its master is busy elsewhere, and then has to be asked again.
            replica.probe().run::<()>(cmd("CLUSTER").arg("FAILOVER")).ok()?;
            within(MANUAL_FAILOVER, || self.agreed()?.at(replica.port())?.serves().then_some(()))
        });
        self.wait_until_ok();
        replica
    }

    /// Kills a master, and waits until its replica has taken its place and all agree; returns the replica.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn crash(&self, master: &RedisServer) -> &RedisServer {
        let replica = self.replicas_of(master)[0];
        master.kill();
        self.wait_until_serving(replica);
        replica
    }

    /// Waits until all agree that this node serves slots, and that all is well; for a master that died or hangs.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn wait_until_serving(&self, replica: &RedisServer) {
        long_eventually_some(format!("the node on port {} serves", replica.port()), || {
            self.agreed()?.at(replica.port())?.serves().then_some(())
        });
        self.wait_until_ok();
    }

    /// Waits until all nodes that answer agree that all slots are served, believe each other to be well, and the
    /// replicas among them have what their masters have.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn wait_until_ok(&self) {
        long_eventually_some("the cluster is well, and its replicas have all", || {
            let view = self.agreed()?;
            let in_step = self.nodes.answering().all(|server| {
                let master = view.at(server.port()).map(|node| &node.master);
                let Some(Some(master)) = master else { return true };
                view.named(master)
                    .and_then(|master| self.server_at(master.port))
                    .is_some_and(|master| follows(server, master))
            });
            in_step.then_some(())
        });
    }

    /// What all nodes that answer agree on: that the cluster is well, who serves what, and that they all are well.
    pub(crate) fn agreed(&self) -> Option<View> {
        let answering: Vec<&RedisServer> = self.nodes.answering().collect();
        let views: Vec<View> = answering.iter().map(|server| healthy_view(server)).collect::<Option<_>>()?;
        let first = views.first()?;
        let all_well = |view: &View| {
            answering.iter().all(|server| view.at(server.port()).is_some_and(|node| node.is_well))
                && view.nodes().len() == NODES
        };
        (views.iter().all(|view| view.agrees_with(first) && all_well(view))).then(|| first.clone())
    }

    fn server_at(&self, port: u16) -> Option<&RedisServer> {
        self.nodes.iter().find(|server| server.port() == port)
    }

    /// Makes the nodes, of which none knows another, a cluster.
    #[track_caller]
    fn introduce(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            // Without it they all begin in the same epoch, and first have to find out who goes before whom.
            asked::<()>(node, cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(index + 1));
        }
        for node in &self.nodes[1..] {
            asked::<()>(&self.nodes[0], cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(node.port()));
        }
        let masters = &self.nodes[..MASTERS];
        let share = usize::from(SLOTS).div_ceil(MASTERS);
        let slots: Vec<u16> = (0..SLOTS).collect();
        for (master, slots) in masters.iter().zip(slots.chunks(share)) {
            asked::<()>(master, cmd("CLUSTER").arg("ADDSLOTS").arg(slots));
        }
        for (replica, master) in self.nodes[MASTERS..].iter().zip(masters) {
            let id: String = asked(master, cmd("CLUSTER").arg("MYID"));
            long_eventually_some("a replica hears of its master", || {
                replica.probe().run::<()>(cmd("CLUSTER").arg("REPLICATE").arg(&id)).ok()
            });
        }
    }
}

/// The cluster as the node sees it, if it thinks that the cluster is well.
fn healthy_view(node: &RedisServer) -> Option<View> {
    let info: RedisResult<String> = node.probe().run(cmd("CLUSTER").arg("INFO"));
    let info = parse_info(&info.ok()?);
    let view: RedisResult<String> = node.probe().run(cmd("CLUSTER").arg("NODES"));
    let view = View::parse(&view.ok()?)?;
    info.get("cluster_state").is_some_and(|state| state == "ok").then_some(view)
}

/// What the node answers.
#[track_caller]
pub(crate) fn asked<T: redis::FromRedisValue>(node: &RedisServer, command: &Cmd) -> T {
    let answer = node.probe().run(command);
    answer.unwrap_or_else(|error| panic!("the node on port {} did not do as told: {error}", node.port()))
}
