//! A database of PostgreSQL as a node: every request is one call of a function in `functions.sql`.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redlock_runtime::node::{
    Acquire, BoxFuture, Changes, Commit, Extend, Held, Node, NodeError, Outcome, Release, Vote,
};
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Row};

/// What sets a database up; it may be run again.
pub(crate) const SETUP: &str = include_str!("functions.sql");

/// One database. Connects when it is asked first, and again after a connection has ended.
pub(crate) struct PostgresNode {
    label: String,
    config: Config,
    client: Mutex<Option<Arc<Client>>>,
    changes: OnceLock<Changes>,
}

impl PostgresNode {
    /// The database of this configuration; the label is what errors call it.
    pub(crate) fn new(label: impl Into<String>, config: Config) -> Self {
        Self { label: label.into(), config, client: Mutex::default(), changes: OnceLock::new() }
    }

    /// The connection, on which requests are carried out in the order in which they were sent.
    async fn client(&self) -> Result<Arc<Client>, NodeError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let (connected, mut connection) = self.config.connect(NoTls).await.map_err(NodeError::not_sent)?;
        let changes = self.changes.get().cloned();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let (AsyncMessage::Notification(changed), Some(changes)) = (message, &changes) {
                    changes.key(changed.payload());
                }
            }
            // What changes from now on, nobody hears.
            changes.iter().for_each(Changes::any);
        });
        let prepare =
            "SET default_transaction_isolation = 'read committed'; SET synchronous_commit = on; LISTEN redlock";
        connected.batch_execute(prepare).await.map_err(NodeError::not_sent)?;
        if let Some(changes) = self.changes.get() {
            changes.any();
        }
        Ok(Arc::clone(client.insert(Arc::new(connected))))
    }

    /// One request, which the database carries out whole or not at all.
    async fn call(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, NodeError> {
        let client = self.client().await?;
        client.query_opt(query, parameters).await.map_err(|error| failed(&error))
    }

    async fn outcome(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Outcome, NodeError> {
        let answer: Option<i32> = self.call(query, parameters).await?.map(|row| row.get(0));
        Ok(match answer {
            Some(1) => Outcome::Done,
            Some(0) => Outcome::OtherOwner,
            _ => Outcome::NoKey,
        })
    }
}

fn failed(error: &Error) -> NodeError {
    // An error of the database itself undid the transaction.
    error.as_db_error().map_or_else(|| NodeError::unknown(error), NodeError::answered)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn held(owner: Option<String>, remaining: Option<i64>) -> Option<(String, Option<Duration>)> {
    Some((owner?, remaining.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis)))
}

impl Node for PostgresNode {
    fn label(&self) -> &str {
        &self.label
    }

    fn acquire(&self, Acquire { key, owner, ttl, counter, .. }: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        Box::pin(async move {
            let (least, first) =
                (counter.map(|rule| signed(rule.least)), counter.and_then(|rule| rule.first).map(signed));
            let keep_for = counter.map(|rule| milliseconds(rule.keep_for));
            let parameters: [&(dyn ToSql + Sync); 6] =
                [&&*key, &&*owner, &milliseconds(ttl), &least, &first, &keep_for];
            let row = self.call("SELECT * FROM redlock_acquire($1, $2, $3, $4, $5, $6)", &parameters).await?;
            let row = row.ok_or_else(|| NodeError::answered("redlock_acquire answered nothing"))?;
            let counter = row.get::<_, Option<i64>>(2).and_then(|counter| u64::try_from(counter).ok());
            let vote = match held(row.get(0), row.get(1)) {
                Some((owner, remaining)) => Vote::held_by(owner, remaining),
                None => Vote::granted(),
            };
            Ok(vote.with_counter(counter))
        })
    }

    fn extend(&self, Extend { key, owner, ttl, .. }: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            self.outcome("SELECT redlock_extend($1, $2, $3)", &[&&*key, &&*owner, &milliseconds(ttl)]).await
        })
    }

    fn release(&self, Release { key, owner, keep, .. }: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async move {
            let (next, ttl) = keep.map(|keep| (keep.owner.to_string(), milliseconds(keep.ttl))).unzip();
            self.outcome("SELECT redlock_release($1, $2, $3, $4)", &[&&*key, &&*owner, &next, &ttl]).await
        })
    }

    fn has_counters(&self) -> bool {
        true
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async move {
            let (token, keep_for) = (signed(commit.token), milliseconds(commit.keep_for));
            let parameters: [&(dyn ToSql + Sync); 4] = [&&*commit.key, &&*commit.owner, &token, &keep_for];
            let row = self.call("SELECT redlock_commit($1, $2, $3, $4)", &parameters).await?;
            let counter = row.and_then(|row| row.get::<_, Option<i64>>(0));
            Ok(counter.and_then(|counter| u64::try_from(counter).ok()))
        })
    }

    fn watch(&self, changes: Changes) {
        let _ = self.changes.set(changes);
    }

    fn inspect(&self, key: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        Box::pin(async move {
            let query = "SELECT owner, ceil(extract(epoch FROM ends - clock_timestamp()) * 1000)::bigint
                FROM redlock_keys WHERE key = $1 AND ends > clock_timestamp()";
            let row = self.call(query, &[&&*key]).await?;
            let held = row.and_then(|row| held(row.get(0), row.get(1)));
            Ok(held.map(|(owner, remaining)| Held::new(owner, remaining)))
        })
    }

    fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
        Box::pin(async move {
            let query = "SELECT key FROM redlock_keys WHERE starts_with(key, $1) AND ends > clock_timestamp()";
            let rows = self.client().await?.query(query, &[&&*prefix]).await.map_err(|error| failed(&error))?;
            Ok(rows.into_iter().map(|row| row.get(0)).collect())
        })
    }

    fn reset(&self, key: Arc<str>) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move {
            let query = "WITH held AS (UPDATE redlock_keys SET owner = NULL, ends = NULL
                WHERE key = $1 AND ends > clock_timestamp() RETURNING key)
                SELECT pg_notify('redlock', key) FROM held";
            Ok(self.call(query, &[&&*key]).await?.is_some())
        })
    }
}
