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
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        entries.push(Packed { path: entry.path()?.into_owned(), header: entry.header().clone(), link, bytes });
    }
    let find = |name: &[u8]| entries.iter().find(|e| e.path.as_os_str().as_encoded_bytes() == name);
    let mut metadata: Map<String, Value> = serde_json::from_slice(&find(METADATA).ok_or(ArchiveError::Foreign)?.bytes)?;
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

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;
    use crate::archive::Archive;

    /// An archive of a main script, as k6 makes them: its bytes are under `data`, its name is a link to that.
    fn archive(metadata: &str, script: &[u8], main: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let mut add = |name: &str, kind, link: &str, bytes: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_link_name_literal(link).expect("a link");
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).expect("appends");
        };
        add("metadata.json", EntryType::Regular, "", metadata.as_bytes());
        add("data", EntryType::Regular, "", script);
        add("file/shop/", EntryType::Directory, "", b"");
        for (name, bytes) in files {
            add(name, EntryType::Regular, "", bytes);
        }
        add(main, EntryType::Link, "data", b"");
        builder.into_inner().expect("ends")
    }

    fn shop(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let metadata = r#"{"type":"js","filename":"file:///shop/my%20test.js","pwd":"file:///shop","env":{"A":"b"},
            "compatibilityMode":"extended","options":{"scenarios":{"s":{}},"thresholds":{"x":[]},"vus":7,"userAgent":"me",
            "executionSegment":"0:1/2","handleSummaryTimeout":"1m30s"}}"#;
        archive(metadata, b"import './lib.js'", "file/shop/my test.js", files)
    }

    fn entries(tar: &[u8]) -> Vec<(String, EntryType, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("a tar").map(|entry| {
            let mut entry = entry.expect("an entry");
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            (name, entry.header().entry_type(), contents(&mut entry).expect("reads"))
        });
        entries.collect()
    }

    #[test]
    fn our_script_is_the_main_one_and_the_users_a_module() {
        let wrapped = wrap(&shop(&[]), |main, own| format!("{main} {own}")).expect("wraps");
        let all = entries(&wrapped.tar);
        let bytes = |name: &str| &all.iter().find(|(n, ..)| n == name).expect(name).2;
        assert_eq!(bytes("data"), b"file:///shop/my%20test.js file:///shop/lambdaload-main.js");
        assert_eq!(bytes("file/shop/my test.js"), b"import './lib.js'");
        let metadata: Value = serde_json::from_slice(bytes("metadata.json")).expect("JSON");
        let once = json!({ "executor": "shared-iterations", "vus": 1, "iterations": 1, "maxDuration": "10s" });
        let expected = json!({
            "type": "js", "filename": "file:///shop/lambdaload-main.js", "pwd": "file:///shop", "env": { "A": "b" },
            "compatibilityMode": "extended",
            "options": { "scenarios": { "default": once }, "userAgent": "me", "handleSummaryTimeout": "1m30s" },
        });
        assert_eq!(metadata, expected);
        assert_eq!(wrapped.summary_timeout, Some(Duration::from_secs(90)));
        assert_eq!(Archive::read(&wrapped.tar).expect("an archive").filename, "file:///shop/lambdaload-main.js");
    }

    #[test]
    fn our_name_is_nobody_elses() {
        let files = ["file/shop/lambdaload-main.js", "file/_lambdaload-main.js"].map(|n| (n.to_owned(), Vec::new()));
        let wrapped = wrap(&shop(&files), |_, own| own.to_owned()).expect("wraps");
        assert_eq!(entries(&wrapped.tar)[1].2, b"file:///shop/__lambdaload-main.js");
    }

    #[test]
    fn a_url_from_the_web_has_its_neighbour_there() {
        for (url, expected) in [
            ("https://example.com/a/b.js", "https://example.com/a/own.js"),
            ("https://example.com/a/b.js?path=/x/y&z", "https://example.com/a/own.js"),
            ("file:///-", "file:///own.js"),
        ] {
            assert_eq!(beside(url, "own.js"), expected);
        }
    }

    #[test]
    fn words_are_found_in_scripts_and_modules() {
        let module = [("file/shop/lib.js".to_owned(), b"export { x as handleSummary }".to_vec())];
        assert!(mentions(&shop(&module), "handleSummary").expect("reads"));
        // The option of that name begins with it.
        assert!(!mentions(&shop(&[]), "handleSummary").expect("reads"));
    }

    #[test]
    fn what_cannot_be_wrapped_is_refused() {
        let wrap = |metadata: &str| wrap(&archive(metadata, b"", "file/a.js", &[]), |_, _| String::new());
        assert!(matches!(wrap("{"), Err(ArchiveError::Metadata(_))));
        assert!(matches!(wrap("{}"), Err(ArchiveError::NoScript)));
        let no_options = wrap(r#"{"filename":"file:///a.js","options":null}"#).expect("wraps");
        assert_eq!(no_options.summary_timeout, None);
        assert!(matches!(super::wrap(&[7; 1024], |_, _| String::new()), Err(ArchiveError::Tar(_))));
    }

    proptest! {
        #[test]
        fn all_else_stays(
            files in btree_map("file/[a-zé \u{1f6d2}#%?]{1,9}(/[a-z .]{0,40}[a-z]){0,6}", any::<Vec<u8>>(), 0..6)
        ) {
            let files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
            let before = shop(&files);
            let wrapped = wrap(&before, |_, _| "ours".to_owned()).expect("wraps");
            let changed = ["metadata.json", "data", "file/shop/my test.js"];
            let others = |tar: &[u8]| -> Vec<_> {
                entries(tar).into_iter().filter(|(name, ..)| !changed.contains(&name.as_str())).collect()
            };
            prop_assert_eq!(others(&wrapped.tar), others(&before));
            prop_assert_eq!(others(&before).len(), files.len() + 1);
        }
    }
}
