//! What is on a server, past the code under test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use redis::{Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo, RedisResult, cmd};

use crate::setup::Credentials;

/// A server that does not answer a probe within this time is hung, as far as a test is concerned.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A plain synchronous client that looks at one server directly.
///
/// Every call opens a connection of its own, so a server that was restarted in between makes no difference.
/// Except for [`is_up`](Self::is_up) and [`run`](Self::run), every call panics when the server does not answer
/// within two seconds; the message names the server.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Where the server listens, on loopback.
    port: u16,
    /// What to authenticate with, if the server asks for it.
    credentials: Option<Credentials>,
    /// The server's socket, to be used instead of the port.
    socket: Option<PathBuf>,
}

/// How long a key still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// There is no such key.
    NoKey,
    /// The key stays until somebody deletes it.
    Never,
    /// The key expires this much later.
    After(Duration),
}

impl Expiry {
    /// The time left, for a key that exists and expires.
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Self::After(remaining) => Some(remaining),
            Self::NoKey | Self::Never => None,
        }
    }
}

/// How often a server has run each command, the probes' own included.
///
/// Commands that a script runs count too, beside the script's EVAL or EVALSHA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts(BTreeMap<String, u64>);

impl CommandCounts {
    /// What a server says in the section "commandstats" of INFO.
    #[must_use]
    pub fn parse(section: &str) -> Self {
        let counts = parse_info(section).into_iter().filter_map(|(name, value)| {
            // cmdstat_set:calls=3,usec=…
            let name = name.strip_prefix("cmdstat_")?;
            let calls = value.split(',').find_map(|part| part.strip_prefix("calls="))?;
            Some((name.to_owned(), calls.parse().ok()?))
        });
        Self(counts.collect())
    }

    /// How often the command ran; the name in lower case, a subcommand as in `config|set`.
    #[must_use]
    pub fn of(&self, command: &str) -> u64 {
        self.0.get(command).copied().unwrap_or(0)
    }

    /// What was added since `earlier`, without the commands that did not run since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().map(|(name, count)| (name.clone(), count.saturating_sub(earlier.of(name))));
        Self(grown.filter(|(_, count)| *count > 0).collect())
    }

    /// All commands that ran, with their counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

