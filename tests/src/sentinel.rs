//! A master, its replicas, and the Sentinels that watch over them.

use std::collections::HashMap;

use redis::{RedisResult, cmd};

use crate::replication::{follows, is_master};
use crate::room::Room;
use crate::setup::{Credentials, Place};
use crate::wait::{eventually_some, long_eventually_some};
use crate::{Probe, RedisServer, Servers, Setup};

/// The name that the Sentinels know the master by.
pub const SERVICE: &str = "service";

/// How many servers there are, the master among them.
const SERVERS: usize = 3;

/// How many Sentinels there are; two of them decide.
const SENTINELS: usize = 3;

/// How long a server must be silent until a Sentinel takes it for dead: soon, yet longer than a busy machine makes it.
const DOWN_AFTER_MILLISECONDS: &str = "2000";

/// One master, two replicas and three Sentinels, gone when this is dropped.
#[derive(Debug)]
#[must_use = "the servers are gone when this is dropped"]
pub struct Sentinel {
    /// The data's servers; any of them may be the master by now.
    servers: Servers,
    /// Those that say who is.
    sentinels: Servers,
    /// Given back behind the servers.
    _room: Room,
}

impl Sentinel {
    /// Starts them all, open to everybody, and waits until they know each other.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start`].
    #[track_caller]
    pub fn start() -> Self {
        Self::start_as(&Setup::new(), &Setup::new())
    }

    /// Starts them all, the data's servers and the Sentinels set up like this, and waits until they know each other.
    ///
    /// # Panics
    ///
    /// Like [`RedisServer::start_as`].
    #[track_caller]
    pub fn start_as(servers: &Setup, sentinels: &Setup) -> Self {
        let room = Room::take();
        let servers = Servers::start_as(SERVERS, &servers.clone().with_replication().in_place(Place::File));
        for replica in &servers[1..] {
            replica.probe().replica_of(servers[0].port());
        }
        let sentinels = Servers::start_as(SENTINELS, &sentinel_setup(sentinels, &servers[0]));
        for sentinel in &sentinels {
            hurry(&sentinel.probe());
        }
        let all = Self { servers, sentinels, _room: room };
        all.wait_until_in_step();
        all
    }

    /// The data's servers, running or not, in an order that does not change.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The Sentinels, running or not.
    pub fn sentinels(&self) -> &Servers {
        &self.sentinels
    }

    /// The Sentinels' addresses, with commas between them, as they stand in a URL.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.sentinels.hosts()
    }

    /// `redis+sentinel://HOSTS/service/0`, with the user and the password of the data's servers.
    ///
    /// It begins with `rediss` if the data's servers speak TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}/{SERVICE}/0", self.servers[0].setup().url_up_to_hosts("+sentinel"), self.hosts())
    }

    /// The master, as those Sentinels say that answer.
    ///
    /// # Panics
    ///
    /// If they do not agree within ten seconds.
    #[track_caller]
    pub fn master(&self) -> &RedisServer {
        eventually_some("the Sentinels agree on a master", || self.agreed_master())
    }

    /// The data's servers that run and are not the master.
    ///
    /// # Panics
    ///
    /// Like [`master`](Self::master).
    #[track_caller]
    #[must_use]
    pub fn replicas(&self) -> Vec<&RedisServer> {
        let master = self.master().port();
        self.servers.iter().filter(|server| server.port() != master && server.is_running()).collect()
    }

    /// Has a Sentinel make another server the master, and waits until that is done; returns the new master.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn force_failover(&self) -> &RedisServer {
        let old = self.master().port();
        let new = long_eventually_some("the failover that a Sentinel was ordered to make", || {
            // Ordered again when it is over without another master, as one that took too long is given up by the Sentinel. While
            // one goes on the order is refused (INPROG), and so is one when the replicas were not heard of lately (NOGOODSLAVE).
            if master_port(&self.sentinels[0]) == Some(old) {
                let _: RedisResult<()> = self.sentinels[0].probe().run(cmd("SENTINEL").arg("FAILOVER").arg(SERVICE));
            }
            self.other_master(old)
        });
        self.wait_until_in_step();
        new
    }

    /// Waits until the Sentinels agree on another master than the one on this port, it is one, and the failover is
    /// over; returns it.
    ///
    /// A server that is started again before that is empty, and may still be made the master.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn wait_for_other_master(&self, than: u16) -> &RedisServer {
        long_eventually_some(format!("a master other than the one on port {than}"), || self.other_master(than))
    }

    fn other_master(&self, than: u16) -> Option<&RedisServer> {
        let master = self.agreed_master().filter(|master| master.port() != than && is_master(master))?;
        self.sentinels.answering().all(knows_all).then_some(master)
    }

    /// Waits until all servers that answer follow the master and have what it has, and the Sentinels know all.
    ///
    /// # Panics
    ///
    /// If that does not come within ninety seconds.
    #[track_caller]
    pub fn wait_until_in_step(&self) {
        long_eventually_some("everybody follows the master, and every Sentinel knows all", || {
            let master = self.agreed_master().filter(|master| is_master(master))?;
            let mut others = self.servers.answering().filter(|server| server.port() != master.port());
            (others.all(|server| follows(server, master)) && self.sentinels.answering().all(knows_all)).then_some(())
        });
    }

    /// The master, if all Sentinels that answer name the same one.
    fn agreed_master(&self) -> Option<&RedisServer> {
        let mut ports = self.sentinels.answering().map(master_port);
        let port = ports.next()??;
        let agreed = ports.all(|other| other == Some(port));
        self.servers.iter().find(|server| agreed && server.port() == port)
    }
}

