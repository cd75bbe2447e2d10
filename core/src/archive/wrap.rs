//! Another main script for an archive: one of ours that imports the user's.

use std::{io::Read as _, path::PathBuf, time::Duration};

use memchr::memmem;
use serde_json::{Map, Value, json};
use tar::{Builder, Entry, EntryType, Header};

use super::ArchiveError;
use crate::k6::options::go_duration;

/// How a script of ours is called beside the user's.
const NAME: &str = "lambdaload-main.js";

/// Options that say what runs, for how long and how it is judged. All others stay: how requests are made holds for our
/// script too.
const EXECUTION: [&str; 10] = [
    "duration",
    "executionSegment",
    "executionSegmentSequence",
    "iterations",
    "minIterationDuration",
    "paused",
    "scenarios",
    "stages",
    "thresholds",
    "vus",
];

/// An archive whose main script is ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The whole tar.
    pub tar: Vec<u8>,
    /// The script's own limit for `handleSummary()`, which k6 knows since 2.2.
    pub summary_timeout: Option<Duration>,
}

/// Whether a script, module or data file of the archive contains these bytes.
pub fn mentions(tar: &[u8], word: &str) -> Result<bool, ArchiveError> {
    let finder = memmem::Finder::new(word);
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() != METADATA && finder.find(&contents(&mut entry)?).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The archive with a main script of ours, in one iteration of one VU and without thresholds.
///
/// `script` makes it from two URLs: that of the user's main script, which it can import, and its own. It stands beside
/// the user's, because k6 lets a script from the web import nothing from a disk. Whatever else is in the archive stays:
/// modules, data, `-e` variables, options of requests.
pub fn wrap(tar: &[u8], script: impl FnOnce(&str, &str) -> String) -> Result<Wrapped, ArchiveError> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let bytes = contents(&mut entry)?;
        let link = entry.link_name_bytes().map(|link| link.into_owned());
        entries.push(Packed { path: entry.path()?.into_owned(), header: entry.header().clone(), link, bytes });
    }
    let find = |name: &[u8]| entries.iter().find(|e| e.path.as_os_str().as_encoded_bytes() == name);
    let mut metadata: Map<String, Value> =
        serde_json::from_slice(&find(METADATA).ok_or(ArchiveError::Foreign)?.bytes)?;
    let users = find(MAIN).ok_or(ArchiveError::NoScript)?.bytes.clone();

    let main = metadata.get("filename").and_then(Value::as_str).ok_or(ArchiveError::NoScript)?.to_owned();
    let own = beside(&main, &free_name(&entries));
    let (options, summary_timeout) = one_iteration(metadata.get("options"));
    metadata.insert("options".to_owned(), options.into());
    metadata.insert("filename".to_owned(), own.as_str().into());
    let (metadata, script) = (serde_json::to_vec(&metadata)?, script(&main, &own).into_bytes());

    let mut builder = Builder::new(Vec::new());
    for Packed { path, mut header, link, bytes } in entries {
        let bytes = match path.as_os_str().as_encoded_bytes() {
            METADATA => &metadata,
            MAIN => &script,
            // The main script, of which k6 stores the bytes under `data` only.
            _ if header.entry_type().is_hard_link() && link.as_deref() == Some(MAIN) => {
                header.set_entry_type(EntryType::Regular);
                header.set_link_name_literal("")?;
                header.set_mode(0o644);
                &users
            }
            _ => &bytes,
        };
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes.as_slice())?;
    }
    Ok(Wrapped { tar: builder.into_inner()?, summary_timeout })
}

const METADATA: &[u8] = b"metadata.json";
const MAIN: &[u8] = b"data";

struct Packed {
    path: PathBuf,
    header: Header,
    link: Option<Vec<u8>>,
    bytes: Vec<u8>,
}

fn contents(entry: &mut Entry<'_, &[u8]>) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A name that no file of the archive has: k6 would take our script for that one.
fn free_name(entries: &[Packed]) -> String {
    let mut name = NAME.to_owned();
    while entries.iter().any(|entry| entry.path.ends_with(&name)) {
        name.insert(0, '_');
    }
    name
}

/// The URL of a file in the same folder. A URL from the web may have a query with slashes in it; in that of a file a
/// question mark is escaped.
fn beside(url: &str, name: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{name}")
}

/// The options for one iteration of one VU, and how long `handleSummary()` may take.
fn one_iteration(options: Option<&Value>) -> (Map<String, Value>, Option<Duration>) {
    let mut options = options.and_then(Value::as_object).cloned().unwrap_or_default();
    options.retain(|name, _| !EXECUTION.contains(&name.as_str()));
    let once = json!({ "executor": "shared-iterations", "vus": 1, "iterations": 1, "maxDuration": "10s" });
    options.insert("scenarios".to_owned(), json!({ "default": once }));
    let timeout = options.get("handleSummaryTimeout").and_then(Value::as_str).and_then(go_duration::parse);
    (options, timeout)
}
