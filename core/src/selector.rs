//! Sub-metrics: `metric{tag:value,…}` as k6 reads it in threshold keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::series::Tags;

/// A metric, or the part of it that carries some tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Selector {
    /// The metric's name.
    pub metric: String,
    /// What stood between the braces, without the space around it; `None` for the whole metric.
    pub suffix: Option<String>,
}

/// A threshold key that k6 would refuse too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// An opening brace without a closing one at the end.
    #[error("`{0}` opens a brace but does not end with one: expected metric{{tag:value}}")]
    Unclosed(String),
    /// Braces, a key or a value with nothing in them.
    #[error("`{0}` has an empty tag: expected metric{{tag:value}}")]
    Empty(String),
}

impl Selector {
    /// Reads a threshold key.
    pub fn parse(key: &str) -> Result<Self, SelectorError> {
        let Some((metric, rest)) = key.split_once('{') else {
            return Ok(Self { metric: key.trim().to_owned(), suffix: None });
        };
        let suffix = rest.strip_suffix('}').ok_or_else(|| SelectorError::Unclosed(key.to_owned()))?.trim();
        let selector = Self { metric: metric.trim().to_owned(), suffix: Some(suffix.to_owned()) };
        let pairs: Vec<(&str, &str)> = pairs(suffix).collect();
        if pairs.is_empty() || pairs.iter().any(|(key, value)| key.is_empty() || value.is_empty()) {
            return Err(SelectorError::Empty(key.to_owned()));
        }
        Ok(selector)
    }

    /// The tags a sample must carry: pairs parted by commas, key and value parted by the first colon, both trimmed of
    /// spaces and quotes. Two texts with the same tags mean the same sub-metric.
    pub fn tags(&self) -> Tags {
        self.suffix.as_deref().map(pairs).into_iter().flatten().collect()
    }

    /// The key as k6 shows it.
    pub fn key(&self) -> String {
        match &self.suffix {
            None => self.metric.clone(),
            Some(suffix) => format!("{}{{{suffix}}}", self.metric),
        }
    }
}

fn pairs(suffix: &str) -> impl Iterator<Item = (&str, &str)> {
    suffix.split(',').map(|pair| {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        (bare(key), bare(value))
    })
}

fn bare(text: &str) -> &str {
    text.trim_matches([' ', '"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), SelectorError>;

    fn check(key: &str, expect: Read<'_>) {
        let found = Selector::parse(key);
        match (found, expect) {
            (Ok(selector), Ok((metric, tags))) => {
                assert_eq!(selector.metric, metric, "{key}");
                assert_eq!(selector.tags(), tags.iter().copied().collect(), "{key}");
            }
            (found, expect) => assert_eq!(found.err(), expect.err(), "{key}"),
        }
    }

    #[test]
    fn keys_are_read_as_k6_reads_them() {
        check("http_reqs", Ok(("http_reqs", &[])));
        check("http_reqs{name:cart}", Ok(("http_reqs", &[("name", "cart")])));
        check("http_reqs{ name : 'cart', status:\"200\" }", Ok(("http_reqs", &[("name", "cart"), ("status", "200")])));
        check("checks{group:::outer::inner}", Ok(("checks", &[("group", "::outer::inner")])));
        check("d{url:http://h/p}", Ok(("d", &[("url", "http://h/p")])));
        check("d{url:http://h/${}}", Ok(("d", &[("url", "http://h/${}")])));
        check("d{}", Err(SelectorError::Empty("d{}".to_owned())));
        check("d{a:}", Err(SelectorError::Empty("d{a:}".to_owned())));
        check("d{a:b", Err(SelectorError::Unclosed("d{a:b".to_owned())));
    }
}
