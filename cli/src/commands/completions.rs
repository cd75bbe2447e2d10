//! `lambdaload completions`

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::CommandLine, error::Failure, exit, printer::Printer};

/// Prints a shell's completions.
pub(super) fn completions(shell: Shell, printer: &Printer) -> Result<i32, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut for_people(&CommandLine::command()), "lambdaload", &mut script);
    printer.result(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}

/// The command without what is hidden in it, which completions would offer all the same.
fn for_people(command: &Command) -> Command {
    let commands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).cloned();
    Command::new("lambdaload").version("").args(command.get_arguments().cloned()).subcommands(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_offered() {
        let command = for_people(&CommandLine::command());
        let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(
            names,
            [
                "run",
                "plan",
                "runs",
                "watch",
                "stop",
                "scale",
                "logs",
                "schedule",
                "destroy",
                "image",
                "doctor",
                "completions"
            ]
        );
        assert!(command.get_arguments().any(|argument| argument.get_id() == "quiet"));
    }
}
