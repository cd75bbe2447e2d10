//! `--secret`: values that are told to nobody but the script.

use std::collections::BTreeMap;

use lambdaload_core::secrets::{SHORTEST, Secrets};

use super::{environment::Environment, pairs::is_variable_name};
use crate::error::Failure;

/// Reads the values of all secrets: `NAME` from our environment, `NAME=@FILE` from a file, less the line break at its end.
pub(super) fn read(given: &[String], environment: &Environment) -> Result<Secrets, Failure> {
    let mut all = BTreeMap::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            None => (text.as_str(), of_environment(text, environment)?),
            Some((name, source)) => match source.strip_prefix('@') {
                Some(path) => (name, of_file(name, path)?),
                None => return Err(typed(name)),
            },
        };
        if !is_variable_name(name) {
            return Err(Failure::not_valid(format!("--secret `{name}`: not a name of a variable"))
                .detail("expected letters, digits and underscores, and no digit first, as k6 does"));
        }
        let length = value.chars().count();
        if length < SHORTEST {
            let found = if length == 0 { "is empty".to_owned() } else { format!("has {length} of them") };
            return Err(Failure::not_valid(format!(
                "--secret {name}: expected {SHORTEST} characters or more; it {found}"
            ))
            .detail("secrets are masked wherever they appear, and so short a one appears by chance")
            .hint(format!("what is not secret is given with -e {name}=…")));
        }
        all.insert(name.to_owned(), value);
    }
    Ok(all.into_iter().collect())
}

fn of_environment(name: &str, environment: &Environment) -> Result<String, Failure> {
    environment.get_even_if_empty(name).map(str::to_owned).ok_or_else(|| {
        Failure::not_valid(format!("--secret {name}: there is no such variable in the environment"))
            .hint(format!("set it, or name a file: --secret {name}=@FILE"))
    })
}

fn of_file(name: &str, path: &str) -> Result<String, Failure> {
    let unreadable =
        |reason: String| Failure::not_valid(format!("--secret {name}=@{path} cannot be read")).detail(reason);
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::from_utf8(bytes).map_err(|_| unreadable("expected text in UTF-8".to_owned()))?;
    // Editors and `echo` put one at the end, which is no part of what is meant.
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.trim_end_matches('\r').len());
    }
    Ok(text)
}

/// The value is not repeated: it is on the screen once too often.
fn typed(name: &str) -> Failure {
    Failure::not_valid(format!("--secret {name}=…: a secret is not typed on the command line"))
        .detail("others can read it there, in the list of processes and in the shell's history")
        .hint(format!("put it into a variable of the environment: --secret {name}"))
        .hint(format!("or into a file: --secret {name}=@FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &str) -> Result<Secrets, Failure> {
        let environment =
            Environment::from([("TOKEN", "hunter2"), ("EMPTY", ""), ("SHORT", "abc"), ("bad-name", "hunter2")]);
        super::read(&[given.to_owned()], &environment)
    }

    fn value(secrets: &Secrets) -> String {
        secrets.iter().flat_map(|(name, value)| [name, ":", value]).collect()
    }

    #[test]
    fn values_come_from_the_environment_or_a_file() {
        assert_eq!(value(&read("TOKEN").expect("reads")), "TOKEN:hunter2");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key=1");
        for (text, expected) in
            [("hunter3\n", "hunter3"), ("hunter3\r\n", "hunter3"), ("two\nlines\n\n", "two\nlines\n")]
        {
            std::fs::write(&path, text).expect("writes");
            assert_eq!(value(&read(&format!("KEY=@{}", path.display())).expect("reads")), format!("KEY:{expected}"));
        }
        std::fs::write(&path, b"\xff\xff\xff\xff").expect("writes");
        assert!(read(&format!("KEY=@{}", path.display())).expect_err("refused").lines().contains("UTF-8"));
    }

    #[test]
    fn a_value_that_is_typed_is_refused_and_not_repeated() {
        let failure = read("TOKEN=hunter2").expect_err("refused").lines();
        assert!(failure.contains("shell's history") && failure.contains("--secret TOKEN=@FILE"), "{failure}");
        assert!(!failure.contains("hunter2"), "{failure}");
    }

    #[test]
    fn what_is_not_there_or_too_short_is_refused() {
        let headline = |given: &str| read(given).expect_err("refused").headline;
        assert_eq!(headline("NOWHERE"), "--secret NOWHERE: there is no such variable in the environment");
        assert_eq!(headline("KEY=@/nowhere/key"), "--secret KEY=@/nowhere/key cannot be read");
        assert_eq!(headline("EMPTY"), "--secret EMPTY: expected 4 characters or more; it is empty");
        assert_eq!(headline("SHORT"), "--secret SHORT: expected 4 characters or more; it has 3 of them");
        assert_eq!(headline("bad-name"), "--secret `bad-name`: not a name of a variable");
    }
}
