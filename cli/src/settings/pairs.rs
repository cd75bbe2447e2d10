//! `KEY=VALUE` of `-e` and `--tag`.

use std::collections::BTreeMap;

use super::environment::Environment;
use crate::error::Failure;

/// Variables for the script: those of the file, replaced and extended by `-e`. `-e KEY` takes ours.
pub(crate) fn variables(
    given: &[String],
    of_file: impl IntoIterator<Item = (String, String)>,
    environment: &Environment,
) -> Result<Vec<(String, String)>, Failure> {
    let mut all: BTreeMap<String, String> = of_file.into_iter().collect();
    for text in given {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, value),
            None => (text.as_str(), environment.get_even_if_empty(text).ok_or_else(|| not_set(text))?),
        };
        all.insert(key.to_owned(), value.to_owned());
    }
    match all.keys().find(|key| !is_variable_name(key)) {
        Some(bad) => Err(Failure::not_valid(format!("-e `{bad}`: not a name of a variable"))
            .detail("expected letters, digits and underscores, and no digit first, as k6 does")),
        None => Ok(all.into_iter().collect()),
    }
}

/// Labels of the run: those of the file, replaced and extended by `--tag`.
pub(crate) fn labels(
    given: &[String],
    of_file: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut all: BTreeMap<String, String> = of_file.into_iter().collect();
    for text in given {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => all.insert(key.to_owned(), value.to_owned()),
            _ => return Err(Failure::not_valid(format!("--tag `{text}`: expected KEY=VALUE"))),
        };
    }
    Ok(all)
}

fn not_set(key: &str) -> Failure {
    Failure::not_valid(format!("-e {key}: there is no such variable in the environment"))
        .hint(format!("give it a value: -e {key}=value"))
}

/// The names that k6 accepts.
pub(super) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str], of_file: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        let of_file = of_file.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let environment = Environment::from([("TOKEN", "secret"), ("EMPTY", "")]);
        variables(&given, of_file, &environment).map_err(|failure| failure.headline)
    }

    #[test]
    fn variables_as_k6_reads_them() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read(&["A=b=c", "TOKEN", "EMPTY"], &[]),
            Ok(vec![pair("A", "b=c"), pair("EMPTY", ""), pair("TOKEN", "secret")])
        );
        assert_eq!(read(&["A=", "A=2"], &[]), Ok(vec![pair("A", "2")]));
        assert_eq!(
            read(&["HOST=flag"], &[("HOST", "file"), ("USERS", "5")]),
            Ok(vec![pair("HOST", "flag"), pair("USERS", "5")])
        );
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(read(&["NOWHERE"], &[]), Err("-e NOWHERE: there is no such variable in the environment".into()));
        assert_eq!(read(&["bad-name=1"], &[]), Err("-e `bad-name`: not a name of a variable".into()));
        assert_eq!(read(&["=1"], &[]), Err("-e ``: not a name of a variable".into()));
        assert_eq!(read(&["1A=1"], &[]), Err("-e `1A`: not a name of a variable".into()));
    }

    #[test]
    fn labels_have_a_key_and_a_value() {
        let read = |text: &str| labels(&[text.to_owned()], [("team".to_owned(), "a".to_owned())]);
        assert_eq!(read("branch=main").expect("reads").len(), 2);
        assert_eq!(read("team=b").expect("reads")["team"], "b");
        for bad in ["branch", "=main", "branch="] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
