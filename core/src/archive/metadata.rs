//! The entry `metadata.json` of an archive: what the script was given, and giving it something else.

use std::{collections::BTreeMap, io::Read};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};

use super::ArchiveError;

const NAME: &[u8] = b"metadata.json";

/// Bytes of a block, to which tar fills up whatever it holds.
const BLOCK: u64 = 512;

/// What an archive says of itself, as far as it matters beside [`super::Archive`].
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// The script's variables.
    #[serde(default)]
    env: Option<BTreeMap<String, String>>,
    #[serde(default)]
    options: SomeOptions,
    dependencies: Option<BTreeMap<String, String>>,
}

/// The execution shortcuts among the options, and what `k6 run` would replace.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SomeOptions {
    #[serde(rename = "blacklistIPs")]
    blacklist_ips: Option<Vec<String>>,
    vus: Option<IgnoredAny>,
    duration: Option<IgnoredAny>,
    iterations: Option<IgnoredAny>,
    scenarios: Option<IgnoredAny>,
}

impl Metadata {
    /// Reads it.
    pub fn read(tar: &[u8]) -> Result<Self, ArchiveError> {
        Ok(serde_json::from_slice(&find(tar)?.json)?)
    }

    /// The script's variables, by name.
    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What the test needs beside stock k6, by name and constraint; none if the k6 that made the archive did not say.
    pub fn dependencies(self) -> Option<BTreeMap<String, String>> {
        self.dependencies
    }

    /// The address ranges that the script itself has barred (`blacklistIPs`).
    pub fn blacklist_ips(&self) -> &[String] {
        self.options.blacklist_ips.as_deref().unwrap_or_default()
    }

    /// Whether the options leave the number of VUs to a default of `k6 run` (1) that `k6 inspect` does not know: it says
    /// that there must be more than 0.
    pub fn lacks_vus(&self) -> bool {
        let SomeOptions { vus, duration, iterations, scenarios, .. } = &self.options;
        vus.is_none() && scenarios.is_none() && (duration.is_some() || iterations.is_some())
    }
}

/// The same archive with these variables added to, or in place of, those in it. All else keeps its bytes.
pub fn with_env(tar: &[u8], env: impl IntoIterator<Item = (String, String)>) -> Result<Vec<u8>, ArchiveError> {
    let mut env = env.into_iter().peekable();
    if env.peek().is_none() {
        return Ok(tar.to_vec());
    }
    rewritten(tar, "env", |before| {
        let before = before.map(|env| serde_json::from_str::<Option<BTreeMap<String, String>>>(env.get()));
        let mut all = before.transpose()?.flatten().unwrap_or_default();
        all.extend(env);
        to_raw_value(&all)
    })
}

/// The same archive with these thresholds in place of those in its options. All else keeps its bytes.
pub fn with_thresholds(tar: &[u8], thresholds: &impl Serialize) -> Result<Vec<u8>, ArchiveError> {
    rewritten(tar, "options", |before| {
        let before = before.map(|options| serde_json::from_str::<Option<Fields>>(options.get()));
        let mut all = before.transpose()?.flatten().unwrap_or_default();
        all.insert("thresholds".to_owned(), to_raw_value(thresholds)?);
        to_raw_value(&all)
    })
}

/// Fields whose values keep their bytes.
type Fields = BTreeMap<String, Box<RawValue>>;

/// The same archive with another value in one field of its metadata.
fn rewritten(
    tar: &[u8],
    field: &str,
    change: impl FnOnce(Option<&RawValue>) -> serde_json::Result<Box<RawValue>>,
) -> Result<Vec<u8>, ArchiveError> {
    let Found { mut header, json, start, end } = find(tar)?;
    let mut fields: Fields = serde_json::from_slice(&json)?;
    let changed = change(fields.get(field).map(|value| &**value))?;
    fields.insert(field.to_owned(), changed);
    let json = serde_json::to_vec(&fields)?;
    header.set_size(json.len() as u64);
    header.set_cksum();
    let padding = (json.len() as u64).next_multiple_of(BLOCK) - json.len() as u64;
    let parts = [
        tar.get(..start).unwrap_or_default(),
        header.as_bytes(),
        &json,
        &vec![0; usize::try_from(padding).unwrap_or_default()],
        tar.get(end..).unwrap_or_default(),
    ];
    Ok(parts.concat())
}

struct Found {
    header: tar::Header,
    json: Vec<u8>,
    /// Where the entry's header begins.
    start: usize,
    /// Where the next entry begins.
    end: usize,
}

