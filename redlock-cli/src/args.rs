//! The arguments, as clap reads them; each command's own stand in its module.

use clap::{Args, Parser, Subcommand};
use redlock_runtime::{LockManager, LockManagerBuilder};

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
    /// URLs of the nodes, separated by commas [env: REDLOCK_NODES] [default: redis://127.0.0.1:6379]
    ///
    /// Whoever may list processes sees arguments: URLs with passwords belong into the environment, or the password alone
    /// into REDLOCK_PASSWORD (with REDLOCK_USERNAME).
    #[arg(long, global = true, value_name = "URLS", help_heading = "Nodes")]
    pub(crate) nodes: Option<String>,
}

impl Nodes {
    /// A manager of these nodes; without any, of those that the environment names. Credentials and certificates are the
    /// environment's in both cases.
    pub(crate) fn manager(&self) -> Result<LockManager, Failure> {
        Ok(self.builder()?.build()?)
    }

    /// The same, for settings of a command's own.
    pub(crate) fn builder(&self) -> Result<LockManagerBuilder, Failure> {
        let builder = LockManager::builder_from_env()?;
        Ok(match &self.nodes {
            Some(urls) => builder.nodes_in_text(urls),
            None => builder,
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Top(top::Options),
    Serve(serve::Options),
}
