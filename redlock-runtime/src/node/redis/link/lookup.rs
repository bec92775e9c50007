//! Asking several servers the same at once, each on a connection of its own that ends with the answer.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, Value};
use tokio::time::timeout_at;

use super::endpoint::{Endpoint, Opened};
use crate::platform::clock;
use crate::platform::tasks::JoinSet;

/// What the servers said.
#[derive(Debug, Default)]
pub(in crate::node) struct Answers {
    /// One value for each command, from each server that answered.
    pub(in crate::node) answers: Vec<(Endpoint, Vec<Value>)>,
    /// Why the others did not; without credentials.
    pub(in crate::node) failures: Vec<String>,
}

/// Asks all of them and returns once all have answered or failed, or what was answered is enough, or `limit` is over.
pub(in crate::node) async fn ask(
    servers: &[Endpoint],
    question: &Arc<Pipeline>,
    is_enough: impl Fn(&[(Endpoint, Vec<Value>)]) -> bool,
    limit: Duration,
) -> Answers {
    let until = clock::now() + limit;
    let mut asked = JoinSet::new();
    for server in servers {
        let (server, question) = (server.clone(), Arc::clone(question));
        asked.spawn(async move {
            let answer = timeout_at(clock::on_runtime(until), put(&server, &question)).await;
            (server, answer.unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))))
        });
    }
    let mut heard = Answers::default();
    while !is_enough(&heard.answers)
        && let Some(answer) = asked.join_next().await
    {
        match answer {
            Ok((server, Ok(answer))) => heard.answers.push((server, answer)),
            Ok((server, Err(reason))) => heard.failures.push(format!("{}: {reason}", server.address())),
            // The runtime is ending.
            Err(_) => {}
        }
    }
    heard
}

async fn put(server: &Endpoint, question: &Pipeline) -> Result<Vec<Value>, String> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    // Nothing comes but answers, so the oldest protocol does.
    let opened = server.open(ProtocolVersion::RESP2, config).await.map_err(|error| server.tell(&error))?;
    let Opened { mut connection, bound, .. } = opened;
    // A big cluster has much to tell.
    bound.ask_for_page();
    let answers = connection.send_packed_commands(question, 0, question.len()).await;
    let answers: Result<Vec<_>, _> =
        answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
    answers.map_err(|error| bound.reason(&error).to_string())
}
