//! What a person sees while a run runs.

mod block;
mod log;
mod screen;
mod words;

use lambdaload_core::live::LiveState;

use self::{block::Frame, log::Log, screen::Screen};
use crate::printer::Printer;

/// A run under way, on stderr: a block that is drawn again with every state, or lines where there is no terminal.
#[derive(Debug)]
pub(crate) struct LiveView {
    printer: Printer,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Block { screen: Screen, state: Option<Box<LiveState>> },
    Lines(Log),
}

impl LiveView {
    /// Shows nothing yet.
    pub(crate) fn new(printer: &Printer) -> Self {
        let form = match printer.live_terminal() {
            Some(terminal) => Form::Block { screen: Screen::new(terminal), state: None },
            None => Form::Lines(Log::default()),
        };
        Self { printer: printer.clone(), form }
    }

    /// Shows a new state.
    pub(crate) fn update(&mut self, new: LiveState) {
        match &mut self.form {
            Form::Block { screen, state } => {
                *state = Some(Box::new(new));
                redraw(screen, state.as_deref(), None, &self.printer);
            }
            Form::Lines(log) => {
                if let Some(line) = log.next(&new) {
                    self.printer.talk(&line);
                }
            }
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&mut self, line: &str) {
        match &mut self.form {
            Form::Block { screen, state } => redraw(screen, state.as_deref(), Some(line), &self.printer),
            Form::Lines(_) => self.printer.talk(line),
        }
    }

    /// Takes the block away; what was said stays.
    pub(crate) fn end(mut self) {
        if let Form::Block { screen, .. } = &mut self.form {
            screen.draw(None, &[]);
        }
    }
}

/// A run at one moment in one line.
pub(crate) fn line(state: &LiveState) -> String {
    log::line(state)
}

fn redraw(screen: &mut Screen, state: Option<&LiveState>, above: Option<&str>, printer: &Printer) {
    let (height, width) = screen.size();
    // The last column stays free: some terminals wrap a line that fills it.
    let frame = Frame { width: width - 1, height, paint: printer.talk_paint };
    screen.draw(above, &state.map(|state| block::render(state, frame)).unwrap_or_default());
}

#[cfg(test)]
mod tests;
