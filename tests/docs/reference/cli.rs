//! The command line, as its parser describes itself.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};
use rlaif::cli::Cli;

const HEAD: &str = "\
# Command line

What `--help` of each verb says; a test holds this page against the parser. Exit codes: 0, 1 for an error (and for a
reproduction that differs), 2 for a command line that cannot be read, 130 after Ctrl-C.

";

fn made() -> String {
    let mut text = HEAD.to_string();
    let mut cli = Cli::command();
    cli.build();
    for verb in cli
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        add(verb, &mut text);
    }
    text.trim_end().to_string() + "\n"
}

fn add(verb: &Command, text: &mut String) {
    writeln!(text, "## `rlaif {}`\n", verb.get_name()).unwrap();
    let about = verb.get_long_about().or_else(|| verb.get_about());
    writeln!(
        text,
        "{}\n",
        about.map(ToString::to_string).unwrap_or_default()
    )
    .unwrap();
    let options = verb
        .get_arguments()
        .filter(|option| option.get_id() != "help");
    let rows: Vec<String> = options.map(row).collect();
    if !rows.is_empty() {
        writeln!(text, "| | |\n|---|---|\n{}\n", rows.join("\n")).unwrap();
    }
}

fn row(option: &Arg) -> String {
    let value = option.get_value_names().unwrap_or_default();
    let value: Vec<String> = value.iter().map(ToString::to_string).collect();
    let shown = match option.get_long() {
        Some(long) if option.get_action().takes_values() => format!("--{long} {}", value.join(" ")),
        Some(long) => format!("--{long}"),
        None => value.join(" "),
    };
    let help = option
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let defaults = option
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy());
    let default = defaults.collect::<Vec<_>>().join(", ");
    let default = match option.get_action().takes_values() && !default.is_empty() {
        true => format!(" Default: `{default}`."),
        false => String::new(),
    };
    let values = option.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let values = match option.get_action().takes_values() && !values.is_empty() {
        true => format!(" One of {}.", values.join(", ")),
        false => String::new(),
    };
    let help = help
        .trim_end_matches('.')
        .replace('\n', " ")
        .replace('|', "\\|");
    format!(
        "| `{}` | {help}.{values}{default} |",
        shown.replace('|', "\\|")
    )
}

#[test]
fn the_command_line_is_described_as_it_is() {
    super::check("cli.md", &made());
}
