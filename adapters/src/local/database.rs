//! The file of the ledger: what is in it, and whether it is one.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};

/// The format of the tables and of the records in them, in the file's `user_version`.
const FORMAT: i32 = 2;

/// Marks the file as a ledger of ours, in its `application_id`: `LLrn`.
const MARK: i32 = 0x4c4c_726e;

/// How long a method waits for other processes to finish theirs. Each takes milliseconds, but there may be hundreds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Before asking again where `SQLite` itself does not wait.
const BUSY: Duration = Duration::from_millis(10);

const TABLES: &str = "
    CREATE TABLE runs (
        id      TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        record  TEXT NOT NULL,
        verdict TEXT
    ) WITHOUT ROWID;
    CREATE TABLE workers (
        run     TEXT NOT NULL,
        worker  INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        record  TEXT NOT NULL,
        PRIMARY KEY (run, worker)
    ) WITHOUT ROWID;
";

/// What is wrong with the file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{path} cannot be used: {source}{advice}")]
    Database { path: String, source: rusqlite::Error, advice: &'static str },
    #[error("{path}: the folder for it cannot be made: {source}")]
    Folder { path: String, source: std::io::Error },
    #[error("a record in {path} cannot be read or written: {source}")]
    Record { path: String, source: serde_json::Error },
    #[error("{path} is a database of another program; keep runs in another folder")]
    Foreign { path: String },
    #[error(
        "{path} was written by a newer lambdaload (format {found}; this one knows {FORMAT}): use that one, or keep runs \
         in another folder"
    )]
    Newer { path: String, found: i32 },
    #[error(
        "{path} was written by an older lambdaload (format {found}; this one knows {FORMAT}): keep runs in another \
         folder, or move it away"
    )]
    Older { path: String, found: i32 },
}

/// Opens the file, makes it if it is not there, and refuses what is no ledger of ours.
pub(super) fn connect(path: &Path) -> Result<Connection, FileError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| FileError::Folder { path: shown(path), source })?;
    }
    let failed = |error| database_error(path, error);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    // A file of another program is not touched. One transaction sees it at one moment: somebody may be making the tables.
    let reading = connection.transaction().map_err(failed)?;
    is_new(&reading, path)?;
    drop(reading);
    // Readers and one writer at once. A commit outlives any process; after a power cut the last ones may be missing.
    write_ahead(&connection).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Of several processes that find it new one makes the tables.
    if is_new(&transaction, path)? {
        transaction.execute_batch(TABLES).map_err(failed)?;
        transaction.pragma_update(None, "application_id", MARK).map_err(failed)?;
        transaction.pragma_update(None, "user_version", FORMAT).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(connection)
}

/// Turns the file to write-ahead logging. Of several that do so at once, `SQLite` tells some that it is busy without waiting.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                thread::sleep(BUSY);
            }
            outcome => return outcome,
        }
    }
}

/// Whether there is nothing in it yet; refuses what is no ledger of this format.
fn is_new(connection: &Connection, path: &Path) -> Result<bool, FileError> {
    let failed = |error| database_error(path, error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(failed);
    let table = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional();
    match (number("application_id")?, number("user_version")?, table.map_err(failed)?) {
        (MARK, FORMAT, _) => Ok(false),
        (MARK, found, _) if found < FORMAT => Err(FileError::Older { path: shown(path), found }),
        (MARK, found, _) => Err(FileError::Newer { path: shown(path), found }),
        (0, 0, None) => Ok(true),
        _ => Err(FileError::Foreign { path: shown(path) }),
    }
}

/// What the database said, with what to do about it.
pub(super) fn database_error(path: &Path, source: rusqlite::Error) -> FileError {
    let advice = match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            ". It is damaged or no ledger: move it away, and a new one is made"
        }
        Some(ErrorCode::DiskFull) => ". The disk is full: free some space, or keep runs in another folder",
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            ". It cannot be written: change that, or keep runs in another folder"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ". Another process holds it for too long: look for one that hangs"
        }
        _ => "",
    };
    FileError::Database { path: shown(path), source, advice }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        connect(path).unwrap_err().to_string()
    }

    #[test]
    fn a_ledger_of_another_format_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        connect(&path).unwrap();
        for (format, words) in [(3, "newer lambdaload (format 3;"), (1, "older lambdaload (format 1;")] {
            Connection::open(&path).unwrap().pragma_update(None, "user_version", format).unwrap();
            let message = refusal(&path);
            assert!(message.contains(&format!("{words} this one knows 2)")), "{message}");
        }
    }

    #[test]
    fn what_is_no_ledger_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.db");
        fs::write(&text, "not a database, but long enough to be read as the header of one\n".repeat(20)).unwrap();
        let message = refusal(&text);
        assert!(message.starts_with(&format!("{} cannot be used", text.display())), "{message}");
        assert!(message.contains("move it away"), "{message}");
        let other = folder.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE contacts (name TEXT)").unwrap();
        let before = fs::read(&other).unwrap();
        assert!(refusal(&other).contains("a database of another program"));
        assert_eq!(fs::read(&other).unwrap(), before, "it was changed");
        assert!(refusal(folder.path()).contains("It cannot be written"));
    }
}
