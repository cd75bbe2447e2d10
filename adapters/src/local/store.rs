//! A directory as store.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use lambdaload_core::ports::{ObjectStore, StoreError};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

/// Objects as files below one folder, named by their keys. Any number of processes may use it at once.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: PathBuf,
}

/// What a file system said, about which file, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}{advice}", path = .path.display())]
struct FileError {
    path: PathBuf,
    source: io::Error,
    advice: &'static str,
}

/// A key that could lead out of the store, or onto a file that is no object.
#[derive(Debug, thiserror::Error)]
#[error("expected letters, digits, `.`, `_` and `-` between slashes, and no part that begins with a dot")]
struct BadKey;

impl DirectoryStore {
    /// The store in this folder, which is made with the first object.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Does something with an object's file, where it may take its time.
    async fn with_file<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &str,
        action: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !is_legal(key) {
            return Err(StoreError::Unavailable { operation, key: key.to_owned(), cause: BadKey.into() });
        }
        let path = self.root.join(key);
        let in_background = spawn_blocking(move || match action(&path) {
            Ok(value) => Ok(value),
            Err(source) => Err(FileError { path, advice: advice(&source), source }),
        });
        match in_background.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists(key.to_owned()))
            }
            Ok(Err(error)) => Err(StoreError::Unavailable { operation, key: key.to_owned(), cause: error.into() }),
            Err(error) => Err(StoreError::Unavailable { operation, key: key.to_owned(), cause: error.into() }),
        }
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.with_file("storing", key, move |path| {
            if path.try_exists()? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = write_beside(path, &bytes)?;
            // Nobody will store it again under this key, so it must be there after a power cut, or not at all.
            file.as_file().sync_data()?;
            file.persist_noclobber(path)?;
            Ok(())
        })
        .await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.with_file("storing", key, move |path| {
            write_beside(path, &bytes)?.persist(path)?;
            Ok(())
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let read = |path: &Path| match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map(Some),
        };
        self.with_file("reading", key, read).await?.ok_or_else(|| StoreError::NotFound(key.to_owned()))
    }
}

/// A new file with these bytes in the folder where `path` will be; it has a name that no key has.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".storing-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn is_legal(key: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    key.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(legal))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ". The disk is full: free some space, or keep runs in another folder",
        io::ErrorKind::QuotaExceeded => ". Your share of the disk is full: free some, or keep runs in another folder",
        io::ErrorKind::PermissionDenied => ". You may not write there: change that, or keep runs in another folder",
        io::ErrorKind::ReadOnlyFilesystem => ". Nothing can be written there: keep runs in another folder",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use lambdaload_core::testing::contract::object_store_contract;

    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        object_store_contract(&DirectoryStore::new(folder.path().join("not/yet/there"))).await;
    }

    #[tokio::test]
    async fn two_stores_on_one_folder_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (DirectoryStore::new(folder.path()), DirectoryStore::new(folder.path()));
        one.put_new("a/b.bin", b"1".to_vec()).await.unwrap();
        assert_eq!(other.get("a/b.bin").await.unwrap(), b"1");
        assert!(matches!(other.put_new("a/b.bin", b"2".to_vec()).await, Err(StoreError::AlreadyExists(_))));
    }

    #[tokio::test]
    async fn keys_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(folder.path().join("root"));
        for key in ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a/", ".hidden", "a b", "a\0b", "ä"] {
            let error = store.put(key, vec![1]).await.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{key}");
            assert!(error.to_string().contains("expected letters, digits"), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_was_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(folder.path());
        for _ in 0..3 {
            let _ = store.put_new("runs/x.chunk", vec![0; 1000]).await;
        }
        assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn errors_name_the_file_and_the_remedy() {
        // Even root can neither write here nor make room.
        let message = |root: &'static str| async move {
            DirectoryStore::new(root).put("a.bin", vec![1]).await.unwrap_err().to_string()
        };
        let found = message("/proc").await;
        assert!(found.starts_with("storing `a.bin`: /proc/a.bin: "), "{found}");
        assert_eq!(advice(&io::Error::from_raw_os_error(28)), advice(&io::ErrorKind::StorageFull.into()));
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            assert!(advice(&kind.into()).contains("keep runs in another folder"));
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_said_to_be_full() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let error = fs::write("/dev/full", "x").unwrap_err();
        assert!(advice(&error).contains("The disk is full"), "{error}");
    }
}
