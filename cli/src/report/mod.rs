//! The report of a run: one HTML file that needs nothing else, to be opened, printed, attached and archived.
//!
//! Names, tags and messages in it come from the script under test, which nobody vouches for. So the page is made by a
//! template engine that escapes whatever it is given, it has no script of its own, and its content security policy
//! forbids all scripts and all loading.

mod axis;
mod chart;
mod figure;
mod html;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use html::render_html;
