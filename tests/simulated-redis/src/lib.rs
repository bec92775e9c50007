//! A Redis server for simulations: bytes in, bytes out, time handed in.
//!
//! A [`Server`] has no sockets, threads, clock or randomness, so a test that drives it sees the same each time. It speaks
//! the commands that redlock sends, in both protocols, and runs redlock's Lua scripts as they are shipped. Whatever it does
//! not know it refuses as Redis does, and lists in [`Server::unknown`], so that a simulation notices.
//!
//! ```
//! use std::time::Duration;
//!
//! use redlock_simulated_redis::{ConnectionId, Effect, Server, Settings};
//!
//! let mut server = Server::new(Settings::default());
//! let client = ConnectionId(0);
//! server.open(client);
//! let effects = server.receive(client, b"SET k v PX 500\r\nGET k\r\n", Duration::from_secs(1));
//! assert_eq!(effects, [Effect::Send { to: client, bytes: b"+OK\r\n$1\r\nv\r\n".to_vec() }]);
//! assert_eq!(server.next_expiry(), Some(Duration::from_millis(1501)));
//! ```
//!
//! It differs from Redis in this: there is one database, and nobody has to sign in; WAIT answers at once; errors of scripts
//! are worded as they are since version 7; and keys expire when [`Server::advance`] says so, or when they are asked for.
//!
//! # Layout
//!
//! - [`server`]: [`Server`], its connections and what goes wrong with it
//! - `connection`: what the server knows about one connection
//! - `parser`: commands out of bytes
//! - `reply`: replies into bytes
//! - `commands`: what each command does
//! - `script`: Lua
//! - `keyspace`: the keys, and what changed
//! - `value`: what a key holds
//! - `number`: numbers as Redis reads and writes them

pub mod server;

mod connection;

mod parser;

mod reply;

mod commands;

mod script;

mod keyspace;

mod value;

mod number;

pub use keyspace::{Event, Key};
pub use server::{Cluster, ConnectionId, Effect, Held, Moved, Refusal, Role, Server, Settings, slot_of};