impl Probe {
    /// A probe for the server that listens on this port of 127.0.0.1.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, credentials: None, socket: None }
    }

    /// Logs in as this user first.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Goes through this socket of the server.
    #[must_use]
    pub fn through_socket(self, socket: PathBuf) -> Self {
        Self { socket: Some(socket), ..self }
    }

    /// Runs any command.
    ///
    /// # Errors
    ///
    /// What the server answers, or that it does not within two seconds.
    pub fn run<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        // No CLIENT SETINFO: servers before 7.2 refuse it, and counted commands should be the test's.
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(Credentials { user, password }) = &self.credentials {
            settings = settings.set_password(password);
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
        }
        let address = match &self.socket {
            Some(socket) => ConnectionAddr::Unix(socket.clone()),
            None => ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port),
        };
        let client = Client::open(address.into_connection_info()?.set_redis_settings(settings))?;
        let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        command.query(&mut connection)
    }

    /// Whether the server answers a PING with a PONG.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.run::<String>(&cmd("PING")).is_ok_and(|answer| answer == "PONG")
    }

    /// The value of a string key.
    #[track_caller]
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.ask(cmd("GET").arg(key))
    }

    /// Sets a key that never expires.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) {
        self.order(cmd("SET").arg(key).arg(value));
    }

    /// Sets a key that expires after `ttl`.
    #[track_caller]
    pub fn set_for(&self, key: &str, value: &str, ttl: Duration) {
        self.order(cmd("SET").arg(key).arg(value).arg("PX").arg(milliseconds(ttl)));
    }

    /// Deletes a key; whether there was one.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn del(&self, key: &str) -> bool {
        self.ask(cmd("DEL").arg(key))
    }

    /// All entries of a list.
    #[track_caller]
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        self.ask(cmd("LRANGE").arg(key).arg(0).arg(-1))
    }

    /// Adds an entry at the end of a list.
    #[track_caller]
    pub fn append(&self, key: &str, entry: &str) {
        self.ask::<u64>(cmd("RPUSH").arg(key).arg(entry));
    }

    /// Whether there is such a key, of any type.
    #[track_caller]
    #[must_use]
    pub fn exists(&self, key: &str) -> bool {
        self.ask(cmd("EXISTS").arg(key))
    }

    /// How long the key still lives.
    #[track_caller]
    #[must_use]
    pub fn pttl(&self, key: &str) -> Expiry {
        match self.ask::<i64>(cmd("PTTL").arg(key)) {
            -2 => Expiry::NoKey,
            -1 => Expiry::Never,
            left => Expiry::After(Duration::from_millis(left.unsigned_abs())),
        }
    }

    /// Has the key expire after `ttl`; whether there is such a key.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn pexpire(&self, key: &str, ttl: Duration) -> bool {
        self.ask(cmd("PEXPIRE").arg(key).arg(milliseconds(ttl)))
    }

    /// How many keys there are, those that expired but were not yet removed included.
    #[track_caller]
    #[must_use]
    pub fn dbsize(&self) -> usize {
        self.ask(&cmd("DBSIZE"))
    }

    /// All keys, sorted.
    #[track_caller]
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.keys_like("*")
    }

    /// The keys that match a pattern such as `redlock:*`, sorted.
    #[track_caller]
    #[must_use]
    pub fn keys_like(&self, pattern: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor = 0;
        loop {
            let (next, mut page): (u64, Vec<String>) =
                self.ask(cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000));
            found.append(&mut page);
            if next == 0 {
                break;
            }
            cursor = next;
        }
        // SCAN may give a key twice.
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes all keys of all databases.
    #[track_caller]
    pub fn flush_all(&self) {
        self.order(&cmd("FLUSHALL"));
    }

    /// Makes the server forget every script, as a restart would.
    #[track_caller]
    pub fn script_flush(&self) {
        self.order(cmd("SCRIPT").arg("FLUSH"));
    }

    /// Changes a setting, such as `maxmemory` to `1`.
    #[track_caller]
    pub fn config_set(&self, setting: &str, value: &str) {
        self.order(cmd("CONFIG").arg("SET").arg(setting).arg(value));
    }

    /// Makes the server a replica of the one on that port: it answers writes with READONLY from now on.
    #[track_caller]
    pub fn replica_of(&self, port: u16) {
        self.order(cmd("REPLICAOF").arg("127.0.0.1").arg(port));
    }

    /// Makes the server a master again.
    #[track_caller]
    pub fn replica_of_no_one(&self) {
        self.order(cmd("REPLICAOF").arg("NO").arg("ONE"));
    }

    /// Publishes a message; how many subscribers of this server got it.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn publish(&self, channel: &str, message: &str) -> usize {
        self.ask(cmd("PUBLISH").arg(channel).arg(message))
    }

    /// Every connection that the server has, a line each, the probe's own included.
    #[track_caller]
    #[must_use]
    pub fn client_list(&self) -> Vec<String> {
        self.ask::<String>(cmd("CLIENT").arg("LIST")).lines().map(str::to_owned).collect()
    }

    /// Has the server close every connection but the probe's: ordinary ones and subscribers.
    #[track_caller]
    pub fn client_kill_all(&self) {
        for kind in ["normal", "pubsub"] {
            self.ask::<u64>(cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes"));
        }
    }

    /// How often each command ran since the server started; compare two with [`CommandCounts::since`].
    #[track_caller]
    #[must_use]
    pub fn command_counts(&self) -> CommandCounts {
        CommandCounts::parse(&self.ask::<String>(cmd("INFO").arg("commandstats")))
    }

    /// One section of INFO, as it names its fields.
    #[track_caller]
    #[must_use]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        parse_info(&self.ask::<String>(cmd("INFO").arg(section)))
    }

    /// The process id that the server says it has; `None` if it says nothing.
    pub(crate) fn process_id(&self) -> RedisResult<Option<u32>> {
        let info = parse_info(&self.run::<String>(cmd("INFO").arg("server"))?);
        Ok(info.get("process_id").and_then(|id| id.parse().ok()))
    }

    /// Has the server do what it answers with OK.
    #[track_caller]
    fn order(&self, command: &Cmd) {
        self.ask::<()>(command);
    }

    #[track_caller]
    fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.run(command)
            .unwrap_or_else(|error| panic!("the server on port {} did not do {}: {error}", self.port, name_of(command)))
    }
}

/// The command without its arguments, which may be long or secret.
fn name_of(command: &Cmd) -> String {
    command
        .args_iter()
        .find_map(|argument| match argument {
            redis::Arg::Simple(name) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The fields of an answer whose lines are such as `role:master`.
pub(crate) fn parse_info(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Rounded up: a time that a test names is never shortened to nothing.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).expect("a test's TTL fits")
}
