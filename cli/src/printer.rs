//! The only way out of the program: stdout carries the result, stderr carries the talk.

use std::{
    borrow::Cow,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
};

use console::{Style, Term};
use lambdaload_core::summary::Terminal;

use crate::error::Failure;

/// Colours, or none. Everything is understandable without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Plain text.
    #[cfg(test)]
    pub(crate) const OFF: Self = Self { on: false };

    /// Whether it colours anything.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// For headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with(&Style::new().bold(), text)
    }

    /// For what is there but matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with(&Style::new().dim(), text)
    }

    /// For what is well.
    pub(crate) fn green(self, text: &str) -> String {
        self.with(&Style::new().green(), text)
    }

    /// For what deserves a look.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.with(&Style::new().yellow(), text)
    }

    /// For what is bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.with(&Style::new().red(), text)
    }

    fn with(self, style: &Style, text: &str) -> String {
        if self.on { style.clone().force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }
}

/// Text from elsewhere without the characters that could steer a terminal: the script chooses names, and errors may
/// quote any file.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && character != '\n' && character != '\t';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

/// The same on one line, for what stands in a table or a block.
pub(crate) fn one_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// What the script wants shown on a terminal: with its colours, and without all else that could steer it.
fn coloured(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        let (before, sequence) = rest.split_at(start);
        let parameters = sequence.chars().skip(2).take_while(|c| c.is_ascii_digit() || *c == ';' || *c == ':').count();
        let (sequence, after) = sequence.split_at(2 + parameters);
        let is_colour = after.starts_with('m');
        shown += &harmless(before);
        shown += &if is_colour { Cow::Borrowed(sequence) } else { harmless(sequence) };
        rest = after;
    }
    shown + &harmless(rest)
}

fn for_terminal(bytes: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    if is_terminal {
        coloured(&String::from_utf8_lossy(bytes).replace("\r\n", "\n")).into_bytes().into()
    } else {
        bytes.into()
    }
}

/// Where bytes leave the program.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    quiet: bool,
    colors: bool,
    /// Colours of stdout.
    pub(crate) result_paint: Paint,
    /// Colours of stderr.
    pub(crate) talk_paint: Paint,
    stdout: Term,
    stderr: Term,
}

impl Printer {
    /// `quiet` leaves nothing of the talk but errors; `colors` allows colours where there is a terminal.
    pub(crate) fn new(quiet: bool, colors: bool) -> Self {
        let (stdout, stderr) = (Term::buffered_stdout(), Term::buffered_stderr());
        let smart = !console::is_dumb();
        Self {
            quiet,
            colors,
            result_paint: Paint { on: colors && smart && stdout.is_term() },
            talk_paint: Paint { on: colors && smart && stderr.is_term() },
            stdout,
            stderr,
        }
    }

    /// Writes a result to stdout. A reader that has gone (`| head`) wanted no more of it, which is no error.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        self.write_result(text.as_bytes())
    }

    /// Writes to stdout what the script wants there: to a file or pipe as it is.
    pub(crate) fn scripts_result(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_result(&for_terminal(bytes, self.stdout.is_term()))
    }

    fn write_result(&self, bytes: &[u8]) -> Result<(), Failure> {
        match (&self.stdout).write_all(bytes).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::infrastructure("the result cannot be written to stdout").detail(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Writes lines to stderr, unless quiet. Nobody may be listening there, which is no error either.
    pub(crate) fn talk(&self, text: &str) {
        if !self.quiet {
            self.write_talk(text);
        }
    }

    /// Writes to stderr what the script wants there, quiet or not.
    pub(crate) fn scripts_talk(&self, bytes: &[u8]) {
        let _ = (&self.stderr).write_all(&for_terminal(bytes, self.stderr.is_term()));
        let _ = self.stderr.flush();
    }

    /// What a script is told of where its text will be shown.
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal { no_color: !self.colors, stdout: self.stdout.is_term(), stderr: self.stderr.is_term() }
    }

    /// Says what went wrong, quiet or not.
    pub(crate) fn error(&self, failure: &Failure) {
        self.write_talk(&format!("{} {}", self.talk_paint.red("error:"), failure.lines()));
    }

    /// Says what went wrong with something that does not change the result.
    pub(crate) fn warning(&self, failure: &Failure) {
        self.write_talk(&format!("{} {}", self.talk_paint.yellow("warning:"), failure.lines()));
    }

    /// What clap says of a command line it cannot read, or its help.
    pub(crate) fn usage(&self, error: &clap::Error) -> Result<(), Failure> {
        let text = error.render();
        let (to_stderr, paint) = if error.use_stderr() { (true, self.talk_paint) } else { (false, self.result_paint) };
        let text = if paint.is_on() { text.ansi().to_string() } else { text.to_string() };
        if to_stderr {
            self.write_talk(&text);
            return Ok(());
        }
        self.result(&text)
    }

    /// Whether there is a person at a terminal who would see a question and could answer it.
    pub(crate) fn can_ask(&self) -> bool {
        self.stderr.is_term() && io::stdin().is_terminal()
    }

    /// Writes a question, quiet or not; the answer is to follow on the same line.
    pub(crate) fn ask(&self, question: &str) {
        let _ = self.stderr.write_str(question);
        let _ = self.stderr.flush();
    }

    /// The terminal on which a block can be redrawn: none when quiet, or when stderr is no terminal that can.
    pub(crate) fn live_terminal(&self) -> Option<Term> {
        (!self.quiet && self.stderr.is_term() && !console::is_dumb()).then(|| self.stderr.clone())
    }

    /// Columns of stdout, if it is a terminal. One too narrow to show anything is taken for one that does not know.
    pub(crate) fn result_terminal_width(&self) -> Option<usize> {
        let (_, columns) = self.stdout.size_checked()?;
        Some(usize::from(columns)).filter(|columns| *columns >= 20)
    }

    fn write_talk(&self, text: &str) {
        let line_end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = self.stderr.write_str(&format!("{text}{line_end}"));
        let _ = self.stderr.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(harmless("\u{1b}[2Jgone\n\tä"), "\u{fffd}[2Jgone\n\tä");
        assert_eq!(one_line("a\r\nb\tc"), "a\u{fffd} b c");
    }

    #[test]
    fn a_script_may_colour_and_do_nothing_else() {
        let text = "\u{1b}[1;32mgreen\u{1b}[0m \u{1b}[2J\u{1b}]0;title\u{7} \u{1b}[";
        assert_eq!(coloured(text), "\u{1b}[1;32mgreen\u{1b}[0m \u{fffd}[2J\u{fffd}]0;title\u{fffd} \u{fffd}[");
        assert_eq!(*for_terminal(b"\xff\x1b[2J", false), *b"\xff\x1b[2J");
    }

    #[test]
    fn colours_are_an_extra() {
        assert_eq!(Paint::OFF.red("bad"), "bad");
        assert_eq!(Paint { on: true }.red("bad"), "\u{1b}[31mbad\u{1b}[0m");
    }
}
