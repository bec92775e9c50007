use std::sync::Arc;
use std::time::{Duration, Instant};

use super::NodeSet;

/// Which nodes may vote on who *acquires* a lock, and which count when it is *extended*.
///
/// A node that restarted empty has forgotten what it granted. If it voted at once, it could make a second majority
/// beside one that it was part of: A holds nodes 1 and 2, node 2 restarts, B gets 2 and 3. So a node that is younger
/// than `longest_ttl` abstains while an *old* one can be reached, which is one of 1.25 × `longest_ttl`: by the time at
/// which it votes, whatever it forgot has expired everywhere.
///
/// Why that is safe: two owners that are valid at once would both have been granted by some node `n`, the second while
/// the first one's key still had to be there. So `n` lost the key between the two grants, which are less than one TTL
/// apart, so it was younger than `longest_ttl` at the second and abstained. This needs the age to be that of the very
/// process that votes: it is read on the connection that carries the vote. A clock that runs fast is covered by the
/// drift that every validity leaves out.
///
/// In a cluster that was just created every node is young, and nobody could ever lock. So young nodes do vote when none
/// that can be reached is old. It follows what this rule does **not** protect from: a majority of the nodes that were
/// created or restarted within 1.25 × `longest_ttl` (and the second or two by which an age is misread) while no older node
/// can be reached, which includes a restart in a cluster's first minutes; and, because there is nobody else to ask, N = 1.
/// Nor does it see a node that forgot without restarting: `FLUSHALL`, or a failover to a replica that lagged behind.
///
/// The quarter between the age at which a node votes and the age at which it silences others is what keeps such a cluster
/// going when it comes of age. Its servers were not started at the same moment; were both ages one, the first to reach
/// it would silence all the others, and nobody could lock until a majority had reached it too. So the others have a quarter
/// of `longest_ttl` to follow. It costs no more than that the time without protection lasts a quarter longer. The
/// argument above holds as it stands, because it only asks that `n` abstained. If no two nodes restart within 1.25 ×
/// `longest_ttl` of each other, all but one are old at any moment; a majority of more than one node then has an
/// old one in it, which was reached, so the young one abstained.
///
/// # Extensions
///
/// An extension compares the owner, so a node that confirms one has not forgotten this owner's key. It may have forgotten
/// another's vote. A was granted the lock by node 3, which B's key had not reached, and waits for a second vote; node 3
/// restarts, and gets B's key: from B's renewal, which sets it again, or from B's own acquire, which was late. B extends its lock
/// on nodes 2 and 3, its key on node 1 expires, and A gets that: two owners after one restart. So a node that
/// restarted does not count in an extension either, but for a much shorter time: until every attempt that may have heard it
/// before is over. An attempt that takes longer than a [round may](longest_round) is not won. As above, a node silences younger
/// ones when it is a quarter older than that, and where there is none, young nodes count.
///
/// A release asks every node, however young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a node that is asked although it may not vote can make a second majority"]
pub struct Electorate {
    /// May vote.
    voters: NodeSet,
    /// Abstain until they are older.
    young: NodeSet,
    /// Cannot vote: they follow another server.
    replicas: NodeSet,
    /// The first two positions that are one and the same server.
    same_server: Option<(usize, usize)>,
    /// All positions that share their server with another one.
    shared: NodeSet,
    /// Could not be asked who they are.
    unknown: NodeSet,
}

/// Whose votes count in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voters {
    /// Those of all nodes: the node itself compares the owner.
    All,
    /// Those of the [`Electorate`]: a node that restarted may have forgotten to whom it granted the lock.
    Acquisition,
    /// Those of the [electorate of an extension](Electorate::of_extension): another attempt may have heard another server in the
    /// place of a node that restarted.
    Extension,
}

/// What is known about a node.
#[derive(Clone, Debug)]
pub enum NodeStatus {
    /// What it said about itself.
    Introduced(Arc<ServerInfo>),
    /// A connection is being made for the first time.
    Connecting,
    /// There is no connection.
    Unreachable,
}

/// What a node said about itself, on the connection that carries its votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// From this moment on it is older than the longest TTL. Not the moment of its birth, which a clock that began with
    /// this machine may be unable to name.
    grown_at: Instant,
    /// From this moment on it is so old that younger ones abstain.
    old_at: Instant,
    /// From this moment on no attempt is under way that heard another server in its place.
    heard_from: Instant,
    /// From this moment on younger ones do not count in an extension.
    heard_long_from: Instant,
    /// When it told how long it had been running, and how long that was.
    told: (Instant, Duration),
    /// Which server it is, the same at every address; one of its own for a server that does not tell.
    identity: Arc<str>,
    /// Whether it takes writes of its own.
    role: Role,
    /// Its clock, as the time since 1970, when it told how long it had been running; if it told.
    clock: Option<Duration>,
}

