//! One server: where it is, how to sign in, and the streams to it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError,
};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;

use super::bounded::{Bound, Bounded};
use super::corked::Corked;
use super::lookup_host;
use super::traffic::Traffic;
use crate::node::PeerAddress;
use crate::node::redis::tls::Tls;
use crate::platform::tasks;

/// How to reach one server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// Address and credentials.
    info: Arc<ConnectionInfo>,
    /// What encrypts the connection, if the address is a plain one and it is to be encrypted all the same.
    tls: Option<Tls>,
    /// Which protocol its commands are sent in; `None`: the newest that the server knows.
    protocol: Option<ProtocolVersion>,
}

/// What commands travel on.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type BoundedStream = Bounded<Box<dyn Stream>>;

/// A connection that was made.
pub(in crate::node) struct Opened {
    pub(in crate::node) connection: MultiplexedConnection,
    /// What it takes in as one reply; unknown to somebody else's client.
    pub(in crate::node) bound: Arc<Bound>,
    /// What our end of it is called, for the server at the other end if nobody is in between.
    pub(in crate::node) ours: Option<PeerAddress>,
    /// What is on its way into its stream, which somebody else's client does not tell.
    pub(in crate::node) traffic: Arc<Traffic>,
}

impl Endpoint {
    pub(crate) fn new(info: ConnectionInfo, tls: Option<Tls>) -> Self {
        Self { info: Arc::new(info), tls, protocol: None }
    }

    /// Sends commands in this protocol and in no other, if it names one.
    pub(crate) fn speaking(self, protocol: Option<ProtocolVersion>) -> Self {
        Self { protocol, ..self }
    }

    /// Which protocol commands are to be sent in, if not the newest that the server knows.
    pub(in crate::node) fn protocol(&self) -> Option<ProtocolVersion> {
        self.protocol
    }

    /// What somebody else's client connects to.
    pub(crate) fn of_client(client: &Client) -> Self {
        Self::new(client.get_connection_info().clone(), None)
    }

    /// Another server, with the same credentials.
    pub(crate) fn elsewhere(&self, host: &str, port: u16) -> Self {
        let addr = ConnectionAddr::Tcp(host.to_owned(), port);
        Self::new(ConnectionInfo::clone(&self.info).set_addr(addr), self.tls.clone()).speaking(self.protocol)
    }

    /// The address, without credentials.
    pub(crate) fn address(&self) -> String {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => address(host, *port),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        }
    }

    /// Its host and port, unless it is at a path.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host, *port)),
            _ => None,
        }
    }

    pub(crate) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some() || matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// Reads what the server calls one of its clients.
    pub(in crate::node) fn read_peer(&self, told: &str) -> Option<PeerAddress> {
        let is_path = || matches!(self.info.addr(), ConnectionAddr::Unix(path) if told == path_peer(path));
        told.parse().ok().map(PeerAddress::of).or_else(|| is_path().then_some(PeerAddress::Path))
    }

    /// Writes what the server calls one of its clients.
    pub(in crate::node) fn write_peer(&self, peer: PeerAddress) -> String {
        match (peer, self.info.addr()) {
            (PeerAddress::Internet(address), _) => address.to_string(),
            (PeerAddress::Path, ConnectionAddr::Unix(path)) => path_peer(path),
            // It was another server, which is not asked.
            (PeerAddress::Path, _) => String::new(),
        }
    }

    pub(crate) fn is_at_a_path(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::Unix(_))
    }

    /// Connects and signs in; a task of this runtime drives the connection until nobody has it any more.
    pub(in crate::node) async fn open(
        &self,
        protocol: ProtocolVersion,
        config: AsyncConnectionConfig,
    ) -> Result<Opened, RedisError> {
        let (bound, traffic) = (Arc::new(Bound::default()), Arc::<Traffic>::default());
        let Some((stream, ours)) = self.stream(&bound).await? else {
            let client = self.client(protocol)?;
            let connection = caught(client.get_multiplexed_async_connection_with_config(&config)).await?;
            return Ok(Opened { connection, bound, ours: None, traffic });
        };
        let settings = self.settings(protocol);
        let made = MultiplexedConnection::new_with_config(&settings, Corked::new(stream, &traffic), config).await;
        let (connection, driver) = made.map_err(|error| traffic.explain(error))?;
        tasks::spawn(driver);
        Ok(Opened { connection, bound, ours, traffic })
    }

    /// Connects for nothing but messages.
    pub(in crate::node) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        match self.stream(&Arc::default()).await? {
            Some((stream, _)) => PubSub::new(&self.settings(ProtocolVersion::RESP2), stream).await,
            None => caught(self.client(ProtocolVersion::RESP2)?.get_async_pubsub()).await,
        }
    }

    /// What went wrong while signing in, for people: some servers and proxies repeat what they do not understand.
    pub(in crate::node) fn tell(&self, error: &RedisError) -> String {
        let told = error.to_string();
        match self.info.redis_settings().password() {
            Some(password) if !password.is_empty() => told.replace(password, "…"),
            Some(_) | None => told,
        }
    }

    /// A stream, and what it is called at our end; `None` if somebody else's client knows how to make one, and we do not.
    async fn stream(&self, bound: &Arc<Bound>) -> Result<Option<(BoundedStream, Option<PeerAddress>)>, RedisError> {
        let (stream, ours): (Box<dyn Stream>, _) = match self.info.addr() {
            #[cfg(redlock_simulated)]
            ConnectionAddr::Tcp(host, port) if crate::platform::simulated::is_on() => {
                let (stream, ours) = crate::platform::simulated::connect(host, *port).await?;
                (Box::new(stream), ours.map(PeerAddress::of))
            }
            ConnectionAddr::Tcp(host, port) => {
                let stream = lookup_host::connect(host, *port).await?;
                // Not even a command behind another waits: the kernel would keep it until the first was acknowledged.
                stream.set_nodelay(true)?;
                let ours = stream.local_addr().ok().map(PeerAddress::of);
                match &self.tls {
                    Some(tls) => (Box::new(tls.encrypt(host, stream).await?), ours),
                    None => (Box::new(stream), ours),
                }
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => (Box::new(UnixStream::connect(path).await?), Some(PeerAddress::Path)),
            _ => return Ok(None),
        };
        Ok(Some((Bounded::new(stream, Arc::clone(bound)), ours)))
    }

    #[cfg(test)]
    pub(in crate::node) fn redis_settings(&self) -> &RedisConnectionInfo {
        self.info.redis_settings()
    }

    fn settings(&self, protocol: ProtocolVersion) -> RedisConnectionInfo {
        self.info.redis_settings().clone().set_protocol(protocol)
    }

    fn client(&self, protocol: ProtocolVersion) -> Result<Client, RedisError> {
        let transport = self.info.tcp_settings().clone().set_nodelay(true);
        let info =
            ConnectionInfo::clone(&self.info).set_redis_settings(self.settings(protocol)).set_tcp_settings(transport);
        Client::open(info.into_connection_info()?)
    }
}

/// What the client's own way to connect comes to: it looks up names on a thread of the runtime, and that panics where the system
/// has none left.
async fn caught<T>(connecting: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let mut connecting = pin!(connecting);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| connecting.as_mut().poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Err(io::Error::other("the attempt to connect panicked").into())))
    })
    .await
}

impl fmt::Debug for Endpoint {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

// Source: `anetFormatPeer` of a client without a port, https://github.com/redis/redis/blob/7.0/src/networking.c
fn path_peer(path: &Path) -> String {
    format!("{}:0", path.display())
}

/// A host and a port as they are written.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