/// The port of the master as this Sentinel knows it.
fn master_port(sentinel: &RedisServer) -> Option<u16> {
    let address: RedisResult<(String, u16)> =
        sentinel.probe().run(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(SERVICE));
    address.ok().map(|(_, port)| port)
}

/// Whether the Sentinel knows of every server and every Sentinel, and has nothing to do.
fn knows_all(sentinel: &RedisServer) -> bool {
    let master: RedisResult<HashMap<String, String>> = sentinel.probe().run(cmd("SENTINEL").arg("MASTER").arg(SERVICE));
    master.is_ok_and(|master| {
        master.get("flags").is_some_and(|flags| flags == "master")
            && master.get("num-slaves") == Some(&(SERVERS - 1).to_string())
            && master.get("num-other-sentinels") == Some(&(SENTINELS - 1).to_string())
    })
}

/// A Sentinel's configuration: what it watches, and as whom.
fn sentinel_setup(setup: &Setup, master: &RedisServer) -> Setup {
    let port = master.port().to_string();
    let mut lines = vec![
        vec!["monitor", SERVICE, "127.0.0.1", &port, "2"],
        vec!["down-after-milliseconds", SERVICE, DOWN_AFTER_MILLISECONDS],
        vec!["failover-timeout", SERVICE, "3000"],
        // Both replicas follow a new master at the same time.
        vec!["parallel-syncs", SERVICE, "2"],
    ];
    let of_servers = master.setup().harness_credentials();
    if let Some(Credentials { user, password }) = &of_servers {
        lines.extend(user.iter().map(|user| vec!["auth-user", SERVICE, user]));
        lines.push(vec!["auth-pass", SERVICE, password]);
    }
    let of_sentinels = setup.harness_credentials();
    if let Some(Credentials { user, password }) = &of_sentinels {
        lines.extend(user.iter().map(|user| vec!["sentinel-user", user]));
        lines.push(vec!["sentinel-pass", password]);
    }
    let setup = setup.clone().in_place(Place::SentinelFile);
    lines.iter().fold(setup, |setup, line| setup.with_arguments(&["--sentinel"]).with_arguments(line))
}

/// Has the Sentinel look around more often than every ten seconds; servers before 7.0 cannot, and are slower.
fn hurry(sentinel: &Probe) {
    let mut command = cmd("SENTINEL");
    command.arg("DEBUG").arg("INFO-PERIOD").arg(200).arg("PUBLISH-PERIOD").arg(200);
    // A lost PING is followed by another before the server is taken for dead. No lower: once the master is, a replica
    // is asked how it is once a second, and what is older than five of these periods does not count.
    command.arg("PING-PERIOD").arg(400);
    // A machine that is busy for two seconds looks like a clock that jumped: then it does nothing for so long.
    command.arg("TILT-PERIOD").arg(1000);
    let _ = sentinel.run::<()>(&command);
}