/// What a server is to others.
///
/// ```
/// # use redlock_runtime::{LockManager, Role};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let report = locks.check().await?;
/// let replicas: Vec<_> = report.nodes().iter().filter(|node| node.role == Some(Role::Replica)).collect();
/// assert!(replicas.is_empty(), "these take no writes, so they do not vote: {replicas:?}");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Master,
    /// It follows another server.
    Replica,
}

/// Why a node may or may not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// It may.
    Votes,
    /// It is not connected, so its age is not known.
    Unknown,
    /// It restarted not long ago, and an old node can be reached.
    Young,
    /// It is a replica.
    Replica,
    /// It is a server that is configured twice: one vote must not count twice.
    SameServer,
}

/// How much later than it says a server may have started: it subtracts whole seconds of two moments.
// Source: `uptime_in_seconds` in genRedisInfoString, https://github.com/redis/redis/blob/7.0/src/server.c
const UPTIME_ERROR: Duration = Duration::from_secs(1);

/// No attempt to acquire or to adopt a lock that takes longer than this is won, on nodes whose locks have at most this TTL: a
/// quarter of it, and no more than ten seconds. It is more than what all nodes together may take to answer, which is a fifth
/// of the TTL, unless connections are made first.
#[must_use]
pub fn longest_round(longest_ttl: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(10);

    (longest_ttl / 4).min(LONGEST)
}

/// The part of `longest_ttl` within which servers that were started together all come to vote; see [`Electorate`].
const HEAD_START: u32 = 4;

impl Voters {
    /// Which of the nodes may vote, in the order of the configuration; `None` for one that is not connected.
    pub fn electorate<'a>(
        self,
        now: Instant,
        nodes: impl IntoIterator<Item = Option<&'a ServerInfo>, IntoIter: Clone>,
    ) -> Electorate {
        match self {
            Self::All | Self::Acquisition => Electorate::of(now, nodes),
            Self::Extension => Electorate::of_extension(now, nodes),
        }
    }

    /// How long until a node votes although others are older; zero if it does.
    #[must_use]
    pub fn votes_in(self, info: &ServerInfo, now: Instant) -> Duration {
        match self {
            Self::All => Duration::ZERO,
            Self::Acquisition => info.grows_in(now),
            Self::Extension => info.counts_in(now),
        }
    }
}

impl NodeStatus {
    /// What it said about itself, if it did.
    #[must_use]
    pub fn server_info(&self) -> Option<&ServerInfo> {
        match self {
            Self::Introduced(info) => Some(info),
            Self::Connecting | Self::Unreachable => None,
        }
    }
}

impl ServerInfo {
    /// Notes what a server said about itself; `now` is after its answer came in, `uptime` in its whole seconds.
    #[must_use]
    pub fn new(now: Instant, uptime: Duration, longest_ttl: Duration, identity: Arc<str>, role: Role) -> Self {
        let votes_from = longest_ttl + UPTIME_ERROR;
        let reaches = |age: Duration| now + age.saturating_sub(uptime);
        let old_at = reaches(votes_from + longest_ttl / HEAD_START);
        let round = longest_round(longest_ttl);
        let heard_from = reaches(round + UPTIME_ERROR);
        let heard_long_from = reaches(round + UPTIME_ERROR + round / HEAD_START);
        let grown_at = reaches(votes_from);
        Self { grown_at, old_at, heard_from, heard_long_from, told: (now, uptime), identity, role, clock: None }
    }

    /// With what its clock said at the same moment, as the time since 1970.
    #[must_use]
    pub fn with_clock(self, clock: Option<Duration>) -> Self {
        Self { clock, ..self }
    }

    /// What its clock says now, as the time since 1970, if it told.
    #[must_use]
    pub fn clock(&self, now: Instant) -> Option<Duration> {
        let (told_at, _) = self.told;
        self.clock.map(|clock| clock.saturating_add(now.saturating_duration_since(told_at)))
    }

    /// How long it has been running, at least.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        let (told_at, uptime) = self.told;
        uptime.saturating_sub(UPTIME_ERROR).saturating_add(now.saturating_duration_since(told_at))
    }

    /// How long until the node is older than the longest TTL; zero if it is.
    #[must_use]
    pub fn grows_in(&self, now: Instant) -> Duration {
        self.grown_at.saturating_duration_since(now)
    }

    /// How long until it counts in an extension although others are older; zero if it does.
    #[must_use]
    pub fn counts_in(&self, now: Instant) -> Duration {
        self.heard_from.saturating_duration_since(now)
    }

    fn is_old(&self, now: Instant) -> bool {
        now >= self.old_at
    }

    fn is_heard_for_long(&self, now: Instant) -> bool {
        now >= self.heard_long_from
    }

    /// Which server it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it takes writes of its own.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

