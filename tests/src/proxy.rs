//! A connection that is slow, silent or cut.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::acceptor::Acceptor;
use crate::{RedisServer, clock};

/// A TCP proxy in front of one server; what it does to the bytes can be changed at any time.
///
/// It runs on threads of its own, so it works whatever runtime the test has, or blocks. Bytes that were on their
/// way when a client hung up still arrive, as on a real network; only [`cut`](Self::cut) loses them, and
/// [`strand`](Self::strand) lets them arrive as late as the test wants.
#[derive(Debug)]
#[must_use = "the proxy ends when this is dropped"]
pub struct Proxy {
    /// Takes connections.
    acceptor: Acceptor,
    /// What all the threads look at.
    shared: Arc<Shared>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Forward,
    /// They pass this much after they came, and as fast after one another as they came.
    Delay(Duration),
    /// They are kept, and pass when the flow changes.
    Hold,
    /// They are read and thrown away; what was held is thrown away too.
    Swallow,
}

/// What the proxy's threads share.
#[derive(Debug)]
struct Shared {
    /// Where the server listens.
    upstream: u16,
    /// A std mutex: it is never held while bytes are read or written.
    state: Mutex<State>,
    /// Told about every change of `state`, so that bytes that wait look again.
    changed: Condvar,
}

/// What the proxy does at the moment.
#[derive(Debug, Default)]
struct State {
    requests: Flow,
    replies: Flow,
    /// New connections are closed at once.
    refuses: bool,
    /// The proxy is being dropped.
    ended: bool,
    /// How many connections were taken up to now; also the next connection's number.
    accepted: usize,
    /// Both sockets of every open connection, by its number, to close them from outside.
    open: HashMap<usize, [TcpStream; 2]>,
    /// Connections that were closed at the client's end, and whose bytes are kept.
    stranded: HashSet<usize>,
    /// Connections of which bytes wait that go this way, whatever keeps them.
    waiting: HashSet<(usize, Direction)>,
}

/// Bytes on their way.
struct Parcel {
    bytes: Vec<u8>,
    /// Delays count from here.
    came: Instant,
}

impl Proxy {
    /// Starts a proxy in front of the server.
    pub fn start(server: &RedisServer) -> Self {
        Self::start_to(server.port())
    }

    /// Starts a proxy in front of whatever listens, or will listen, on this port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start_to(upstream: u16) -> Self {
        let shared = Arc::new(Shared { upstream, state: Mutex::default(), changed: Condvar::new() });
        let (admitting, serving) = (Arc::clone(&shared), Arc::clone(&shared));
        let serve = move |number, client: &TcpStream| serving.connect(number, client);
        let acceptor = Acceptor::start(move || admitting.admit(), serve);
        Self { acceptor, shared }
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The port that the proxy listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.acceptor.port()
    }

    /// Changes what happens to bytes that go one way, those already on their way included.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.change(|state| match direction {
            Direction::Requests => state.requests = flow,
            Direction::Replies => state.replies = flow,
        });
    }

    /// Changes what happens to bytes that go either way.
    pub fn set_both(&self, flow: Flow) {
        self.change(|state| {
            state.requests = flow;
            state.replies = flow;
        });
    }

    /// Closes every connection now, with what is on its way; new ones are taken.
    pub fn cut(&self) {
        self.change(State::close_all);
    }

    /// Closes every connection at the client's end now and keeps what is on its way to the server, until
    /// [`land`](Self::land).
    pub fn strand(&self) {
        self.change(|state| {
            for (number, [client, _]) in &state.open {
                state.stranded.insert(*number);
                // An error says that the client closed it first.
                let _ = client.shutdown(Shutdown::Both);
            }
        });
    }

    /// Lets what [`strand`](Self::strand) kept go on to the server.
    pub fn land(&self) {
        self.change(|state| state.stranded.clear());
    }

    /// How many connections have bytes that wait to go on this way.
    #[must_use]
    pub fn waiting(&self, direction: Direction) -> usize {
        self.shared.state().waiting.iter().filter(|(_, way)| *way == direction).count()
    }

    /// Closes every connection now, and new ones at once, until [`take`](Self::take).
    pub fn refuse(&self) {
        self.change(|state| {
            state.refuses = true;
            state.close_all();
        });
    }

    /// Takes connections again.
    pub fn take(&self) {
        self.change(|state| state.refuses = false);
    }

    /// How many connections clients have made up to now, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.state().accepted
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.ended = true;
            state.close_all();
        });
        self.acceptor.join();
    }
}

