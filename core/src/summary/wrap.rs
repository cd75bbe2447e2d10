//! Sentences in lines.

use super::{Style, printable};

/// `sentence` in lines no longer than the style's width, the first one and the others indented as given. A word that is
/// too long for a line gets one of its own.
pub(super) fn wrapped(sentence: &str, first: usize, others: usize, style: &Style) -> String {
    let sentence = printable(sentence);
    let mut text = String::new();
    let (mut indent, mut line) = (first, " ".repeat(first));
    let mut length = indent;
    // Two spaces in a row are columns, and stay.
    for word in sentence.replace('\n', " ").split_inclusive(' ') {
        let visible = word.trim_end_matches(' ').chars().count();
        if length + visible > style.width && length > indent {
            text += line.trim_end();
            text.push('\n');
            indent = others;
            line = " ".repeat(indent);
            length = indent;
        }
        line += word;
        length += word.chars().count();
    }
    text + line.trim_end() + "\n"
}
