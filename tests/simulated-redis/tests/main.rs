//! The simulated server against a real one: what both are sent, and what they answer.

mod clients;
mod cluster;
mod commands;
mod faults;
mod kinds;
mod pair;
mod random;
mod scripts;
mod session;
mod watching;
mod wire;
