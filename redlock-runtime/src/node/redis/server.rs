//! Asking a server for what is no vote: pipelines, each round trip with a bound of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::timeout;

use super::super::counters::Answer;
use super::RedisNode;
use super::commands::Call;
use super::link::connection::{LinkState, Live};

/// So many scripts are sent at once: a server does nothing else while it carries them out, at about 10 µs each.
pub(super) const BATCH: usize = 32;

/// So many plain commands about one key each are sent at once, at less than 1 µs each.
pub(super) const PLAIN_BATCH: usize = 250;

impl RedisNode {
    /// Asks the server once it can be reached.
    pub(super) fn with_connection<T, F>(
        &self,
        reply_timeout: Duration,
        then: impl FnOnce(Server) -> F + Send + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T, Arc<str>>> + Send,
    {
        match self.links.now() {
            LinkState::Up(live) => Box::pin(async move { then(Server { live, reply_timeout }).await }),
            LinkState::Down(reason) => Box::pin(async move { Err(reason) }),
            LinkState::Connecting(link) => {
                Box::pin(async move { then(Server { live: link.connected().await?, reply_timeout }).await })
            }
        }
    }

    /// The server once it can be reached.
    pub(in super::super) async fn server(&self, reply_timeout: Duration) -> Result<Server, Arc<str>> {
        let live = match self.links.now() {
            LinkState::Up(live) => live,
            LinkState::Down(reason) => return Err(reason),
            LinkState::Connecting(link) => link.connected().await?,
        };
        Ok(Server { live, reply_timeout })
    }
}

/// A server that can be reached.
pub(in super::super) struct Server {
    /// The connection to it.
    pub(super) live: Live,
    /// How long a round trip may take.
    pub(super) reply_timeout: Duration,
}

impl Server {
    /// Calls scripts, which are sent once more with their source if the server does not know them.
    pub(super) async fn call(&mut self, scripts: impl Fn(Call) -> Pipeline) -> Result<Vec<Value>, Arc<str>> {
        let answers = self.send(&scripts(Call::Known)).await?;
        let is_unknown = |answer: &Value| matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
        if answers.iter().any(is_unknown) { self.send(&scripts(Call::Unknown)).await } else { Ok(answers) }
    }

    pub(super) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Arc<str>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let Self { live, reply_timeout } = self;
        let bound = Arc::clone(&live.bound);
        bound.ask_for_page();
        let answers = timeout(*reply_timeout, live.connection.send_packed_commands(pipeline, 0, pipeline.len())).await;
        let Ok(answers) = answers else {
            bound.give_up();
            live.note_overdue();
            return Err(format!("no answer within {reply_timeout:?}").into());
        };
        bound.answered();
        answers.map_err(|error| {
            if error.is_unrecoverable_error() || error.is_io_error() {
                live.note_broken();
            }
            bound.reason(&error)
        })
    }
}

pub(super) fn all_done(answers: Vec<Value>) -> Result<Vec<Value>, Arc<str>> {
    answers.into_iter().map(|answer| answer.extract_error().map_err(|error| reason(&error))).collect()
}

pub(super) fn reason(error: &RedisError) -> Arc<str> {
    error.to_string().into()
}
