//! The arguments, as clap reads them; each command's own stand in its module.

use clap::{Args, Parser, Subcommand};
use redlock_runtime::LockManager;

use crate::exit::Failure;
use crate::{serve, top};

/// Runs commands under a distributed lock, and shows who holds what.
#[derive(Debug, Parser)]
#[command(name = "redlock", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which servers hold the locks.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// URLs of the nodes, separated by commas
    #[arg(long, global = true, env = "REDLOCK_NODES", hide_env_values = true)]
    pub(crate) nodes: Option<String>,
}

impl Nodes {
    /// A manager of these nodes; without any, of what the environment says.
    pub(crate) fn manager(&self) -> Result<LockManager, Failure> {
        todo!("the first commit of the command line")
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Top(top::Options),
    Serve(serve::Options),
}
