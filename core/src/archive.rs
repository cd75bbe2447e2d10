//! The tar that `k6 archive` makes.
//!
//! k6 says to treat it as opaque, and so do we but for three things: its contents make its address, its size and files
//! are shown, and one can be put around another script ([`wrap`]). (Raw tar bytes change every second, because k6 stamps
//! entries with the time.)

mod metadata;
mod wrap;

use std::{fmt, io::Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use metadata::{Metadata as ScriptMetadata, with_env, with_thresholds};
pub use wrap::{Wrapped, mentions, wrap};

/// The address of an archive: SHA-256 over name, type, link, mode and bytes of every entry, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ArchiveHash(String);

impl ArchiveHash {
    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first and last digits, for people.
    pub fn short(&self) -> String {
        match (self.0.get(..4), self.0.get(self.0.len().saturating_sub(2)..)) {
            (Some(head), Some(tail)) => format!("{head}…{tail}"),
            _ => self.0.clone(),
        }
    }
}

impl fmt::Display for ArchiveHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is known of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Archive {
    /// Its address.
    pub hash: ArchiveHash,
    /// Bytes of the whole tar.
    pub size: u64,
    /// Scripts, modules and data files in it.
    pub files: u32,
    /// The main script as k6 names it, for example `file:///home/nobody/checkout.js`.
    pub filename: String,
}

/// A file that is no k6 archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a tar at all, or a damaged one.
    // What the tar library says quotes the file, which may be anything.
    #[error("not a readable tar: expected what `k6 archive` makes")]
    Tar(#[from] std::io::Error),
    /// A tar without k6's metadata.
    #[error("a tar, but not one that `k6 archive` made: it has no metadata.json")]
    Foreign,
    /// Metadata that cannot be read.
    #[error("its metadata.json cannot be read: {0}")]
    Metadata(#[from] serde_json::Error),
    /// An archive without its main script.
    #[error("a tar, but not one that `k6 archive` made: it has no main script")]
    NoScript,
    /// Metadata of something else.
    #[error("its metadata.json says type `{0}`: expected `js`")]
    WrongType(String),
}

#[derive(Deserialize)]
struct Metadata {
    r#type: String,
    filename: String,
}

impl Archive {
    /// Reads the whole tar.
    pub fn read(tar: &[u8]) -> Result<Self, ArchiveError> {
        let mut metadata: Option<Metadata> = None;
        let mut hash = Sha256::new();
        let mut files = 0;
        for entry in tar::Archive::new(tar).entries()? {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            let name = entry.path_bytes().into_owned();
            let link = entry.link_name_bytes().unwrap_or_default().into_owned();
            let mode = entry.header().mode()?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            for field in [&name[..], &[kind.as_byte()], &link[..], &mode.to_be_bytes(), &bytes[..]] {
                hash.update((field.len() as u64).to_be_bytes());
                hash.update(field);
            }
            // The main script is a hard link to the entry `data`, so files and links are what a person calls files.
            files += u32::from((kind.is_file() || kind.is_hard_link()) && name.contains(&b'/'));
            if name == b"metadata.json" {
                metadata = Some(serde_json::from_slice(&bytes)?);
            }
        }
        let metadata = metadata.ok_or(ArchiveError::Foreign)?;
        if metadata.r#type != "js" {
            return Err(ArchiveError::WrongType(metadata.r#type));
        }
        let mut digits = String::new();
        for byte in hash.finalize() {
            digits += &format!("{byte:02x}");
        }
        Ok(Self { hash: ArchiveHash(digits), size: tar.len() as u64, files, filename: metadata.filename })
    }

    /// The source of the main script, as its author wrote it.
    pub fn main_script(tar: &[u8]) -> Result<String, ArchiveError> {
        for entry in tar::Archive::new(tar).entries()? {
            let mut entry = entry?;
            if *entry.path_bytes() == *b"data" {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Err(ArchiveError::NoScript)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(entries: &[(&str, &[u8])], mtime: u64) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(mtime);
            builder.append_data(&mut header, name, *bytes).expect("appends");
        }
        builder.into_inner().expect("ends")
    }

    const METADATA: &[u8] = br#"{"type":"js","filename":"file:///a.js"}"#;

    #[test]
    fn contents_make_the_address_and_times_do_not() {
        let read = |entries: &[(&str, &[u8])], mtime| Archive::read(&tar(entries, mtime)).expect("reads");
        let first = read(&[("metadata.json", METADATA), ("data", b"1"), ("file/a.js", b"1")], 1);
        let later = read(&[("metadata.json", METADATA), ("data", b"1"), ("file/a.js", b"1")], 2);
        let other = read(&[("metadata.json", METADATA), ("data", b"2"), ("file/a.js", b"2")], 1);
        assert_eq!(first, later);
        assert_ne!(first.hash, other.hash);
        let bytes = tar(&[("metadata.json", METADATA), ("file/a.js", b"x"), ("data", "é".as_bytes())], 1);
        assert_eq!(Archive::main_script(&bytes).expect("reads"), "é");
        assert!(matches!(Archive::main_script(&tar(&[("metadata.json", METADATA)], 1)), Err(ArchiveError::NoScript)));
        assert_eq!((first.files, first.filename.as_str()), (1, "file:///a.js"));
    }

    #[test]
    fn what_is_no_archive_is_refused_with_a_reason() {
        let message = |bytes: &[u8]| Archive::read(bytes).expect_err("refused").to_string();
        assert!(message(&tar(&[("readme", b"hello")], 1)).contains("no metadata.json"));
        assert!(message(&tar(&[("metadata.json", br#"{"type":"x","filename":""}"#)], 1)).contains("type `x`"));
        assert!(message(&tar(&[("metadata.json", b"{")], 1)).contains("metadata.json cannot be read"));
        assert!(message(&[7; 2000]).contains("not a readable tar"));
        let whole = tar(&[("metadata.json", METADATA), ("data", &[1; 4000])], 1);
        assert!(message(&whole[..2048]).contains("not a readable tar"));
    }
}
