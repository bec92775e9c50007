//! The arguments, as clap reads them; each command's own stand in its module.

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use redlock_runtime::{LockManager, LockManagerBuilder};
use serde::{Deserialize, Serialize};

use crate::exit::{CODES, Failure, OURS, tell};
use crate::{about, doctor, duration, look, reset, run, serve, token, top, watch};

/// Runs commands under a distributed lock, and shows who holds what.
#[derive(Debug, Parser)]
#[command(name = "redlock", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{CODES}"))]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  export REDLOCK_NODES=redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3
  redlock run deploy -- ./deploy.sh       one machine at a time
  redlock list                            what is held
  redlock inspect deploy                  who holds it, since when, and who waits
  redlock doctor                          whether locks work on these nodes, and what to do if not

Exit codes are listed by `redlock --help`.";

/// Which servers hold the locks, and what everybody has to set alike who uses them.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Nodes {
    // What clap shows is no Markdown.
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// URLs of the nodes, separated by commas [env: REDLOCK_NODES] [default: redis://127.0.0.1:6379, which excludes no other machine]
    ///
    /// Name the same nodes on all machines, in a crontab too: its jobs do not see the environment of your shell.
    ///
    /// Whoever may list processes sees arguments: put URLs with passwords in the environment, or the password alone
    /// in REDLOCK_PASSWORD (with REDLOCK_USERNAME).
    #[arg(long = "nodes", global = true, value_name = "URLS", help_heading = "Nodes")]
    urls: Option<String>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// How long one node may take to answer [env: REDLOCK_NODE_TIMEOUT] [default: 250ms]
    ///
    /// For nodes that are far away. One that takes longer does not vote.
    #[arg(long, global = true, value_name = "DURATION", help_heading = "Nodes", hide_short_help = true, value_parser = duration::parse)]
    node_timeout: Option<Duration>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// What stands before a lock's name in its key [env: REDLOCK_LOCK_PREFIX] [default: redlock:ConfigurableLock.]
    #[arg(long, global = true, value_name = "TEXT", help_heading = ALIKE, hide_short_help = true)]
    lock_prefix: Option<String>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// The longest TTL of any lock on these nodes [env: REDLOCK_LONGEST_TTL] [default: 5m]
    ///
    /// It is also how long a node that restarted empty is kept from voting.
    #[arg(long, global = true, value_name = "DURATION", help_heading = ALIKE, hide_short_help = true, value_parser = duration::parse)]
    longest_ttl: Option<Duration>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// How long completed runs (--once) are remembered [env: REDLOCK_MARKS_RETENTION] [default: 7d]
    #[arg(long, global = true, value_name = "DURATION", help_heading = ALIKE, hide_short_help = true, value_parser = duration::parse)]
    marks_retention: Option<Duration>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// How much the clocks of the machines may differ, or `none` [env: REDLOCK_MAX_CLOCK_SKEW] [default: 1m]
    #[arg(long, global = true, value_name = "DURATION", help_heading = ALIKE, hide_short_help = true)]
    max_clock_skew: Option<ClockSkew>,
    #[expect(clippy::doc_markdown, reason = "it is shown as it stands here")]
    /// A vote counts once so many replicas have it within this time: 1/100ms [env: REDLOCK_WAIT_REPLICAS]
    #[arg(long, global = true, value_name = "REPLICAS/DURATION", help_heading = ALIKE, hide_short_help = true)]
    wait_replicas: Option<WaitReplicas>,
}

/// What people are shown above the settings that decide who excludes whom.
const ALIKE: &str = "The same in all programs that use these nodes";

/// How much clocks may differ, or that none is trusted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct ClockSkew(Option<Duration>);

impl FromStr for ClockSkew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        duration::parse(text).map(|skew| Self(Some(skew))).map_err(|error| format!("{error}; or `none`"))
    }
}

/// How many replicas have to have a vote, within what time.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct WaitReplicas(usize, Duration);

impl FromStr for WaitReplicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('/').and_then(|(replicas, within)| {
            let (replicas, within) = (replicas.parse().ok()?, duration::parse(within).ok()?);
            Some(Self(replicas, within))
        });
        read.ok_or_else(|| format!("`{text}` does not say how many replicas, and within what time: write 1/100ms"))
    }
}

impl Nodes {
    /// A manager of these nodes; without any, of those that the environment names. Credentials and certificates are the
    /// environment's in both cases.
    pub(crate) fn manager(&self) -> Result<LockManager, Failure> {
        Ok(self.builder()?.build()?)
    }

