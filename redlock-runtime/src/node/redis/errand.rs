use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::super::{Command, Reply};
use super::link::connection::Live;
use super::{Put, Redirect, send};

/// One command on its way to a server, and its answer on the way back.
///
/// To send a command takes a future of more than a kilobyte. Each lock needs several, and to allocate them, and to move what
/// they are made of there, takes longer than the rest. So there is one that never ends: it carries out one errand after the
/// other, for whoever has it, and waits for the next one on the thread on which the last one ended.
pub(in super::super) struct Errand(Option<Messenger>);

/// Carries out errands.
struct Messenger {
    exchange: Arc<Exchange>,
    /// Runs for ever.
    going: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a messenger is given, and gives back. A std mutex: it is never held across an await.
#[derive(Default)]
struct Exchange(Mutex<Goods>);

#[derive(Default)]
enum Goods {
    #[default]
    None,
    Letter(Live, Arc<Command>, Put),
    Reply(Result<Reply, Redirect>),
}

/// So many wait on a thread at most.
const IDLE: usize = 256;

thread_local! {
    /// Those that have nothing to do. They have no connection and no command.
    static MESSENGERS: RefCell<Vec<Messenger>> = const { RefCell::new(Vec::new()) };
}

impl Errand {
    pub(super) fn begin(live: Live, command: Arc<Command>, put: Put) -> Self {
        // A thread that is ending has none left.
        let idle = MESSENGERS.try_with(|idle| idle.borrow_mut().pop()).ok().flatten();
        let messenger = idle.unwrap_or_else(Messenger::new);
        *messenger.exchange.goods() = Goods::Letter(live, command, put);
        Self(Some(messenger))
    }

    pub(in super::super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Redirect>> {
        let Some(messenger) = &mut self.0 else { unreachable!("a reply that came is not asked for again") };
        let _ = messenger.going.as_mut().poll(cx);
        let Some(reply) = messenger.exchange.take_reply() else { return Poll::Pending };
        let idle = self.0.take();
        let _ = MESSENGERS.try_with(|messengers| {
            let mut messengers = messengers.borrow_mut();
            if messengers.len() < IDLE {
                messengers.extend(idle);
            }
        });
        Poll::Ready(reply)
    }
}

impl Messenger {
    fn new() -> Self {
        let exchange = Arc::new(Exchange::default());
        let going = Box::pin(go(Arc::clone(&exchange)));
        Self { exchange, going }
    }
}

async fn go(exchange: Arc<Exchange>) {
    loop {
        let (mut live, command, put) = poll_fn(|_| exchange.take_letter().map_or(Poll::Pending, Poll::Ready)).await;
        let reply = send(&mut live, &command, put).await;
        *exchange.goods() = Goods::Reply(reply);
    }
}

impl Exchange {
    fn goods(&self) -> MutexGuard<'_, Goods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_letter(&self) -> Option<(Live, Arc<Command>, Put)> {
        let mut goods = self.goods();
        match mem::take(&mut *goods) {
            Goods::Letter(live, command, put) => Some((live, command, put)),
            other => {
                *goods = other;
                None
            }
        }
    }

    fn take_reply(&self) -> Option<Result<Reply, Redirect>> {
        let mut goods = self.goods();
        match mem::take(&mut *goods) {
            Goods::Reply(reply) => Some(reply),
            other => {
                *goods = other;
                None
            }
        }
    }
}
