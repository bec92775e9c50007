//! Functions whose attribute compiles without a warning, and what they do.
#![deny(warnings)]

mod names_and_modes;
mod once_per_fire;
mod permits;
mod unsafe_functions;
