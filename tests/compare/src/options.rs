use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::crew::{self, Plan, Programs};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// The letters of the rows; empty: all.
    rows: String,
    /// How often all take turns.
    pub(crate) repetitions: usize,
    /// Whether to have short turns.
    pub(crate) is_quick: bool,
    /// Who takes part; empty: all.
    contestants: Vec<String>,
    /// Whether to leave the peers out.
    only_ours: bool,
    /// Where every single figure goes.
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            rows: String::new(),
            repetitions: 5,
            is_quick: false,
            contestants: Vec::new(),
            only_ours: false,
            json: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} is followed by nothing"));
            match argument.as_str() {
                "--rows" => options.rows = value()?,
                "--repetitions" => options.repetitions = value()?.parse().context("--repetitions is a number")?,
                "--quick" => options.is_quick = true,
                "--only-ours" => options.only_ours = true,
                "--contestants" => options.contestants = value()?.split(',').map(str::to_owned).collect(),
                "--json" => options.json = Some(value()?.into()),
                _ => bail!(
                    "there is no option {argument}; use --rows a,b --repetitions N --quick --only-ours \
                     --contestants A,B --json FILE"
                ),
            }
        }
        if let Some(unknown) = options.rows.chars().find(|letter| !matches!(letter, 'a'..='j' | ',')) {
            bail!("there is no row {unknown}; rows are a to j");
        }
        if options.repetitions == 0 {
            bail!("--repetitions is at least 1");
        }
        Ok(options)
    }

    /// Whether one of these rows is wanted.
    pub(crate) fn has(&self, letters: &str) -> bool {
        self.rows.is_empty() || letters.chars().any(|letter| self.rows.contains(letter))
    }

    /// Compiles what is missing for that.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let is_wanted = |peer: &&str| self.contestants.is_empty() || self.contestants.iter().any(|name| name == peer);
        let needs_no_peers = self.only_ours || !crew::PEERS.iter().any(is_wanted);
        let peers = if needs_no_peers { None } else { Some(crew::compile_peers()?) };
        let programs = Programs { ours: std::env::current_exe()?, peers };
        let divisor = if self.is_quick { 5 } else { 1 };
        let patience = Duration::from_secs(10) / divisor;
        Ok(Plan { programs, only: self.contestants.clone(), repetitions: self.repetitions, divisor, patience })
    }
}
