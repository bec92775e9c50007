//! `redlock`: any command under a distributed lock, and every lock seen and mended from a terminal or a page.

#[cfg(not(unix))]
compile_error!("redlock-cli needs a Unix: processes, their groups and signals are what `redlock run` is about");

mod about;
mod args;
mod clock;
mod doctor;
mod duration;
mod exit;
mod fires;
mod fleet;
mod look;
mod output;
mod owner;
mod request;
mod reset;
mod run;
mod serve;
mod signals;
mod token;
mod token_file;
mod top;
mod waits;
mod watch;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = run::hidden(arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    let arguments = match args::read(arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let nodes = &arguments.nodes;
    exit::report(match arguments.command {
        Command::Run(options) => run::main(nodes, options),
        Command::Acquire(options) => token::acquire(nodes, &options),
        Command::Extend(options) => token::extend(nodes, &options),
        Command::Release(options) => token::release(nodes, &options),
        Command::List(options) => look::list(nodes, &options),
        Command::Inspect(options) => look::inspect(nodes, &options),
        Command::Reset(options) => reset::main(nodes, &options),
        Command::Wait(options) => watch::wait(nodes, &options),
        Command::Watch(options) => watch::watch(nodes, &options),
        Command::Last(options) => look::last(nodes, &options),
        Command::Doctor(options) => doctor::main(nodes, &options),
        Command::Top(options) => top::main(nodes, &options),
        Command::Serve(options) => serve::main(nodes, &options),
        Command::Completions(options) => about::completions(&options),
        Command::Man(options) => about::man(&options),
    })
}
