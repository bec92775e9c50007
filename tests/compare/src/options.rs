use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::crew::{self, Plan, Programs};
use crate::report;

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
                "--rows" => options.rows = rows(&value()?)?,
                "--repetitions" => options.repetitions = value()?.parse().context("--repetitions is a number")?,
                "--quick" => options.is_quick = true,
                "--only-ours" => options.only_ours = true,
                "--contestants" => options.contestants = contestants(&value()?)?,
                "--json" => options.json = Some(value()?.into()),
                _ => bail!(
                    "there is no option {argument}; use --rows a,b --repetitions N --quick --only-ours \
                     --contestants A,B --json FILE"
                ),
            }
        }
        ensure!(options.repetitions > 0, "--repetitions is at least 1");
        if options.only_ours
            && let Some(peer) = options.contestants.iter().find(|name| crew::PEERS.contains(&name.as_str()))
        {
            bail!("{peer} is a peer, which --only-ours leaves out");
        }
        Ok(options)
    }

    /// Whether one of these rows is wanted.
    pub(crate) fn has(&self, letters: &str) -> bool {
        self.rows.is_empty() || letters.chars().any(|letter| self.rows.contains(letter))
    }

    /// Compiles what is missing for that.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        if let Some(file) = &self.json {
            // Now rather than when everything has been measured.
            report::check_writable(file)?;
        }
        let is_wanted = |peer: &&str| self.contestants.is_empty() || self.contestants.iter().any(|name| name == peer);
        let needs_no_peers = self.only_ours || !crew::PEERS.iter().any(is_wanted);
        let peers = if needs_no_peers { None } else { Some(crew::compile_peers()?) };
        let programs = Programs { ours: std::env::current_exe()?, peers };
        let divisor = if self.is_quick { 5 } else { 1 };
        let patience = Duration::from_secs(10) / divisor;
        Ok(Plan { programs, only: self.contestants.clone(), repetitions: self.repetitions, divisor, patience })
    }
}

/// The letters of some rows, which commas may stand between.
fn rows(wanted: &str) -> anyhow::Result<String> {
    let letters: String = wanted.chars().filter(|letter| *letter != ',').collect();
    ensure!(!letters.is_empty(), "--rows names none; rows are a to k");
    if let Some(unknown) = letters.chars().find(|letter| !matches!(letter, 'a'..='k')) {
        bail!("there is no row {unknown}; rows are a to k");
    }
    Ok(letters)
}

fn contestants(wanted: &str) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = wanted.split(',').map(str::to_owned).collect();
    if let Some(unknown) = names.iter().find(|name| !crew::CONTESTANTS.contains(&name.as_str())) {
        bail!("no contestant is called {unknown:?}; there are {}", crew::CONTESTANTS.join(", "));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(arguments: &str, expect: &str) {
        let error = Options::read(arguments.split(' ').map(str::to_owned)).expect_err(arguments);
        assert!(format!("{error:#}").contains(expect), "{arguments}: {error:#}");
    }

    #[test]
    fn what_would_measure_nothing_or_something_else_is_refused() {
        check_refused("--rows z", "no row z");
        check_refused("--rows ,", "names none");
        check_refused("--repetitions 0", "at least 1");
        check_refused("--repetitions many", "is a number");
        check_refused("--repetitions", "followed by nothing");
        check_refused("--contestants ours,nobody", "no contestant is called \"nobody\"; there are floor,");
        check_refused("--contestants rslock --only-ours", "rslock is a peer");
        check_refused("--fast", "no option --fast");
    }

    #[test]
    fn what_is_asked_for_is_what_is_measured() {
        let options = Options::read("--rows a,d --contestants #[redlock],floor".split(' ').map(str::to_owned)).unwrap();
        assert!(options.has("a") && options.has("d") && !options.has("b") && !options.has("hi"));
        assert_eq!(options.contestants, ["#[redlock]", "floor"]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
        let options = Options::read("--only-ours --json /nonexistent/figures.json".split(' ').map(str::to_owned));
        let error = options.unwrap().plan().unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/figures.json cannot be written"), "{error:#}");
    }
}
