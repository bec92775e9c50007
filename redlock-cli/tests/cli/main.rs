//! `redlock`, as people run it: real processes, on real servers.
//!
//! Each complaint that people have of other commands of this kind has a test here; `docs/cli.md` says which.

mod codes;
mod common;
mod descriptors;
mod helper;
mod kinds;
mod looking;
mod loss;
mod once;
mod pages;
mod scripts;
mod settings;
mod signals;
mod stopped;
mod strangers;
mod streams;
mod terminal;