    /// The same, for settings of a command's own.
    pub(crate) fn builder(&self) -> Result<LockManagerBuilder, Failure> {
        let mut builder = LockManager::builder_from_env()?;
        if let Some(urls) = &self.urls {
            if urls.trim_matches([',', ' ']).is_empty() {
                return Err(Failure::ours(
                    "--nodes names no node; write --nodes redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3, or omit it",
                ));
            }
            builder = builder.nodes_in_text(urls);
        }
        if let Some(timeout) = self.node_timeout {
            builder = builder.node_timeout(timeout);
        }
        if let Some(prefix) = &self.lock_prefix {
            builder = builder.lock_prefix(prefix);
        }
        if let Some(longest) = self.longest_ttl {
            builder = builder.longest_ttl(longest);
        }
        if let Some(retention) = self.marks_retention {
            builder = builder.marks_retention(retention);
        }
        if let Some(ClockSkew(skew)) = self.max_clock_skew {
            builder = builder.max_clock_skew(skew);
        }
        if let Some(WaitReplicas(replicas, within)) = self.wait_replicas {
            builder = builder.wait_replicas(replicas, within);
        }
        Ok(builder)
    }

    /// Whether whoever holds a lock here keeps others from it: nodes in the memory of a process are each process's own.
    pub(crate) fn check_shared(&self) -> Result<(), Failure> {
        let in_environment = || std::env::var("REDLOCK_NODES").ok();
        let urls = self.urls.clone().or_else(in_environment).unwrap_or_default();
        if urls.split(',').any(|url| url.trim().starts_with("memory:")) {
            return Err(Failure::ours(
                "a memory:// node is of one process alone, so that nobody else would be kept out; name redis-servers, such as \
                 --nodes redis://127.0.0.1:6379",
            ));
        }
        Ok(())
    }
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command while this machine holds a lock
    Run(run::Options),
    /// Acquire a lock for a script, and print its token
    Acquire(token::AcquireOptions),
    /// Let a lock that a script holds live longer
    Extend(token::ExtendOptions),
    /// Release a lock that a script holds
    Release(token::ReleaseOptions),
    /// Name all locks that are held
    List(look::ListOptions),
    /// Tell who holds a lock, since when and for how long, and how many wait for it
    Inspect(look::InspectOptions),
    /// Take a lock from whoever holds it
    Reset(reset::Options),
    /// Wait until a lock is free, without taking it
    Wait(watch::WaitOptions),
    /// Print a line whenever the holder of a lock changes
    Watch(watch::WatchOptions),
    /// Tell which run of a job with --once was completed last
    Last(look::LastOptions),
    /// Examine the nodes: whether locks work on them, and what to do if not
    Doctor(doctor::Options),
    /// A live table of all locks
    Top(top::Options),
    /// The same as a page, and metrics for Prometheus
    Serve(serve::Options),
    /// Print what completes these arguments in a shell
    Completions(about::CompletionsOptions),
    /// Print the manual page, of all or of one command
    Man(about::ManOptions),
}

/// Reads the arguments; else the code to end with, behind a line that says what is wrong with them, or the help that was asked for.
pub(crate) fn read(arguments: Vec<OsString>) -> Result<Arguments, ExitCode> {
    Arguments::try_parse_from(arguments).map_err(|error| {
        if !error.use_stderr() {
            return match error.print() {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    tell(format_args!("nothing can be written to stdout: {error}"));
                    ExitCode::from(OURS)
                }
                // Whoever asked may have stopped to read.
                Ok(()) | Err(_) => ExitCode::SUCCESS,
            };
        }
        tell(match error.kind() {
            // clap says all that there is, at the length of a screen.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => NO_COMMAND.to_owned(),
            _ => in_one_line(&error.to_string()),
        });
        ExitCode::from(OURS)
    })
}

/// What is wrong with no command at all.
const NO_COMMAND: &str =
    "no command is given; write `redlock run NAME -- COMMAND`, or see --help for the other commands";

