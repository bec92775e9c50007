use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ProtocolVersion, PushInfo, RedisResult, Script, Value};
use redis::{IntoConnectionInfo, RedisConnectionInfo};

/// A multiplexed connection to each node.
#[derive(Clone)]
pub(super) struct Nodes {
    connections: Vec<MultiplexedConnection>,
}

/// Is told what a node pushes.
pub(super) type Pushes = Arc<dyn Fn(usize, &PushInfo) + Send + Sync>;

/// Which answers count towards the majority.
type IsYes = fn(&Value) -> bool;

impl Nodes {
    /// Connects to all and has them know these scripts; with `pushes` by the protocol that knows them.
    pub(super) async fn connect(urls: &[String], scripts: &[&Script], pushes: Option<Pushes>) -> Self {
        let mut connections = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            // Above the number of tasks: a request that has to queue for the connection may be sent behind the next.
            let mut config = AsyncConnectionConfig::new().set_pipeline_buffer_size(1024);
            let mut settings = RedisConnectionInfo::default();
            if let Some(pushes) = pushes.clone() {
                settings = settings.set_protocol(ProtocolVersion::RESP3);
                config = config.set_push_sender(move |push: PushInfo| {
                    pushes(index, &push);
                    Ok::<(), redis::aio::SendError>(())
                });
            }
            let address = url.as_str().into_connection_info().expect("the harness gives good URLs");
            let client = Client::open(address.set_redis_settings(settings)).expect("the harness gives good URLs");
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = connection.expect("the server is up");
            for script in scripts {
                script.prepare_invoke().load_async(&mut connection).await.expect("the script loads");
            }
            connections.push(connection);
        }
        Self { connections }
    }

    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn majority(&self) -> usize {
        self.connections.len() / 2 + 1
    }

    /// Has each node push what is published on channels that match.
    pub(super) async fn listen(&mut self, pattern: &str) {
        for node in &mut self.connections {
            node.psubscribe(pattern).await.expect("the server is up");
        }
    }

    /// Sends a command to all, and returns how many said yes when a majority did, or no majority can any more; the others
    /// are seen through by a task. A node that fails does not say yes.
    ///
    /// Every request is polled in the order of the nodes before this returns: one that was not might be sent behind
    /// the command that follows it.
    pub(super) async fn ask(&self, command: &Cmd, is_yes: IsYes) -> usize {
        let mut requests: Vec<_> = self.connections.iter().map(|node| send(node.clone(), command.clone())).collect();
        let mut yes = 0;
        poll_fn(|cx| {
            yes += poll_each(&mut requests, cx, is_yes);
            let is_decided = yes >= self.majority() || yes + requests.len() < self.majority();
            if is_decided { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if !requests.is_empty() {
            tokio::spawn(poll_fn(move |cx| {
                poll_each(&mut requests, cx, is_yes);
                if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        yes
    }
}

type Request = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

fn send(mut connection: MultiplexedConnection, command: Cmd) -> Request {
    // Unconstrained: a task that has used up its budget would not send with its first poll.
    Box::pin(tokio::task::unconstrained(async move { connection.send_packed_command(&command).await }))
}

/// Polls each request; returns how many said yes, and forgets those that are done.
fn poll_each(requests: &mut Vec<Request>, cx: &mut Context<'_>, is_yes: IsYes) -> usize {
    let mut yes = 0;
    requests.retain_mut(|request| match request.as_mut().poll(cx) {
        Poll::Ready(answer) => {
            yes += usize::from(answer.is_ok_and(|answer| is_yes(&answer)));
            false
        }
        Poll::Pending => true,
    });
    yes
}
