//! Byte streams between simulated processes and nodes: first in, first out each, in any order between two; delayed, stalled, cut,
//! half open and killed.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redlock_simulated::simulation::{Connecting, Place, Stream};
use redlock_simulated_redis::ConnectionId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::plan::Passage;
use crate::world::{Universe, now, until};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToNode = 0,
    ToProcess = 1,
}

/// One connection; shared by both ends.
#[derive(Clone, Debug)]
pub(crate) struct Pipe(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) from: Place,
    pub(crate) node: usize,
    /// By which number the node knows it.
    pub(crate) id: ConnectionId,
    /// Which life of the node it leads to.
    pub(crate) life: u32,
    lanes: [Lane; 2],
    /// Nothing arrives before.
    pub(crate) stalled_until: Instant,
    /// Nothing arrives any more, and nobody is told.
    pub(crate) is_dark: bool,
    /// The node closed it.
    pub(crate) is_closed: bool,
    /// What is sent from now on is lost; what was sent before arrives.
    is_cut: bool,
    /// It is cut with the next thing that the process sends; what is on its way is lost, or comes so much later.
    pub(crate) is_doomed: Option<Option<Duration>>,
    /// The process's end is gone.
    is_left: bool,
    /// The process is told of the end.
    is_reset: bool,
}

#[derive(Debug, Default)]
struct Lane {
    freight: VecDeque<(Instant, Vec<u8>)>,
    last: Option<Instant>,
    waker: Option<Waker>,
}

impl Lane {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What the node's end does next.
pub(crate) enum Arrival {
    /// Something arrives then.
    At(Instant),
    /// Nothing comes any more.
    Over,
}

impl Pipe {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something on its way; nothing of what is sent on a connection that ended.
    pub(crate) fn send(&self, universe: &Universe, way: Way, bytes: Vec<u8>) {
        let passage = match way {
            Way::ToNode => Passage::Request,
            Way::ToProcess => Passage::Reply,
        };
        let (from, node) = {
            let state = self.lock();
            (state.from, state.node)
        };
        let delay = universe.delay(passage, from, node);
        let mut state = self.lock();
        if state.is_cut || way == Way::ToProcess && state.is_closed {
            return;
        }
        let at = (now() + delay).max(state.stalled_until);
        let lane = &mut state.lanes[way as usize];
        let at = lane.last.map_or(at, |last| at.max(last));
        lane.last = Some(at);
        lane.freight.push_back((at, bytes));
        lane.wake();
    }

    /// When the next thing arrives at the node.
    pub(crate) fn poll_arrival(&self, cx: &Context<'_>) -> Poll<Arrival> {
        let mut state = self.lock();
        if state.is_closed || state.is_dark {
            return Poll::Ready(Arrival::Over);
        }
        let stalled_until = state.stalled_until;
        let is_over = state.is_left || state.is_cut;
        let lane = &mut state.lanes[Way::ToNode as usize];
        match lane.freight.front() {
            Some((at, _)) => Poll::Ready(Arrival::At((*at).max(stalled_until))),
            None if is_over => Poll::Ready(Arrival::Over),
            None => {
                lane.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes in what has arrived at the node.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if state.is_closed || state.is_dark || now() < state.stalled_until {
            return None;
        }
        let lane = &mut state.lanes[Way::ToNode as usize];
        lane.freight.pop_front().map(|(_, bytes)| bytes)
    }

    /// The node closes it, or is gone: the process is told, unless nothing gets through.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.is_reset |= !state.is_dark;
        state.lanes.iter_mut().for_each(Lane::wake);
    }

    /// Nothing gets through any more.
    pub(crate) fn darken(&self) {
        let mut state = self.lock();
        state.is_dark = true;
        state.lanes[Way::ToNode as usize].wake();
    }

    /// The process has ended; what it sent still arrives.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.is_left = true;
        state.lanes[Way::ToNode as usize].wake();
    }
}

impl State {
    /// Whether both ends are there.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_reset && !self.is_left && !self.is_closed
    }

    /// Cuts it: the process is told at once.
    pub(crate) fn cut(&mut self, freight: Option<Duration>) {
        self.is_cut = true;
        match freight {
            None => self.is_dark = true,
            Some(later) => self.stalled_until = now() + later,
        }
        self.is_reset = true;
        self.lanes.iter_mut().for_each(Lane::wake);
    }
}

/// Connects a process to a node.
pub(crate) fn connect(universe: &Arc<Universe>, from: Place, host: &str) -> Connecting {
    let node = host.trim_start_matches(|letter: char| letter.is_ascii_lowercase()).parse::<usize>();
    let universe = Arc::clone(universe);
    let delay = node.as_ref().map_or(Duration::ZERO, |node| universe.delay(Passage::Connection, from, *node));
    Box::pin(async move {
        let node = node.map_err(io::Error::other)?;
        sleep(delay).await;
        if !universe.lets_through(from.process, node) {
            // Whoever is cut off hears nothing.
            std::future::pending::<()>().await;
        }
        let Some((id, life)) = universe.accept(node) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let pipe = Pipe(Arc::new(Mutex::new(State {
            from,
            node,
            id,
            life,
            lanes: [Lane::default(), Lane::default()],
            stalled_until: now(),
            is_dark: false,
            is_closed: false,
            is_cut: false,
            is_doomed: None,
            is_left: false,
            is_reset: false,
        })));
        universe.note(|| format!("p{}.{} connects to n{node} as {}", from.process, from.runtime, id.0));
        universe.serve(pipe.clone());
        let peer = (!universe.plan.nodes[node].is_behind_proxy).then(|| peer(id));
        Ok((Box::new(End { pipe, universe, arrival: None }) as Box<dyn Stream>, peer))
    })
}

/// From where a connection comes, as the node sees it.
pub(crate) fn peer(id: ConnectionId) -> SocketAddr {
    let port = 1024 + u16::try_from(id.0 % 64_000).unwrap_or_default();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The process's end.
struct End {
    pipe: Pipe,
    universe: Arc<Universe>,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = self.pipe.clone();
        let mut state = pipe.lock();
        loop {
            if state.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let (is_dark, stalled_until) = (state.is_dark, state.stalled_until);
            let lane = &mut state.lanes[Way::ToProcess as usize];
            lane.waker = Some(cx.waker().clone());
            let Some((at, bytes)) = lane.freight.front_mut().filter(|_| !is_dark) else {
                self.arrival = None;
                return Poll::Pending;
            };
            let at = (*at).max(stalled_until);
            if now() < at {
                let arrival = self.arrival.get_or_insert_with(|| Box::pin(until(at)));
                if arrival.deadline() != at {
                    arrival.as_mut().reset(at);
                }
                if arrival.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            self.arrival = None;
            let length = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..length]);
            bytes.drain(..length);
            if bytes.is_empty() {
                lane.freight.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (is_reset, process, doom) = {
            let mut state = self.pipe.lock();
            (state.is_reset, state.from.process, state.is_doomed.take())
        };
        if is_reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.universe.is_dead(process) {
            self.pipe.send(&self.universe, Way::ToNode, bytes.to_vec());
            if let Some(freight) = doom {
                let mut state = self.pipe.lock();
                self.universe.note(|| format!("connection {} is cut with what it carries, {freight:?}", state.id.0));
                state.cut(freight);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let node = self.pipe.lock().node;
        if self.universe.plan.nodes[node].is_behind_proxy {
            // What arrives late through a proxy, which hides who sent it, stays for its TTL; that is documented.
            self.pipe.darken();
        }
        self.pipe.leave();
    }
}