impl State {
    fn close_all(&mut self) {
        for (_, sockets) in self.open.drain() {
            for socket in sockets {
                // An error says that the other side closed it first.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::Requests => self.requests,
            Direction::Replies => self.replies,
        }
    }
}

/// Whether a parcel goes on.
enum Passage {
    Pass,
    Drop,
    Closed,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection, and says which one it is.
    fn admit(&self) -> Option<usize> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.accepted += 1;
        Some(state.accepted)
    }

    fn connect(self: &Arc<Self>, number: usize, client: &TcpStream) -> std::io::Result<()> {
        if self.state().refuses {
            return Ok(());
        }
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
        let (to_client, to_server) = (client.try_clone()?, server.try_clone()?);
        {
            let mut state = self.state();
            // It may have been told so while it connected.
            if state.refuses || state.ended {
                return Ok(());
            }
            state.open.insert(number, [client.try_clone()?, server]);
        }
        let requests = self.carry(number, Direction::Requests, from_client, to_server);
        let replies = self.carry(number, Direction::Replies, from_server, to_client);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let _ = requests.join();
            let _ = replies.join();
            shared.state().open.remove(&number);
        });
        Ok(())
    }

    /// Carries bytes one way until both the source ended and everything has arrived.
    fn carry(self: &Arc<Self>, number: usize, direction: Direction, from: TcpStream, to: TcpStream) -> JoinHandle<()> {
        let (sender, receiver) = channel();
        thread::spawn(move || read_parcels(from, &sender));
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.deliver(number, direction, &receiver, &to);
            let _ = to.shutdown(Shutdown::Write);
        })
    }

    fn deliver(&self, number: usize, direction: Direction, parcels: &Receiver<Parcel>, mut to: &TcpStream) {
        for parcel in parcels {
            match self.wait_to_pass(number, direction, parcel.came) {
                Passage::Pass => {
                    if to.write_all(&parcel.bytes).is_err() {
                        return;
                    }
                }
                Passage::Drop => {}
                Passage::Closed => return,
            }
        }
    }

    fn wait_to_pass(&self, number: usize, direction: Direction, came: Instant) -> Passage {
        let mut state = self.state();
        loop {
            let flow = if state.stranded.contains(&number) { Flow::Hold } else { state.flow(direction) };
            let delay = match flow {
                Flow::Delay(delay) => Some(delay.saturating_sub(came.elapsed())),
                Flow::Forward | Flow::Hold | Flow::Swallow => None,
            };
            let passage = match flow {
                _ if !state.open.contains_key(&number) => Some(Passage::Closed),
                Flow::Swallow => Some(Passage::Drop),
                Flow::Hold => None,
                Flow::Forward => Some(Passage::Pass),
                Flow::Delay(_) => delay.is_none_or(|left| left.is_zero()).then_some(Passage::Pass),
            };
            if let Some(passage) = passage {
                state.waiting.remove(&(number, direction));
                return passage;
            }
            state.waiting.insert((number, direction));
            state = match delay {
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn read_parcels(mut from: TcpStream, sender: &Sender<Parcel>) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        let parcel = Parcel { bytes: chunk[..length].to_vec(), came: clock::now() };
        if sender.send(parcel).is_err() {
            return;
        }
    }
}