/// What is wrong, and what helps, of what clap says in several lines.
fn in_one_line(text: &str) -> String {
    let shown = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_for_others = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
    let lines: Vec<_> = shown.filter(is_for_others).map(|line| line.trim_start_matches("error: ")).collect();
    let said = lines.join(" ").replace(" tip: ", "; tip: ");
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    match usage {
        Some(usage) => format!("{said}; write `{usage}`, or see --help"),
        None => format!("{said}; see --help"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_node_timeout_is_that_of_the_manager() {
        let arguments = ["redlock", "list", "--nodes", "redis://127.0.0.1", "--node-timeout", "1234ms"];
        let builder = Arguments::try_parse_from(arguments).unwrap().nodes.builder();
        let shown = builder.map(|builder| format!("{builder:?}")).map_err(|failure| failure.message).unwrap();
        assert!(shown.contains("node_timeout: 1.234s"), "{shown}");
    }

    fn of_each_command(check: impl Fn(&str, &clap::Command, String)) {
        let mut whole = Arguments::command();
        whole.build();
        let commands = whole.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands {
            let help = command.clone().bin_name(format!("redlock {}", command.get_name())).render_long_help();
            check(command.get_name(), command, help.to_string());
        }
    }

    #[test]
    fn the_help_of_every_command_has_examples_that_can_be_written_so() {
        of_each_command(|name, _, help| {
            let (_, examples) =
                help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples: {help}"));
            assert!(examples.contains(&format!("redlock {name}")), "{name}: {examples}");
            for line in examples.lines().map_while(|line| line.strip_prefix("  ")) {
                // Up to the explanation, or what only a shell understands.
                let Some(example) = line.strip_prefix("redlock ") else { continue };
                let example = ["  ", " | ", " && ", " > ", " <"]
                    .iter()
                    .fold(example, |example, end| example.split_once(end).map_or(example, |(before, _)| before));
                let arguments = std::iter::once("redlock").chain(example.split_whitespace());
                let read = Arguments::try_parse_from(arguments);
                assert!(read.is_ok(), "{name}: {line}: {}", read.unwrap_err());
            }
        });
    }

    #[test]
    fn codes_that_a_command_alone_ends_with_are_in_its_own_help() {
        of_each_command(|name, _, help| {
            let codes: &[&str] = match name {
                "run" => &["128+n", "75", "69", "122", "124", "125", "126", "127"],
                "acquire" => &["128+n", "75", "69", "125"],
                "extend" | "release" => &["69", "122", "125"],
                "list" | "inspect" | "top" | "reset" => &["0 ", "69", "125"],
                "wait" => &["0 ", "75", "69", "125"],
                "watch" => &["0 ", "125"],
                "last" => &["1 ", "69", "125"],
                "doctor" => &["1 ", "2 ", "125"],
                _ => return,
            };
            let (_, told) = help.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{name} has no codes: {help}"));
            for code in codes {
                assert!(told.lines().any(|line| line.trim_start().starts_with(code)), "{name}, {code}: {told}");
            }
        });
        let of_all = Arguments::command().render_long_help().to_string();
        for told in ["`last`: no completed run", "`doctor`: no lock can be acquired"] {
            assert!(of_all.contains(told), "{told}: {of_all}");
        }
    }

    #[test]
    fn every_command_that_tells_something_tells_it_to_programs_too() {
        of_each_command(|name, command, _| {
            let tells = ["list", "inspect", "last", "wait", "watch", "reset", "doctor", "top"].contains(&name);
            assert_eq!(command.get_arguments().any(|argument| argument.get_id() == "json"), tells, "{name}");
        });
    }

    #[test]
    fn the_help_says_what_it_means_to_name_no_nodes() {
        let short = Arguments::command().render_help().to_string();
        of_each_command(|name, command, long| {
            let of_command = command.clone().render_help().to_string();
            for help in [&short, &of_command, &long] {
                let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains("127.0.0.1:6379, which excludes no other machine"), "{name}: {help}");
            }
        });
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_cure() {
        for (arguments, expect) in [
            (&["redlock", "run", "x"][..], "<COMMAND>"),
            (&["redlock", "run", "--", "true"], "<NAME>"),
            (&["redlock", "run", "-n", "-w", "5", "x", "--", "true"], "cannot be used with"),
            (&["redlock", "run", "-w", "soon", "x", "--", "true"], "write 5s, 250ms, 2m"),
            (&["redlock", "run", "--onec", "1h", "x", "--", "true"], "--once"),
            (&["redlock", "run", "-E", "-1", "x", "--", "true"], "-1 is not in 0..=255"),
            (&["redlock", "run", "-w", "-1", "x", "--", "true"], "write 5s, 250ms, 2m"),
            (&["redlock", "inspekt"], "; tip: a similar subcommand exists: 'inspect'"),
        ] {
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            let line = in_one_line(&error.to_string());
            assert!(line.contains(expect) && line.contains("--help") && !line.contains('\n'), "{line}");
        }
    }
}
