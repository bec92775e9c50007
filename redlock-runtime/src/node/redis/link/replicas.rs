//! Counting the replicas that have what a master granted.
//!
//! The master is told to wait on a connection of its own, because it reads nothing else from one that waits. So that many
//! locks do not wait one behind the other, all that were granted meanwhile wait together: a replica that has a key that
//! is written now has everything that was written before.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisError, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::endpoint::{Endpoint, Opened};
use crate::node::limits::Limits;
use crate::node::redis::commands::{self, info};
use crate::platform::tasks;
use crate::values::keys::Keys;

/// So many keys in other slots are tried where the slot of a lock is being moved; a server with very few slots has none of them.
const OTHERS: u32 = 64;

/// What makes a master's answer a vote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    /// How many replicas have to have it.
    pub(crate) needed: usize,
    /// How long they have for that.
    pub(crate) within: Duration,
}

/// Who waits for the replicas of one server.
#[derive(Clone, Debug)]
pub(in crate::node) struct Acknowledgements {
    /// Keys, and whom to tell that the replicas have what was written before.
    asked: mpsc::UnboundedSender<Asked>,
}

type Asked = (Arc<str>, oneshot::Sender<Result<(), Arc<str>>>);

impl Acknowledgements {
    /// Connects in the background. `run_id` is of the server whose answers count, if it tells.
    pub(in crate::node) fn start(
        replicas: Replicas,
        endpoint: Endpoint,
        run_id: Option<&Arc<str>>,
        limits: Limits,
    ) -> Self {
        let (asked, received) = mpsc::unbounded_channel();
        let waiting = Waiting { replicas, endpoint, run_id: run_id.cloned(), limits, connection: None };
        tasks::spawn(waiting.run(received));
        Self { asked }
    }

    /// Returns when enough replicas have whatever was done to the key before.
    pub(in crate::node) async fn of(&self, key: &Arc<str>) -> Result<(), Arc<str>> {
        let (told, answer) = oneshot::channel();
        let ended = || Arc::from("the task that waits for the replicas has ended");
        self.asked.send((Arc::clone(key), told)).map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// The task behind it.
struct Waiting {
    replicas: Replicas,
    endpoint: Endpoint,
    run_id: Option<Arc<str>>,
    limits: Limits,
    connection: Option<MultiplexedConnection>,
}

/// What came of writing a key and counting the replicas that have it.
enum Marked {
    /// So many have it.
    Counted(usize),
    /// It may not be written here, and why.
    Elsewhere(Arc<str>),
}

impl Waiting {
    async fn run(mut self, mut received: mpsc::UnboundedReceiver<Asked>) {
        self.connection = self.connect().await.ok();
        while let Some((key, told)) = received.recv().await {
            let mut group = vec![told];
            while let Ok((_, told)) = received.try_recv() {
                group.push(told);
            }
            let answer = self.wait(&key).await;
            for told in group {
                // An error means that nobody waits for it any more.
                let _ = told.send(answer.clone());
            }
        }
    }

    async fn wait(&mut self, key: &str) -> Result<(), Arc<str>> {
        match self.mark(&[Keys::replicated(key)]).await? {
            Marked::Counted(have) => self.judge(have),
            // The slot is on its way from this server to another, or from another to this one: the lock's key is here.
            Marked::Elsewhere(_) => {
                let others: Vec<_> = (0..OTHERS).map(Keys::replicated_elsewhere).collect();
                match self.mark(&others).await? {
                    Marked::Counted(have) => self.judge(have),
                    Marked::Elsewhere(reason) => Err(reason),
                }
            }
        }
    }

    fn judge(&self, have: usize) -> Result<(), Arc<str>> {
        let Replicas { needed, within } = self.replicas;
        if have >= needed {
            return Ok(());
        }
        Err(format!("only {have} of the {needed} replicas of `wait_replicas` had it in {within:?}").into())
    }

    /// Writes whichever of these keys may be written here, and counts the replicas that have them.
    async fn mark(&mut self, marks: &[String]) -> Result<Marked, Arc<str>> {
        let Replicas { needed, within } = self.replicas;
        let question = commands::count_replicas(marks, needed, within);
        let reply_timeout = within + self.limits.node_timeout;
        let (connection, mut answers) = timeout(reply_timeout, self.ask(&question))
            .await
            .unwrap_or_else(|_| Err(format!("no answer to WAIT within {reply_timeout:?}").into()))?;
        self.connection = Some(connection);
        let counted = answers.pop().map(Value::extract_error);
        let mut refused = None;
        let mut is_any_written = false;
        for written in answers {
            match written.extract_error() {
                Ok(_) => is_any_written = true,
                Err(error) => refused = Some(error),
            }
        }
        match (counted, refused.filter(|_| !is_any_written)) {
            (_, Some(error)) if error.redirect_node().is_some() => Ok(Marked::Elsewhere(reason(&error))),
            (Some(Err(error)), None) => {
                Err(format!("`wait_replicas` needs WAIT, which the server refuses: {error}").into())
            }
            (_, Some(error)) => Err(reason(&error)),
            (Some(Ok(Value::Int(have))), None) => Ok(Marked::Counted(usize::try_from(have).unwrap_or(0))),
            _ => Err(Arc::from("an unexpected answer to WAIT")),
        }
    }

    /// Asks on the connection that there is or, if it has ended meanwhile, on a new one: nobody notices when it does.
    async fn ask(&mut self, question: &Pipeline) -> Result<(MultiplexedConnection, Vec<Value>), Arc<str>> {
        if let Some(mut connection) = self.connection.take()
            && let Ok(answers) = connection.send_packed_commands(question, 0, question.len()).await
        {
            return Ok((connection, answers));
        }
        let mut connection = self.connect().await?;
        let answers = connection.send_packed_commands(question, 0, question.len()).await;
        Ok((connection, answers.map_err(|error| reason(&error))?))
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Arc<str>> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connect = async {
            let Opened { mut connection, bound, .. } = self
                .endpoint
                .open(ProtocolVersion::RESP2, config)
                .await
                .map_err(|error| Arc::from(self.endpoint.tell(&error)))?;
            let server = connection.send_packed_command(&commands::identify()).await;
            let told = info::told(&server.map_err(|error| bound.reason(&error))?, &Value::Nil);
            // Another server at the same address knows nothing of what this one granted.
            match (told.run_id(), &self.run_id) {
                (Some(run_id), Some(expected)) if run_id == expected => Ok(connection),
                (Some(_), Some(_)) => Err(Arc::from("another server is at its address now")),
                (None, _) | (_, None) => Err(Arc::from(
                    "`wait_replicas` needs a server that tells who it is (run_id in INFO), so that its replicas can be counted",
                )),
            }
        };
        let limit = self.limits.connect_timeout;
        timeout(limit, connect).await.unwrap_or_else(|_| Err(format!("no connection within {limit:?}").into()))
    }
}

fn reason(error: &RedisError) -> Arc<str> {
    error.to_string().into()
}
