//! What a test needs beside stock k6: extensions (`k6/x/…`), and versions of k6 or of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The constraint of whatever will do in any version.
const ANY: &str = "*";

/// Constraints on versions by what is needed: `k6` itself, and modules such as `k6/x/sql`.
pub type Constraints = BTreeMap<String, String>;

/// What a test needs, as `k6 deps --json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependencies {
    /// What it needs.
    #[serde(rename = "buildDependencies")]
    pub needs: Constraints,
    /// Whether this k6 lacks some of it. That is k6's own judgement.
    pub custom_build_required: bool,
}

/// Something that a test needs and k6 lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// `k6` itself, or a module such as `k6/x/sql`.
    pub name: String,
    /// The constraint on its version, if there is one.
    pub constraint: Option<String>,
    /// The version that is there; none if there is none.
    pub found: Option<String>,
}

/// Whether a test may need more than any stock k6 has.
pub fn is_special(needs: &Constraints) -> bool {
    needs.iter().any(|(name, constraint)| name != "k6" || constraint != ANY)
}

/// What of `needs` is not among what there is (`found`: names and versions), or is there in a version that may be
/// another than the one that is needed.
pub fn lacking(needs: &Constraints, found: &BTreeMap<String, String>) -> Vec<Lacking> {
    let each = needs.iter().map(|(name, constraint)| Lacking {
        name: name.clone(),
        constraint: Some(constraint.clone()).filter(|constraint| constraint != ANY),
        found: found.get(name).cloned(),
    });
    each.filter(|need| need.found.is_none() || need.constraint.is_some()).collect()
}

/// The extensions that k6 names where it says that it does not know them. Before 1.6 it names the first only.
pub fn unknown_modules(log: &[String]) -> BTreeSet<String> {
    let said = log.iter().filter(|message| message.contains("unknown module"));
    let words = said.flat_map(|message| message.split(['"', ' ', ',', '[', ']', '\n']));
    words.filter(|word| word.starts_with("k6/x/")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn modules_are_found_in_the_words_of_every_k6() {
        let of = |message: &str| unknown_modules(&[message.to_owned()]).into_iter().collect::<Vec<_>>();
        assert_eq!(of("GoError: unknown module: k6/x/sql\n\tat file:///a.js"), ["k6/x/sql"]);
        let since_1_8 = r#"could not initialize 'a.js': could not load JS test 'file:///a.js': unknown modules ["k6/x/answer", "k6/x/sql"] were tried to be loaded"#;
        assert_eq!(of(since_1_8), ["k6/x/answer", "k6/x/sql"]);
        assert_eq!(of("Error: k6/x/sql said no"), [""; 0]);
    }

    #[test]
    fn what_is_there_in_any_version_is_not_lacking() {
        let needs = map(&[("k6", "*"), ("k6/x/answer", "*"), ("k6/x/old", ">2.0.0"), ("k6/x/sql", "*")]);
        let found = map(&[("k6", "v1.8.1"), ("k6/x/answer", "v1.0.0"), ("k6/x/old", "v1.0.0")]);
        let lacks = lacking(&needs, &found);
        let words: Vec<_> =
            lacks.iter().map(|l| (l.name.as_str(), l.constraint.as_deref(), l.found.as_deref())).collect();
        assert_eq!(words, [("k6/x/old", Some(">2.0.0"), Some("v1.0.0")), ("k6/x/sql", None, None)]);
    }

    #[test]
    fn only_stock_k6_in_any_version_is_nothing_special() {
        assert!(!is_special(&map(&[])) && !is_special(&map(&[("k6", "*")])));
        assert!(is_special(&map(&[("k6", ">=2.0.0")])) && is_special(&map(&[("k6/x/sql", "*")])));
    }

    #[test]
    fn what_k6_prints_is_read() {
        let json = br#"{"buildDependencies":{"k6":"*"},"imports":["file:///a.js"],"customBuildRequired":true}"#;
        let read: Dependencies = serde_json::from_slice(json).expect("reads");
        assert_eq!(read, Dependencies { needs: map(&[("k6", "*")]), custom_build_required: true });
    }
}
