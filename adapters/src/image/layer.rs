//! Archives that are the same bytes whenever they are made of the same.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// Something in an archive. It is root's, and of the year 1970.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Absolute.
    path: String,
    kind: EntryType,
    mode: u32,
    contents: Vec<u8>,
}

impl Entry {
    /// A file that anybody may read.
    pub(super) fn file(path: &str, contents: Vec<u8>) -> Self {
        Self { path: path.to_owned(), kind: EntryType::Regular, mode: 0o444, contents }
    }

    /// A file that anybody may run.
    pub(super) fn program(path: &str, contents: Vec<u8>) -> Self {
        Self { mode: 0o555, ..Self::file(path, contents) }
    }

    /// A folder.
    pub(super) fn folder(path: &str) -> Self {
        Self { kind: EntryType::Directory, mode: 0o755, ..Self::file(path, Vec::new()) }
    }

    /// A folder that anybody may write to.
    pub(super) fn open_folder(path: &str) -> Self {
        Self { mode: 0o1777, ..Self::folder(path) }
    }
}

/// The archive of these, in this order.
pub(super) fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.contents.len() as u64);
        for set in [Header::set_uid, Header::set_gid, Header::set_mtime] {
            set(&mut header, 0);
        }
        let path = entry.path.trim_start_matches('/');
        // Writing to memory fails for no reason but a path that no header can hold, and none is that long.
        _ = builder.append_data(&mut header, path, entry.contents.as_slice());
    }
    builder.into_inner().unwrap_or_default()
}

/// It compressed. Which zlib does it is pinned, and so are the bytes.
pub(super) fn packed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    _ = encoder.write_all(tar);
    encoder.finish().unwrap_or_default()
}
