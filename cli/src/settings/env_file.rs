//! `--env-file`: variables in the form that shells, Docker and Node.js read.
//!
//! A line is `NAME=value`, with `export ` before it or not; empty lines and those that begin with `#` are passed over. A
//! value may stand in quotes and then have several lines: in single ones as it is, in double ones with `\\n`, `\\r`, `\\t`,
//! `\\"`, `\\\\` and `\\$`. Without quotes it ends before ` #`. Nothing is put in for `$NAME`: what a file says is what the
//! script gets, whatever the environment has.

use std::{path::Path, str::Chars};

use super::pairs::is_variable_name;
use crate::error::Failure;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let unreadable =
        |reason: String| Failure::not_valid(format!("--env-file {} cannot be read", path.display())).detail(reason);
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("expected text in UTF-8".to_owned()))?;
    parse(&text).map_err(|wrong| {
        Failure::not_valid(format!("{}, line {}: {}", path.display(), wrong.line, wrong.what))
            .detail("expected NAME=value, as in HOST=example.com or GREETING=\"hello world\"")
    })
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    what: String,
}

fn parse(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut pairs = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let line = 1 + text.get(..text.len() - rest.len()).unwrap_or_default().matches('\n').count();
        let wrong = |what: String| Wrong { line, what };
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let statement = first.trim_start();
        if statement.is_empty() || statement.starts_with('#') {
            rest = after;
            continue;
        }
        let statement = statement.strip_prefix("export ").unwrap_or(statement);
        let Some((name, value)) = statement.split_once('=') else {
            return Err(wrong(format!("`{}` has no `=`", statement.trim_end())));
        };
        let name = name.trim();
        if !is_variable_name(name) {
            return Err(wrong(format!("`{name}` is not a name of a variable")));
        }
        let value = value.trim_start();
        let value = if let Some(quote @ ('"' | '\'')) = value.chars().next() {
            // It may go on in the lines behind.
            let from_value = rest.get(first.len() - value.len() + 1..).unwrap_or_default();
            let (value, behind) = quoted(from_value, quote)
                .ok_or_else(|| wrong(format!("the value of {name} has no {quote} at its end")))?;
            let (more, after) = behind.split_once('\n').unwrap_or((behind, ""));
            if !more.trim().is_empty() && !more.trim_start().starts_with('#') {
                return Err(wrong(format!("there is more behind the value of {name}")));
            }
            rest = after;
            value
        } else {
            rest = after;
            unquoted(value).to_owned()
        };
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

/// The value up to its closing quote, and what is behind that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars: Chars<'_> = text.chars();
    loop {
        match chars.next()? {
            end if end == quote => return Some((value, chars.as_str())),
            '\\' if quote == '"' => match chars.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                plain @ ('"' | '\\' | '$') => value.push(plain),
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

/// A value without its comment.
fn unquoted(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let comment = value.match_indices('#').find(|(at, _)| value.get(..*at).is_some_and(|v| v.ends_with([' ', '\t'])));
    value.get(..comment.map_or(value.len(), |(at, _)| at)).unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        parse(text).expect("reads").into_iter().map(|(name, value)| format!("{name}:{value}")).collect()
    }

    #[test]
    fn files_as_people_write_them() {
        let text = "\u{feff}# settings\n\nA=1\r\n  export B = two words # why\nC=\nD=a=b#c\nE='single $x \\n'\n\
                    F=\"a \\\"b\\\" \\$x\\n\\t\\d\" # more\nG=# nothing\nexport=1\nH=ä";
        assert_eq!(
            values(text),
            ["A:1", "B:two words", "C:", "D:a=b#c", "E:single $x \\n", "F:a \"b\" $x\n\t\\d", "G:", "export:1", "H:ä"]
        );
        assert_eq!(values(""), [""; 0]);
    }

    #[test]
    fn values_in_quotes_may_have_several_lines() {
        assert_eq!(values("KEY=\"-----BEGIN\nMII\n-----END\"\nB=2"), ["KEY:-----BEGIN\nMII\n-----END", "B:2"]);
    }

    #[test]
    fn what_cannot_be_read_has_a_line() {
        let wrong = |text: &str| {
            let Wrong { line, what } = parse(text).expect_err("refused");
            format!("{line}: {what}")
        };
        assert_eq!(wrong("A=1\n\nHOST"), "3: `HOST` has no `=`");
        assert_eq!(wrong("A=1\nbad-name=1"), "2: `bad-name` is not a name of a variable");
        assert_eq!(wrong("A='1\n2'\nB=\"x\n"), "3: the value of B has no \" at its end");
        assert_eq!(wrong("A='1'2"), "1: there is more behind the value of A");
    }

    #[test]
    fn the_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dev.env");
        assert!(read(&path).expect_err("missing").headline.ends_with("dev.env cannot be read"));
        std::fs::write(&path, "A=1\nB").expect("writes");
        assert!(read(&path).expect_err("refused").headline.ends_with("dev.env, line 2: `B` has no `=`"));
        std::fs::write(&path, b"A=\xff").expect("writes");
        assert_eq!(read(&path).expect_err("refused").details, ["expected text in UTF-8"]);
    }
}
