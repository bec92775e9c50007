mod checked;
#[cfg(feature = "serde")]
mod written;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "testing")]
use std::time::SystemTime;

use redis::Client;

use super::nodes::NodeSettings;
use crate::IntoDuration;
use crate::lock::shared::TimeOfDay;
use crate::node::Node;
use crate::node::redis::link::replicas::Replicas;
#[cfg(feature = "tls")]
use crate::node::redis::tls::TlsSettings;
use crate::node::redis::url;
use crate::node::redis::url::{Credentials, UrlSettings};
use crate::observe::{MOST_LABELS, Observer};
use crate::protocol::{InDoubt, MARK_RETENTION};
use crate::values::keys::Keys;
use crate::values::on_shutdown::OnShutdown;
use crate::waiting::queue::SLOW_POLL;

/// The settings of a [`LockManager`](crate::LockManager).
///
/// Begin with [`LockManager::builder`](crate::LockManager::builder), with what the environment says
/// ([`LockManager::builder_from_env`](crate::LockManager::builder_from_env)), or, with the feature `serde`, with what your
/// program's configuration says, in whatever format: each setting has the name of its method, and one that is none is
/// refused. Lengths of time are numbers of seconds or text such as `"250ms"` and `"1h 30m"`; `nodes` is a list of URLs, or one
/// text with commas; `max_clock_skew` may be `"none"`; certificates are text in PEM. Clients, nodes of your own and an
/// observer are added by hand.
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::LockManager;
///
/// let locks = LockManager::builder()
///     .nodes(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"])
///     .credentials("app", "…")
///     .ttl(Duration::from_secs(20))
///     .node_timeout(Duration::from_millis(100))
///     .owner_label("worker 3")
///     .build()?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[cfg_attr(
    feature = "serde",
    doc = r##"
```
use redlock_runtime::LockManagerBuilder;

let settings = r#"{
    "nodes": ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"],
    "credentials": { "username": "app", "password": "…" },
    "tls_client_certificate": { "certificate": "-----BEGIN …", "key": "-----BEGIN …" },
    "ttl": "20s",
    "node_timeout": 0.25,
    "wait_replicas": { "replicas": 1, "within": "100ms" }
}"#;
let builder: LockManagerBuilder = serde_json::from_str(settings).unwrap();
let locks = builder.owner_label("worker 3").build()?;
# Ok::<(), redlock_runtime::Error>(())
```
"##
)]
#[derive(Clone)]
#[must_use = "a builder does nothing until `build()`"]
pub struct LockManagerBuilder {
    /// Who votes.
    nodes: NodeSettings,
    /// The TTL of locks that set none.
    ttl: Duration,
    /// How long one node's reply may take.
    node_timeout: Duration,
    /// How long it may take to connect.
    connect_timeout: Duration,
    /// No lock has a longer TTL, and a server that is younger does not vote.
    longest_ttl: Duration,
    /// Whether acquisitions carry fencing tokens.
    fencing: bool,
    /// The greatest difference between the clocks of those who acquire.
    max_clock_skew: Option<Duration>,
    /// How names become keys.
    keys: Keys,
    /// What the owners of locks are called that say nothing else.
    owner_label: Option<Arc<str>>,
    /// How long after its last attempt a waiter asks again although no node reported a change.
    slow_poll: Duration,
    /// Whether a lease passes from task to task within this process.
    local_hand_over: bool,
    /// What a shutdown does to those who hold a lock.
    on_shutdown: OnShutdown,
    /// How long marks of completed fires are kept that are not written again.
    marks_retention: Duration,
    /// What to do with a fire of which nobody can know whether it was completed.
    in_doubt: InDoubt,
    /// What a test says that the machine's clock shows.
    time_of_day: Option<TimeOfDay>,
    /// Who is told what happens.
    observer: Option<Arc<dyn Observer>>,
    /// How many labels of locks are told apart.
    most_labels: usize,
}

impl Default for LockManagerBuilder {
    fn default() -> Self {
        Self {
            nodes: NodeSettings::default(),
            ttl: Duration::from_secs(30),
            node_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            longest_ttl: Duration::from_secs(300),
            fencing: true,
            max_clock_skew: Some(Duration::from_secs(60)),
            keys: Keys::default(),
            owner_label: None,
            slow_poll: SLOW_POLL,
            local_hand_over: true,
            on_shutdown: OnShutdown::default(),
            marks_retention: MARK_RETENTION,
            in_doubt: InDoubt::Refuse,
            time_of_day: None,
            observer: None,
            most_labels: MOST_LABELS,
        }
    }
}

