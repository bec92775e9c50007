//! What the tokio runtime of a caller can do: one may be built without timers, or without sockets, and panics when it is asked
//! for them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::process::PerProcess;
use super::tasks::{Handle, Id};
use crate::Error;

/// Where something is called.
pub(crate) enum Place {
    /// On this runtime.
    Runtime(Handle),
    /// On none.
    Nowhere,
    /// On a thread that is ending, whose thread-locals tokio cannot use any more.
    EndingThread,
}

/// Which drivers a runtime has, as far as that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drivers {
    time: Option<bool>,
    io: Option<bool>,
}

/// What a call uses of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uses {
    /// Timers alone.
    Time,
    /// Timers and sockets.
    Sockets,
}

thread_local! {
    /// The runtime that this thread asked for its drivers last. Nothing in it is dropped, so threads that are ending have it too.
    static ASKED: Cell<Option<(Id, Drivers)>> = const { Cell::new(None) };

    /// Whether tokio's thread-locals are gone; they never come back.
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
}

/// The runtimes that lack a driver: none is asked twice, because each time is a panic.
static INCAPABLE: PerProcess<RwLock<Vec<(Id, Drivers)>>> = PerProcess::new();

impl Place {
    pub(crate) fn of_caller() -> Self {
        match Handle::try_current() {
            Ok(runtime) => Self::Runtime(runtime),
            Err(error) if error.is_thread_local_destroyed() => {
                IS_ENDING.set(true);
                Self::EndingThread
            }
            Err(_) => Self::Nowhere,
        }
    }
}

/// Whether this thread was seen to be ending.
pub(crate) fn is_on_ending_thread() -> bool {
    IS_ENDING.get()
}

/// Whether the current runtime, which this is, has what is used of it.
///
/// # Errors
///
/// [`Error::Config`], which names what is missing.
pub(crate) fn check(runtime: &Handle, uses: Uses) -> Result<(), Error> {
    #[cfg(redlock_simulated)]
    if runtime.is_simulated() {
        return Ok(());
    }
    let drivers = Drivers::of(runtime.id(), uses);
    let missing = match (drivers.time, drivers.io) {
        (Some(false), Some(false)) if uses == Uses::Sockets => "time driver and no IO driver",
        (Some(false), _) => "time driver",
        (_, Some(false)) if uses == Uses::Sockets => "IO driver",
        _ => return Ok(()),
    };
    Err(Error::Config {
        reason: format!(
            "the tokio runtime of this call has no {missing}, without which no lock can be had on it; build it with \
             `.enable_all()`, or use the blocking twin of the call"
        ),
    })
}

/// Whether the current runtime, which this is, has what is used of it, and lacks nothing else that was asked for before.
pub(crate) fn is_fit(runtime: &Handle, uses: Uses) -> bool {
    #[cfg(redlock_simulated)]
    if runtime.is_simulated() {
        return true;
    }
    !Drivers::of(runtime.id(), uses).is_incapable()
}

impl Drivers {
    fn of(id: Id, uses: Uses) -> Self {
        let is_enough = |drivers: &Self| drivers.time.is_some() && (uses == Uses::Time || drivers.io.is_some());
        let asked = ASKED.get().filter(|(asked, _)| *asked == id).map(|(_, drivers)| drivers);
        if let Some(drivers) = asked.filter(is_enough) {
            return drivers;
        }
        let incapable = INCAPABLE.noted();
        let find = |all: &[(Id, Self)]| all.iter().position(|(asked, _)| *asked == id);
        let known = {
            let incapable = incapable.read().unwrap_or_else(PoisonError::into_inner);
            find(&incapable).map(|position| incapable[position].1)
        };
        let known = known.or(asked);
        let drivers = known.unwrap_or_default().asked_for(uses);
        if drivers.is_incapable() && known != Some(drivers) {
            let mut incapable = incapable.write().unwrap_or_else(PoisonError::into_inner);
            match find(&incapable) {
                Some(position) => incapable[position].1 = drivers,
                None => incapable.push((id, drivers)),
            }
        }
        ASKED.set(Some((id, drivers)));
        drivers
    }

    fn is_incapable(self) -> bool {
        self.time == Some(false) || self.io == Some(false)
    }

    /// Tokio has no other way to ask the current runtime than to use its drivers, and panics for those that are missing.
    fn asked_for(self, uses: Uses) -> Self {
        let has = |use_it: fn()| catch_unwind(AssertUnwindSafe(use_it)).is_ok();
        let time = self.time.unwrap_or_else(|| has(|| drop(tokio::time::sleep(Duration::ZERO))));
        let io = match uses {
            Uses::Time => self.io,
            Uses::Sockets => Some(self.io.unwrap_or_else(|| has(open_socket))),
        };
        Self { time: Some(time), io }
    }
}

/// A socket that is connected to nothing. Without a file descriptor for it nothing is known: the connections will tell.
#[cfg(unix)]
fn open_socket() {
    let _socket = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        tokio::net::UnixDatagram::from_std(socket)
    });
}

#[cfg(not(unix))]
fn open_socket() {
    let _socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(socket)
    });
}