impl Electorate {
    /// Decides who votes on an acquisition, for all configured nodes in the order of the configuration; `None` for one that is not
    /// connected.
    pub fn of<'a>(now: Instant, nodes: impl IntoIterator<Item = Option<&'a ServerInfo>, IntoIter: Clone>) -> Self {
        Self::by_age(nodes, |server_info| !server_info.grows_in(now).is_zero(), |server_info| server_info.is_old(now))
    }

    /// Decides who counts in an extension, as [`Self::of`].
    pub fn of_extension<'a>(
        now: Instant,
        nodes: impl IntoIterator<Item = Option<&'a ServerInfo>, IntoIter: Clone>,
    ) -> Self {
        Self::by_age(
            nodes,
            |server_info| !server_info.counts_in(now).is_zero(),
            |server_info| server_info.is_heard_for_long(now),
        )
    }

    fn by_age<'a>(
        nodes: impl IntoIterator<Item = Option<&'a ServerInfo>, IntoIter: Clone>,
        is_young: impl Fn(&ServerInfo) -> bool,
        is_old: impl Fn(&ServerInfo) -> bool,
    ) -> Self {
        let nodes = nodes.into_iter();
        let connected = || nodes.clone().enumerate().filter_map(|(node, server_info)| Some((node, server_info?)));
        let among = |is_in: &dyn Fn(usize, &ServerInfo) -> bool| -> NodeSet {
            connected().filter(|(node, server_info)| is_in(*node, server_info)).map(|(node, _)| node).collect()
        };

        let count = nodes.clone().count();
        let all = NodeSet::first(count);
        let reachable = among(&|_, _| true);
        let not_grown = among(&|_, server_info| is_young(server_info));
        let is_anybody_old = !among(&|_, server_info| is_old(server_info)).is_empty();
        let young = if is_anybody_old && count > 1 { not_grown } else { NodeSet::default() };
        let replicas = among(&|_, server_info| server_info.role == Role::Replica);
        let twin = |node: usize, server_info: &ServerInfo| {
            connected()
                .find(|(other, others)| *other != node && others.identity == server_info.identity)
                .map(|(other, _)| other)
        };
        let shared = among(&|node, server_info| twin(node, server_info).is_some());
        let same_server = connected().find_map(|(node, server_info)| Some((node, twin(node, server_info)?)));
        let voters = reachable.without(young).without(replicas).without(shared);
        Self { voters, young, replicas, same_server, shared, unknown: all.without(reachable) }
    }

    /// The nodes that may vote.
    #[must_use]
    pub fn voters(&self) -> NodeSet {
        self.voters
    }

    /// The nodes that abstain because they restarted.
    #[must_use]
    pub fn young(&self) -> NodeSet {
        self.young
    }

    /// Two positions of the configuration that are one and the same server.
    #[must_use]
    pub fn same_server(&self) -> Option<(usize, usize)> {
        self.same_server
    }

    /// Why this node may or may not vote; what cannot pass by itself comes before what can.
    pub fn standing(&self, node: usize) -> Standing {
        if self.voters.contains(node) {
            Standing::Votes
        } else if self.shared.contains(node) {
            Standing::SameServer
        } else if self.replicas.contains(node) {
            Standing::Replica
        } else if self.young.contains(node) {
            Standing::Young
        } else {
            Standing::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_TTL: Duration = Duration::from_secs(300);

    /// Nodes with these ages in seconds; `None` is not connected.
    fn nodes(now: Instant, ages: &[Option<u64>]) -> Vec<Option<ServerInfo>> {
        let server_info = |(node, age): (usize, &Option<u64>)| {
            let uptime = Duration::from_secs((*age)?);
            Some(ServerInfo::new(now, uptime, LONGEST_TTL, node.to_string().into(), Role::Master))
        };
        ages.iter().enumerate().map(server_info).collect()
    }

    fn decide(now: Instant, nodes: &[Option<ServerInfo>]) -> Electorate {
        Electorate::of(now, nodes.iter().map(Option::as_ref))
    }

    fn check(ages: &[Option<u64>], expect: &[usize]) {
        let now = crate::platform::clock::now();
        let voters = decide(now, &nodes(now, ages)).voters();
        assert_eq!(voters.iter().collect::<Vec<_>>(), expect, "{ages:?}");
    }

    #[test]
    fn a_node_that_restarted_does_not_vote_while_an_older_one_can_be_reached() {
        check(&[Some(9999), Some(5), Some(9999)], &[0, 2]);
        check(&[Some(9999), Some(5), Some(5)], &[0]);
        check(&[Some(9999), Some(5), None], &[0]);
    }

    #[test]
    fn a_cluster_that_was_just_created_votes_at_once() {
        check(&[Some(0), Some(5), Some(2)], &[0, 1, 2]);
        check(&[Some(0), None, Some(2)], &[0, 2]);
    }

    #[test]
    fn a_cluster_whose_servers_were_not_started_at_once_votes_on_while_it_comes_of_age() {
        let now = crate::platform::clock::now();
        let nodes = nodes(now, &[Some(60), Some(30), Some(0)]);
        for seconds in 0..600 {
            let voters = decide(now + Duration::from_secs(seconds), &nodes).voters();
            assert_eq!(voters.len(), 3, "after {seconds} s");
        }
    }

    #[test]
    fn a_node_that_votes_is_a_while_later_so_old_that_young_ones_abstain() {
        check(&[Some(301), Some(5), Some(9)], &[0, 1, 2]);
        check(&[Some(375), Some(5), Some(9)], &[0, 1, 2]);
        check(&[Some(376), Some(5), Some(9)], &[0]);
        check(&[Some(376), Some(301), Some(9)], &[0, 1]);
    }

    #[test]
    fn a_node_counts_in_an_extension_as_soon_as_no_attempt_can_have_heard_another_in_its_place() {
        let now = crate::platform::clock::now();
        let check = |ages: &[Option<u64>], expect: &[usize]| {
            let nodes = nodes(now, ages);
            let voters = Electorate::of_extension(now, nodes.iter().map(Option::as_ref)).voters();
            assert_eq!(voters.iter().collect::<Vec<_>>(), expect, "{ages:?}");
        };
        check(&[Some(9999), Some(10), Some(9999)], &[0, 2]);
        check(&[Some(9999), Some(11), Some(9999)], &[0, 1, 2]);
        check(&[Some(9999), Some(5), Some(5)], &[0]);
        // One that was created a little earlier than the others silences none.
        check(&[Some(13), Some(9), Some(0)], &[0, 1, 2]);
        check(&[Some(14), Some(11), Some(10)], &[0, 1]);
        check(&[Some(0), None, Some(2)], &[0, 2]);
    }

    #[test]
    fn a_round_is_longer_than_what_nodes_may_take_to_answer() {
        for ttl in [10, 1_000, 30_000].map(Duration::from_millis) {
            assert!(longest_round(ttl) > crate::protocol::reply_timeout(Duration::MAX, ttl), "{ttl:?}");
        }
        assert_eq!(longest_round(Duration::from_secs(300)), Duration::from_secs(10));
    }

    #[test]
    fn a_single_node_always_votes() {
        check(&[Some(0)], &[0]);
        check(&[Some(9999)], &[0]);
        check(&[None], &[]);
    }

    #[test]
    fn a_node_grows_old_while_it_is_connected() {
        let now = crate::platform::clock::now();
        let nodes = nodes(now, &[Some(9999), Some(100), Some(9999)]);
        let at = |seconds| decide(now + Duration::from_secs(seconds), &nodes).standing(1);
        assert_eq!(at(0), Standing::Young);
        assert_eq!(at(199), Standing::Young);
        assert_eq!(at(202), Standing::Votes);
    }

    #[test]
    fn whole_seconds_make_no_node_older_than_it_is() {
        // Started at 0.9 s and asked at 300.1 s, it says 300 although it is 299.2 s old.
        check(&[Some(9999), Some(300), Some(9999)], &[0, 2]);
        check(&[Some(9999), Some(301), Some(9999)], &[0, 1, 2]);
    }

    #[test]
    fn a_server_that_stands_at_two_positions_votes_at_neither() {
        let now = crate::platform::clock::now();
        let mut nodes = nodes(now, &[Some(9999), Some(9999), Some(9999)]);
        nodes[2] = nodes[0].clone();
        let electorate = decide(now, &nodes);
        assert_eq!(electorate.same_server(), Some((0, 2)));
        assert_eq!(electorate.voters().iter().collect::<Vec<_>>(), [1]);
        assert_eq!(electorate.standing(0), Standing::SameServer);
    }

    #[test]
    fn a_replica_does_not_vote() {
        let now = crate::platform::clock::now();
        let mut nodes = nodes(now, &[Some(9999), Some(9999), None]);
        nodes[1] = nodes[1].take().map(|server_info| ServerInfo { role: Role::Replica, ..server_info });
        let electorate = decide(now, &nodes);
        assert_eq!(electorate.standing(1), Standing::Replica);
        assert_eq!(electorate.standing(2), Standing::Unknown);
        assert_eq!(electorate.standing(0), Standing::Votes);
    }

    #[test]
    fn a_server_older_than_this_machine_is_no_trouble() {
        let now = crate::platform::clock::now();
        let server_info = ServerInfo::new(now, Duration::MAX, LONGEST_TTL, "a".into(), Role::Master);
        assert!(server_info.grows_in(now).is_zero());
    }
}
