//! `redlock serve`.

use std::process::ExitCode;

use clap::Args;

use crate::args::Nodes;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let _ = (nodes, options);
    todo!("the first commit of this command")
}
