//! `redlock`: any command under a distributed lock, and every lock seen and mended from a terminal or a page.

mod args;
mod exit;
mod fleet;
mod serve;
mod top;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Top(options) => top::main(&arguments.nodes, options),
        Command::Serve(options) => serve::main(&arguments.nodes, options),
    };
    exit::report(done)
}