fn find(tar: &[u8]) -> Result<Found, ArchiveError> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() != NAME {
            continue;
        }
        let mut json = Vec::new();
        entry.read_to_end(&mut json)?;
        let end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        return Ok(Found {
            header: entry.header().clone(),
            json,
            start: place(entry.raw_header_position()),
            end: place(end),
        });
    }
    Err(ArchiveError::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    const METADATA: &str = r#"{"type":"js","filename":"file:///a.js","env":{"A":"1","B":"2"},"options":{"big":12345678901234567890123,"vus":null,"duration":"1s","scenarios":null}}"#;

    fn tar(metadata: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("file/{}/a.js", "long".repeat(60));
        for (name, bytes) in [("metadata.json", metadata), ("data", "x"), (&long, &"y".repeat(2000))] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes.as_bytes()).expect("appends");
        }
        builder.into_inner().expect("ends")
    }

    fn entries(tar: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("a tar").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("reads");
            (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), text)
        });
        entries.collect()
    }

    #[test]
    fn variables_change_and_all_else_stays() {
        let before = tar(METADATA);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let long = "z".repeat(5000);
        for value in ["", "two\n\"3\"", &long] {
            let after = with_env(&before, [pair("B", value), pair("C", "é")]).expect("changes");
            let (before, after) = (entries(&before), entries(&after));
            assert_eq!(after[1..], before[1..]);
            let json: serde_json::Value = serde_json::from_str(&after[0].1).expect("JSON");
            assert_eq!(json["env"], serde_json::json!({"A": "1", "B": value, "C": "é"}));
            assert!(after[0].1.contains("12345678901234567890123"), "options keep every digit");
        }
        Archive::read(&with_env(&before, [pair("B", "3")]).expect("changes")).expect("is one");
        let none = tar(&METADATA.replace(r#"{"A":"1","B":"2"}"#, "null"));
        let after = with_env(&none, [pair("B", "3")]).expect("changes");
        assert_eq!(Metadata::read(&after).expect("reads").env().collect::<Vec<_>>(), [("B", "3")]);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let pair = || std::iter::once(("A".to_owned(), "1".to_owned()));
        assert!(matches!(with_env(&tar("{"), pair()), Err(ArchiveError::Metadata(_))));
        assert!(matches!(Metadata::read(&[0; 1024]), Err(ArchiveError::Foreign)));
        assert!(with_env(&tar(METADATA)[..600], pair()).is_err(), "cut");
    }

    #[test]
    fn barred_addresses_are_known() {
        let of = |metadata: &str| Metadata::read(&tar(metadata)).expect("reads").blacklist_ips().to_vec();
        assert_eq!(of(r#"{"options":{"blacklistIPs":["10.0.0.0/8","::1/128"]}}"#), ["10.0.0.0/8", "::1/128"]);
        assert!(of(r#"{"options":{"blacklistIPs":null}}"#).is_empty());
        assert!(of("{}").is_empty());
    }

    #[test]
    fn a_number_of_vus_may_be_lacking() {
        let lacks = |options: &str| {
            let json = format!(r#"{{"type":"js","filename":"","options":{options}}}"#);
            Metadata::read(&tar(&json)).expect("reads").lacks_vus()
        };
        assert!(lacks(r#"{"vus":null,"duration":"1s","iterations":null,"scenarios":null}"#));
        assert!(lacks(r#"{"iterations":7}"#));
        assert!(!lacks(r#"{"vus":1,"iterations":7}"#));
        assert!(!lacks(r#"{"stages":[]}"#));
        assert!(!lacks(r#"{"duration":"1s","scenarios":{"a":{}}}"#));
    }

    #[test]
    fn what_a_test_depends_on_is_told_if_the_archive_knows() {
        let of = |metadata: &str| Metadata::read(&tar(metadata)).expect("reads").dependencies();
        assert_eq!(of(METADATA), None);
        let known = of(r#"{"type":"js","filename":"","dependencies":{"k6/x/sql":">1.0.0"}}"#);
        assert_eq!(known, Some([("k6/x/sql".to_owned(), ">1.0.0".to_owned())].into()));
    }

    #[test]
    fn thresholds_are_replaced_and_nothing_else() {
        let before = tar(METADATA);
        let thresholds = BTreeMap::from([("errors".repeat(200), ["count>=0"])]);
        let after = with_thresholds(&before, &thresholds).expect("has metadata");
        let (before, after) = (entries(&before), entries(&after));
        assert_eq!(before[1..], after[1..]);
        let expected = format!(r#""thresholds":{}"#, serde_json::to_string(&thresholds).expect("JSON"));
        assert!(
            after[0].1.contains(&expected) && after[0].1.contains(r#""big":12345678901234567890123"#),
            "{}",
            after[0].1
        );
        assert!(with_thresholds(b"no tar", &thresholds).is_err());
    }
}