impl LockManagerBuilder {
    /// The nodes, as URLs. Each must be a master of its own, or stand for one. No default.
    ///
    /// `redis://[user:password@]host[:6379][/database]`, encrypted `rediss://…`, by a socket `redis+unix:///path`, a service of Sentinels
    /// `redis+sentinel://host1,host2/service`, a whole Redis Cluster `redis+cluster://host1,host2`, and `memory://` inside this process:
    /// [all of them, with their parameters](crate::pages::nodes#urls). In user names and passwords the characters `@ : / ? # %` and `,` are written
    /// with %-escapes. A URL that says what nobody heeds is an error of [`build`](Self::build).
    ///
    /// With `memory://` nodes alone a lock lives by the clock of the tokio runtime that acquires it, also where a test has paused
    /// it (`start_paused = true`): renewal, expiry, waiting, `timeout` and `min_hold` happen in its time, and a body may sleep for
    /// hours of it. Pause it before the lock is acquired. A blocking call there begins with that time and then waits by the machine's,
    /// because the runtime, and its time, stand still meanwhile. Each runtime reads its own clock, so runtimes whose clocks differ
    /// need nodes of their own: `memory://` without a name, or a name for each test. With real nodes a paused clock is of no use:
    /// their keys live by theirs, and a lock is lost when the test's clock says so.
    ///
    /// A failover, of a Sentinel's service or inside a Cluster, can forget a lock that was granted just before: replicas
    /// follow their master a moment later. See [`wait_replicas`](Self::wait_replicas).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder()
    ///     .nodes([
    ///         "redis://10.0.0.1",
    ///         "redis+sentinel://10.0.0.2,10.0.0.3,10.0.0.4/mymaster", // the master of a service
    ///         "redis+cluster://10.0.0.5,10.0.0.6",                    // a whole cluster
    ///     ])
    ///     .build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn nodes<I>(self, nodes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let urls = nodes.into_iter().map(Into::into).collect();
        Self { nodes: NodeSettings { urls, urls_are_from: None, ..self.nodes }, ..self }
    }

    /// The nodes, as URLs in one text with commas between them, as `REDLOCK_NODES` has them: text without a scheme after a
    /// comma is another host of the Sentinel or Cluster URL before it. For what a program is given as one argument.
    ///
    /// ```
    /// use redlock_runtime::LockManager;
    ///
    /// let locks = LockManager::builder().nodes_in_text("redis://10.0.0.1, redis+sentinel://10.0.0.2,10.0.0.3/service").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn nodes_in_text(self, urls: &str) -> Self {
        self.nodes(url::separate(urls))
    }

    /// The nodes, as URLs that stand somewhere people have to be told of.
    pub(crate) fn nodes_from(self, place: &'static str, urls: Vec<String>) -> Self {
        Self { nodes: NodeSettings { urls, urls_are_from: Some(place), ..self.nodes }, ..self }
    }

    /// Nodes that are reached as these clients would reach them, after those that [`nodes`](Self::nodes) names. Their
    /// address, credentials and certificates count; connections are made and kept by the lock manager. Each must lead
    /// to one server, which is a master of its own. Version 1 of the crate `redis`, which is [`redlock_runtime::redis`](crate::redis).
    ///
    /// A URL in [`nodes`](Self::nodes) promises more, because a client tells only a part of what it was made with:
    ///
    /// - That crate passes over the parameters `db` and `protocol` of a `redis://` URL: `Client::open("redis://host?db=1")` leads
    ///   to database 0. Write the path, `redis://host/1`. The protocol is the newest that the server knows.
    /// - A client with TLS makes its connections itself. How much one reply may hold is
    ///   [not bounded](crate::pages::nodes) there, and the host is looked up on a thread of tokio. Prefer `rediss://` with
    ///   `tls_roots` and `tls_client_certificate`.
    ///
    /// A connection that you have already, such as a `redis::aio::ConnectionManager` or one from a pool, is a
    /// [`node`](Self::node) of yours; how is shown [there](Node#over-a-connection-that-you-have).
    ///
    /// ```
    /// use redlock_runtime::LockManager;
    ///
    /// let client = redlock_runtime::redis::Client::open("redis://10.0.0.1")?;
    /// let locks = LockManager::builder().clients([client]).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clients(self, clients: impl IntoIterator<Item = Client>) -> Self {
        Self { nodes: NodeSettings { clients: clients.into_iter().collect(), ..self.nodes }, ..self }
    }

    /// Who signs in to the nodes whose URL has no credentials: an ACL user (empty: the default user), and its password.
    ///
    /// The rules that such a user needs, for what, are in [a page](crate::pages::acl);
    /// [`check`](crate::LockManager::check) says which of them a user lacks.
    ///
    /// ```
    /// use redlock_runtime::LockManager;
    ///
    /// let password = "from a file, say";
    /// let locks = LockManager::builder().nodes(["redis://10.0.0.1"]).credentials("locks", password).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn credentials(self, username: impl Into<String>, password: impl Into<String>) -> Self {
        let credentials = Some(Credentials { username: username.into(), password: password.into() });
        self.with_urls(|urls| UrlSettings { credentials, ..urls })
    }

    /// Who signs in to the Sentinels whose URL has no `sentinel_username` and `sentinel_password`.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["redis+sentinel://10.0.0.1,10.0.0.2/mymaster"]).sentinel_credentials("locks", "secret").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn sentinel_credentials(self, username: impl Into<String>, password: impl Into<String>) -> Self {
        let sentinel_credentials = Some(Credentials { username: username.into(), password: password.into() });
        self.with_urls(|urls| UrlSettings { sentinel_credentials, ..urls })
    }

    /// Certificates, in PEM, of the authorities that are trusted to name the servers of `rediss://` URLs, instead of those
    /// that the operating system trusts.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let authority = std::fs::read("doc/tls/ca.pem")?;
    /// let locks = LockManager::builder().nodes(["rediss://10.0.0.1"]).tls_roots(authority).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls_roots(self, pem: impl Into<Vec<u8>>) -> Self {
        self.with_urls(|urls| UrlSettings { tls: TlsSettings { roots: Some(pem.into()), ..urls.tls }, ..urls })
    }

    /// A certificate and its private key, in PEM, for servers of `rediss://` URLs that ask for one.
    ///
    /// ```
    /// use std::{fs, path::Path};
    ///
    /// # use redlock_runtime::LockManager;
    /// fn connect(secrets: &Path) -> Result<LockManager, Box<dyn std::error::Error>> {
    ///     let (certificate, key) = (fs::read(secrets.join("client.pem"))?, fs::read(secrets.join("client-key.pem"))?);
    ///     let builder = LockManager::builder().nodes(["rediss://10.0.0.1"]);
    ///     Ok(builder.tls_roots(fs::read(secrets.join("ca.pem"))?).tls_client_certificate(certificate, key).build()?)
    /// }
    /// assert!(connect(Path::new("/run/secrets/none")).is_err());
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls_client_certificate(self, certificate_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        let client = Some((certificate_pem.into(), key_pem.into()));
        self.with_urls(|urls| UrlSettings { tls: TlsSettings { client, ..urls.tls }, ..urls })
    }

    /// Counts the vote of a node only once this many of its replicas have it, and as no vote if that takes longer than
    /// `within`, which has to be less than [`node_timeout`](Self::node_timeout). It holds for granting and for renewing:
    /// while a node has fewer replicas that keep up, locks are neither acquired nor kept there. And for releasing: a release
    /// that too few replicas have is sent again in the background, because a replica that takes over would keep the lock
    /// for its TTL. Default: no replica is waited for.
    ///
    /// It takes servers that know `WAIT` and tell their `run_id` in `INFO`; others have no vote then, and the error says why.
    ///
    /// For nodes that fail over to a replica, of Sentinels or in a Cluster. What one or more replicas have can be lost only
    /// if one that does *not* have it is promoted; with as many as there are replicas, a failover forgets no lock
    /// that was granted while all of them were there. It costs a round trip between the master and its replicas
    /// for every acquisition. Fencing tokens need it as well to grow across a failover, and make harmless what it lets
    /// through.
    ///
    /// ```
    /// use std::time::Duration;
    /// use redlock_runtime::LockManager;
    ///
    /// let locks = LockManager::builder()
    ///     .nodes(["redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/locks"])
    ///     .wait_replicas(1, Duration::from_millis(100))
    ///     .build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn wait_replicas(self, replicas: usize, within: Duration) -> Self {
        let replicas = Some(Replicas { needed: replicas, within });
        Self { nodes: NodeSettings { replicas, ..self.nodes }, ..self }
    }

    /// One more node, of your own making: see [`Node`]. May be called several times; these come after those of
    /// [`nodes`](Self::nodes) and [`clients`](Self::clients).
    ///
    /// ```
    /// use redlock_runtime::LockManager;
    /// use redlock_runtime::node::Node;
    /// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, NodeError, Outcome, Release, Vote};
    ///
    /// struct Store;
    ///
    /// impl Node for Store {
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// }
    ///
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b"]).node(Store).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn node(self, node: impl Node) -> Self {
        let mut nodes = self.nodes;
        nodes.foreign.push(Arc::new(node));
        Self { nodes, ..self }
    }

    /// How long a key outlives a holder that crashed, from 10 ms to [`longest_ttl`](Self::longest_ttl) (5 minutes unless set),
    /// for locks that set no TTL of their own. Default: 30 s.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).ttl(Duration::from_secs(10)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn ttl(self, ttl: impl IntoDuration) -> Self {
        Self { ttl: ttl.into_duration(), ..self }
    }

    /// How long one node's answer may take before it counts as no vote. A fifth of a lock's TTL where that is less.
    /// Default: 250 ms.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).node_timeout(Duration::from_millis(50)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn node_timeout(self, node_timeout: impl IntoDuration) -> Self {
        Self { node_timeout: node_timeout.into_duration(), ..self }
    }

    /// How long it may take to connect to a node, authentication included. Default: 1 s.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).connect_timeout(Duration::from_millis(300)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn connect_timeout(self, connect_timeout: impl IntoDuration) -> Self {
        Self { connect_timeout: connect_timeout.into_duration(), ..self }
    }

    /// The longest TTL that any lock on these nodes has, whoever takes it; a longer [`ttl`](Self::ttl) is refused, by
    /// [`build`](Self::build) or when the lock is acquired, also on a single node: what is developed on one runs on three. A node that restarted, and so may have forgotten
    /// what it granted, does not vote before it is older than this while a node can be reached that is a quarter older
    /// still. Wait for 1.25 times as long between the restarts of two nodes. Default: 5 minutes.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).ttl(Duration::from_secs(60)).longest_ttl(Duration::from_secs(600)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn longest_ttl(self, longest_ttl: impl IntoDuration) -> Self {
        Self { longest_ttl: longest_ttl.into_duration(), ..self }
    }

    /// Whether every acquisition carries a [fencing token](crate::LockGuard::fencing_token). Default: yes.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).fencing(false).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn fencing(self, fencing: bool) -> Self {
        Self { fencing, ..self }
    }

    /// The greatest difference between the clocks of any two machines that use these locks. It matters for fencing tokens, where
    /// too few nodes remember the earlier ones: `None` trusts no clock, and such a lock is then not acquired at all. And it matters
    /// for [`once`](crate::LockRequest::once): a fire may be asked for so long before it is due; a node that has no mark
    /// knows that a fire was not completed if it has run since twice that before it was due, and with `None` only if it has run for
    /// [`marks_retention`](Self::marks_retention). Default: 1 minute.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).max_clock_skew(Duration::from_secs(5)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn max_clock_skew(self, max_clock_skew: impl Into<Option<Duration>>) -> Self {
        Self { max_clock_skew: max_clock_skew.into(), ..self }
    }

    /// How long the nodes keep the mark of a fire that was completed with [`once`](crate::LockRequest::once), from 7 days to a
    /// year; at least for the longest period of a fire. The same in all processes. One node may restart empty, or with an older
    /// state, in that time, and no fire that was completed runs again. A moment or a number that is asked for again after that time may run again. Default: 7 days.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).marks_retention(Duration::from_secs(32 * 24 * 3600)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn marks_retention(self, marks_retention: impl IntoDuration) -> Self {
        Self { marks_retention: marks_retention.into_duration(), ..self }
    }

    /// What becomes of a fire of which nobody can know whether it was completed, because too many nodes do not answer, or
    /// restarted empty. Default: [`InDoubt::Refuse`], an [`Error::FireInDoubt`](crate::Error::FireInDoubt) that names these nodes.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, InDoubt};
    /// let locks = LockManager::builder().nodes(["memory://"]).in_doubt(InDoubt::Run).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn in_doubt(self, in_doubt: InDoubt) -> Self {
        Self { in_doubt, ..self }
    }

    /// What [`LockManager::inspect`](crate::LockManager::inspect) shows as the owner of locks that are acquired here, up to
    /// 512 bytes without control characters; for people, no decision depends on it. It is written in the background,
    /// once the lock was held for 100 ms, or is detached: shorter ones cost nothing. Empty: none. Default: host name, process id and,
    /// inside a tokio task, that task's id, such as `worker-3 pid 4711 task 29`.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).owner_label("billing, eu-1").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn owner_label(self, owner_label: impl Into<String>) -> Self {
        Self { owner_label: Some(owner_label.into().into()), ..self }
    }

    /// Who is told what happens to the locks of this manager; see [`Observer`]. A later one takes the place of an earlier one. Default:
    /// nobody, but with the feature `metrics` the recorder that the program installs.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::observe::{Event, Observer};
    ///
    /// struct Printed;
    ///
    /// impl Observer for Printed {
    ///     fn event(&self, event: &Event<'_>) {
    ///         println!("{event:?}");
    ///     }
    /// }
    ///
    /// let locks = LockManager::builder().nodes(["memory://"]).observer(Printed).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn observer(self, observer: impl Observer) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// How many labels of locks are told apart in metrics and by [observers](Self::observer): all others are `overflow`, so that a
    /// [label](crate::LockRequest::label) that has an id in it by mistake fills no time series database. Default: 200.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).most_labels(1000).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn most_labels(self, most_labels: usize) -> Self {
        Self { most_labels, ..self }
    }

    /// What the clock of this machine shows, for the fires of [`once`](crate::LockRequest::once): for a test of machines whose clocks
    /// differ, and of a time of day that is paused together with tokio's clock. Default: the machine's.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use redlock_runtime::LockManager;
    /// let ahead = || SystemTime::now() + Duration::from_secs(30);
    /// let locks = LockManager::builder().nodes(["memory://"]).time_of_day(ahead).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    #[cfg(feature = "testing")]
    pub fn time_of_day(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { time_of_day: Some(Arc::new(clock)), ..self }
    }

    /// How long after its last attempt a waiter asks again although no node reported a change, and up to a half longer.
    /// Default: 1 s. A test that makes it long sees that a waiter was woken, however slow the machine is.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// let locks = LockManager::builder().nodes(["memory://"]).slow_poll(Duration::from_secs(60)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    #[cfg(feature = "testing")]
    pub fn slow_poll(self, slow_poll: impl IntoDuration) -> Self {
        Self { slow_poll: slow_poll.into_duration(), ..self }
    }

    /// Whether a lock passes from task to task within this process without a word to the nodes, if one waits when another lets go; so
    /// that a hand-over takes as long as it takes to wake a task. Default: `true`.
    ///
    /// Each holder has a guard and a [fencing token](crate::LockGuard::fencing_token) of its own, as if it had acquired the lock from
    /// the nodes. The lock is released to others after 24 turns or a second; after 12 turns or 50 ms if another process is known to
    /// wait; and at once by a holder whose [label](Self::owner_label) is written beside it, after a tenth of a second. Locks
    /// that set `min_hold` or `renew(false)`, those of a fire, permits, locks that readers share and locks of several names
    /// never pass. With `false` each acquisition asks the nodes.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).local_hand_over(false).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn local_hand_over(self, local_hand_over: bool) -> Self {
        Self { local_hand_over, ..self }
    }

    /// What stands before a lock's name in its key. Default: `redlock:ConfigurableLock.`, which configurable-redlock (Python)
    /// uses, so that both exclude each other.
    ///
    /// With an empty prefix the name is the key, and every text of the database looks like a lock: [`list`](crate::LockManager::list) names them
    /// all, and [`reset_all`](crate::LockManager::reset_all) is refused. Give the locks a database of their own then.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).lock_prefix("shop:lock:").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn lock_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { lock_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    /// What stands before the name in the key of a waiting counter. Default: `Waiting.ConfigurableLock.`, which
    /// configurable-redlock uses, so that both fill the same statistics.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).waiting_prefix("shop:waiting:").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn waiting_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { waiting_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    /// The key of the list of all waiting counters. Default: `ConfigurableLockKeys`, as in configurable-redlock.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).waiting_list("shop:waiting").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn waiting_list(self, key: impl Into<String>) -> Self {
        Self { keys: Keys { waiting_list: key.into().into(), ..self.keys }, ..self }
    }

    /// What stands before a waiting counter's key in the key that says that the list has it. Default: `Inserted.`, as in
    /// configurable-redlock.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://"]).inserted_prefix("shop:listed:").build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn inserted_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { marker_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    fn with_urls(self, change: impl FnOnce(UrlSettings) -> UrlSettings) -> Self {
        Self { nodes: NodeSettings { all_urls: change(self.nodes.all_urls), ..self.nodes }, ..self }
    }

    /// Whether a [shutdown](crate::LockManager::shutdown_within) lets async bodies finish within its time, or cancels them at
    /// once. Default: [`OnShutdown::Drain`].
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, OnShutdown};
    /// let locks = LockManager::builder().nodes(["memory://"]).on_shutdown(OnShutdown::Cancel).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn on_shutdown(self, on_shutdown: OnShutdown) -> Self {
        Self { on_shutdown, ..self }
    }
}

impl fmt::Debug for LockManagerBuilder {
    /// Without the URLs: they are read, and told apart from passwords, in `build()`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManagerBuilder")
            .field("nodes", &self.nodes.count())
            .field("ttl", &self.ttl)
            .field("node_timeout", &self.node_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
