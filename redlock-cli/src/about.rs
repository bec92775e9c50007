//! `redlock completions` and `man`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Arguments;
use crate::exit::Failure;
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  redlock completions bash > /etc/bash_completion.d/redlock
  redlock completions zsh > /usr/local/share/zsh/site-functions/_redlock
  redlock completions fish > ~/.config/fish/completions/redlock.fish")]
pub(crate) struct CompletionsOptions {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  redlock man > /usr/local/share/man/man1/redlock.1
  redlock man run | man -l -")]
pub(crate) struct ManOptions {
    /// Of which command [default: of all]
    command: Option<String>,
}

pub(crate) fn completions(options: &CompletionsOptions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "redlock", &mut script);
    output::all(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(options: &ManOptions) -> Result<ExitCode, Failure> {
    let mut whole = Arguments::command();
    whole.build();
    let (command, title) = match &options.command {
        None => (whole, "redlock".to_owned()),
        Some(name) => {
            let Some(command) = whole.find_subcommand(name) else {
                return Err(Failure::ours(format!("there is no command `{}`; see --help", name.escape_debug())));
            };
            let title = format!("redlock-{name}");
            (command.clone().bin_name(format!("redlock {name}")).display_name(title.clone()), title)
        }
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).title(title).render(&mut page);
    rendered.map_err(|error| Failure::ours(format!("the page cannot be made: {error}")))?;
    output::all(&page)?;
    Ok(ExitCode::SUCCESS)
}
