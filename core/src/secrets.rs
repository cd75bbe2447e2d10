//! Values that only workers and their scripts may see.
//!
//! Plan and archive know their names. The values are handed to each worker by whoever launches it, and to the script by the
//! worker; whatever leaves the worker goes through [`Secrets::redact`] first.

use std::{borrow::Cow, collections::BTreeMap, fmt};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Fewer characters stand in other words and numbers by chance, and masking these would make results unreadable.
pub const SHORTEST: usize = 4;

/// A line of a value of several lines is a secret by itself from so many bytes on: logs may come line by line.
const SHORTEST_LINE: usize = 8;

/// Secrets by name. Shown, they are names; on purpose they cannot be serialized.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    /// What must not be seen: the values as they are, and as JSON and URLs write them.
    forms: Vec<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let values: BTreeMap<String, String> = pairs.into_iter().collect();
        let lines = values.values().flat_map(|value| value.lines()).filter(|line| line.len() >= SHORTEST_LINE);
        let whole = values.values().map(String::as_str);
        let mut forms: Vec<String> = whole.chain(lines).flat_map(forms).filter(|form| !form.is_empty()).collect();
        forms.sort();
        forms.dedup();
        Self { values, forms }
    }
}

impl Secrets {
    /// What a script is given in place of these secrets while it is archived, when only its options matter. A script that
    /// checks whether there is a value finds one. It is no name of a metric, so none can be made of it.
    pub fn placeholders(names: &[String]) -> Self {
        names.iter().map(|name| (name.clone(), placeholder(name))).collect()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Those of these names; an error has the names that are missing.
    pub fn only(&self, names: &[String]) -> Result<Self, Vec<String>> {
        let missing: Vec<String> = names.iter().filter(|name| !self.values.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let wanted = self.values.iter().filter(|(name, _)| names.contains(name));
        Ok(wanted.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Bytes of the longest form of a secret: a text that is cut may end with almost as many of one.
    pub fn longest(&self) -> usize {
        self.forms.iter().map(String::len).max().unwrap_or(0)
    }

    /// The text with [`MASK`] wherever it has a secret: as it is, or as JSON or a URL writes it. What a script makes of a
    /// secret otherwise (a hash, half of it) is not recognised.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found: Vec<(usize, usize)> =
            self.forms.iter().flat_map(|form| places(text, form).map(|at| (at, at + form.len()))).collect();
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable();
        let (mut masked, mut seen) = (String::new(), 0);
        for (start, end) in found {
            // What overlaps is one mask.
            if start >= seen {
                masked.push_str(text.get(seen..start).unwrap_or_default());
                masked.push_str(MASK);
            }
            seen = seen.max(end);
        }
        masked.push_str(text.get(seen..).unwrap_or_default());
        Cow::Owned(masked)
    }
}

/// See [`Secrets::placeholders`].
pub fn placeholder(name: &str) -> String {
    format!("secret-{name}-is-given-to-workers-only")
}

/// Where a text has another one, overlaps included.
fn places(text: &str, form: &str) -> impl Iterator<Item = usize> {
    let step = form.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(form)?;
        from = at + step;
        Some(at)
    })
}

/// A value as it is, in JSON and Go's quotes, and in URLs.
fn forms(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    let go_json = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    // What is left as it is by Go in a query, and by JavaScript's encodeURIComponent and encodeURI.
    let in_urls = ["-_.~", "-_.!~*'()", "-_.!~*'();/?:@&=+$,#"].map(|kept| percent_encoded(value, kept));
    let in_query = in_urls[0].replace("%20", "+");
    let mut all = vec![value.to_owned(), json.to_owned(), go_json, in_query];
    all.extend(in_urls);
    all
}

fn percent_encoded(value: &str, kept: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        values.iter().enumerate().map(|(i, value)| (format!("S{i}"), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_are_masked_in_every_form_and_nothing_else_is() {
        let secrets = secrets(&["a b/c\"<é>"]);
        for text in [
            "a b/c\"<é>",
            r#"a b/c\"<é>"#,
            r#"a b/c\"\u003cé\u003e"#,
            "a%20b%2Fc%22%3C%C3%A9%3E",
            "a+b%2Fc%22%3C%C3%A9%3E",
            "a%20b/c%22%3C%C3%A9%3E",
        ] {
            assert_eq!(secrets.redact(&format!("<{text}> {text}")), "<***> ***", "{text}");
        }
        assert_eq!(secrets.redact("a b/c\"<é"), "a b/c\"<é");
        assert_eq!(format!("{secrets:?}"), r#"["S0"]"#);
    }

    #[test]
    fn secrets_in_secrets_and_overlaps_leave_no_part() {
        assert_eq!(secrets(&["token", "token-long"]).redact("token-long token"), "*** ***");
        assert_eq!(secrets(&["abcX", "Xdef"]).redact("1abcXdef2"), "1***2");
        assert_eq!(secrets(&["aaaa"]).redact("aaaaaa"), "***");
    }

    #[test]
    fn lines_of_a_key_are_secrets_too() {
        let key = secrets(&["-----BEGIN KEY-----\nMIIEvQIBADANBg\nend"]);
        assert_eq!(key.redact("MIIEvQIBADANBg"), "***");
        assert_eq!(key.redact("the end"), "the end");
        assert_eq!(key.redact(r"k: -----BEGIN KEY-----\nMIIEvQIBADANBg\nend."), "k: ***.");
    }

    #[test]
    fn workers_get_what_the_plan_names() {
        let all = secrets(&["zero0", "one11"]);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(all.only(&names(&["S1"])), Ok(std::iter::once(("S1".to_owned(), "one11".to_owned())).collect()));
        assert_eq!(all.only(&names(&["S1", "S2", "S3"])), Err(names(&["S2", "S3"])));
    }

    proptest! {
        /// Whatever is around them, and however they lie in each other.
        #[test]
        fn no_secret_is_left(
            values in prop::collection::vec("[ab\"/é&\n]{4,8}", 1..4),
            parts in prop::collection::vec((0_usize..4, "[ab\"/é&\n -]{0,6}"), 0..8),
        ) {
            let secrets = secrets(&values.iter().map(String::as_str).collect::<Vec<_>>());
            let text: String = parts.iter().flat_map(|(i, other)| [values[i % values.len()].as_str(), other]).collect();
            let masked = secrets.redact(&text);
            for value in &values {
                prop_assert!(!masked.contains(value.as_str()), "{masked:?} has {value:?}");
            }
            // What is masked is masked, and all else stays.
            prop_assert_eq!(secrets.redact(&masked), masked.clone());
            let rest: String = masked.split(MASK).collect();
            prop_assert!(rest.len() <= text.len());
            if values.iter().all(|value| !text.contains(value.as_str())) && !secrets.forms.iter().any(|form| text.contains(form)) {
                prop_assert_eq!(&masked, &text);
            }
        }

        #[test]
        fn text_without_secrets_stays(text in "[c-z \n]{0,80}") {
            prop_assert_eq!(secrets(&["abab", "a\"b/"]).redact(&text), text.as_str());
        }
    }
}
