use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::link::connection::Live;
use super::{Answer, Redirect, Routing, send};
use crate::node::reply::Pooled;
use crate::node::{Command, Reply};

/// One command on its way to a server, and its answer on the way back.
///
/// To send a command takes a future of more than a kilobyte. Each lock needs several, and to allocate them, and to move what
/// they are made of there, takes longer than the rest. So there is one that never ends: it carries out one request after the
/// other, for whoever has it, and waits for the next one on the thread on which the last one ended.
pub(super) struct PooledRequest {
    slot: Arc<Slot>,
    /// Carries out what is put into the slot, for ever.
    worker: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a worker is given, and gives back. A std mutex: it is never held across an await.
#[derive(Default)]
struct Slot(Mutex<Content>);

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Request(Live, Arc<Command>, Routing),
    Response(Result<Reply, Redirect>),
}

/// So many wait on a thread at most.
const IDLE: usize = 256;

thread_local! {
    /// Those that have nothing to do. They have no connection and no command. Boxed, as they are lent.
    #[expect(clippy::vec_box, reason = "they are lent and given back as boxes, so that neither allocates")]
    static POOL: RefCell<Vec<Box<PooledRequest>>> = const { RefCell::new(Vec::new()) };
}

impl PooledRequest {
    #[expect(clippy::unnecessary_box_returns, reason = "the box is lent, and given back to the pool")]
    pub(super) fn begin(live: Live, command: Arc<Command>, routing: Routing) -> Box<Self> {
        // A thread that is ending has none left.
        let idle = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        let request = idle.unwrap_or_else(|| Box::new(Self::new()));
        *request.slot.content() = Content::Request(live, command, routing);
        request
    }

    fn new() -> Self {
        let slot = Arc::new(Slot::default());
        let worker = Box::pin(work(Arc::clone(&slot)));
        Self { slot, worker }
    }
}

impl<T: Answer> Pooled<T> for PooledRequest {
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let _ = self.worker.as_mut().poll(cx);
        self.slot.take_response().map_or(Poll::Pending, |response| Poll::Ready(T::of(response)))
    }

    fn give_back(self: Box<Self>) {
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < IDLE {
                pool.push(self);
            }
        });
    }
}

async fn work(slot: Arc<Slot>) {
    loop {
        let (mut live, command, routing) = poll_fn(|_| slot.take_request().map_or(Poll::Pending, Poll::Ready)).await;
        let response = send(&mut live, &command, routing).await;
        *slot.content() = Content::Response(response);
    }
}

impl Slot {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_request(&self) -> Option<(Live, Arc<Command>, Routing)> {
        let mut content = self.content();
        match mem::take(&mut *content) {
            Content::Request(live, command, routing) => Some((live, command, routing)),
            other => {
                *content = other;
                None
            }
        }
    }

    fn take_response(&self) -> Option<Result<Reply, Redirect>> {
        let mut content = self.content();
        match mem::take(&mut *content) {
            Content::Response(response) => Some(response),
            other => {
                *content = other;
                None
            }
        }
    }
}
