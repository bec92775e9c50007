//! What is seen of a whole fleet: its locks, who holds and wants them, and the nodes; kept up to date for as long as somebody
//! looks.
//!
//! The nodes say which locks changed, and those are looked at. Nobody is told of everything, such as who waits, so this asks all the
//! same: for all locks page by page, the faster the fewer there are; for those that somebody has on the screen, and the nodes, every
//! second. What it looked at stands in a [`Model`], which decides what changed, and of which each viewer takes the [`Window`] that is
//! shown.

mod chart;
mod history;
mod json;
mod look;
mod model;
mod row;
mod text;
mod window;

pub(crate) use self::history::{Change, Event};
pub(crate) use self::json::{EventJson, LockJson, NodeJson};
pub(crate) use self::look::{Fleet, Viewer, look_once};
pub(crate) use self::model::{Lamp, Model};
pub(crate) use self::row::{Row, State};
pub(crate) use self::text::padded;
pub(crate) use self::window::{Order, Sort, Window};
