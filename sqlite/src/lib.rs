//! One SQLite file as a backend of a port: opening it safely, and one transaction for each
//! operation, off the async threads.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// How long a transaction waits for those of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// Any error of the work that a transaction does.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a file holds.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// What the file is, such as `ledger`; for sentences.
    pub kind: &'static str,
    /// Marks a file as this kind, so that another port's is not taken for one.
    pub application_id: i32,
    /// Of the tables, from 1. A file with a newer one is refused.
    pub version: i32,
    /// Makes the tables in an empty file.
    pub script: &'static str,
    /// What makes version 2 of a file of version 1, version 3 of that, and so on to `version`.
    pub upgrades: &'static [&'static str],
}

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("SQLite failed")]
pub struct Failure {
    /// What the operation was for, such as `open`.
    pub action: &'static str,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The error itself; of the kind [`std::io::ErrorKind::StorageFull`] where the disk is full.
    #[source]
    pub source: BoxError,
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("`{path}` has schema {found}, this reelmill reads up to {known}: update it")]
    Newer {
        path: String,
        found: i32,
        known: i32,
    },
    #[error("`{path}` is another program's database, not a {kind}: name another file")]
    Foreign { path: String, kind: &'static str },
}

/// A file that is open, of a port whose error is `E`. Clones share one connection.
#[derive(Debug)]
pub struct Db<E> {
    connection: Arc<Mutex<Connection>>,
    error: PhantomData<fn() -> E>,
}

impl<E> Clone for Db<E> {
    fn clone(&self) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            error: PhantomData,
        }
    }
}

impl<E: From<Failure>> Db<E> {
    /// Opens the file `path`, making it where there is none. Waits for other processes that have it
    /// open. Blocking.
    ///
    /// # Errors
    /// The file cannot be opened, is of another kind, or was written by a newer reelmill.
    pub fn open(path: &Path, schema: &Schema) -> Result<Self, E> {
        let connection = connect(path, schema);
        let connection = connection.map_err(|source| failure("open", source, Some(path)))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            error: PhantomData,
        })
    }

    /// Runs work with the connection to itself; `action` names what it is for.
    ///
    /// Work that has begun goes on to its end when the caller's future is dropped.
    ///
    /// # Errors
    /// Whatever the work says.
    pub async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, E> {
        let connection = Arc::clone(&self.connection);
        let result = tokio::task::spawn_blocking(move || {
            // After a panic SQLite has rolled back, so the connection is as good as before.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
                .map_err(|source| failure(action, source, connection.path().map(Path::new)))
        });
        match result.await {
            Ok(result) => result.map_err(E::from),
            Err(panic) => Err(failure(action, panic.into(), None).into()),
        }
    }
}

/// Runs work as one transaction that has the file's only write lock from its start: one that took
/// it later could find that another process had been faster, and fail without waiting.
///
/// # Errors
/// Whatever the work says, and SQLite's own.
pub fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    within(connection, TransactionBehavior::Immediate, work)
}

/// Runs work that only reads, on one state of the file, without keeping writers waiting.
///
/// # Errors
/// Whatever the work says, and SQLite's own.
pub fn read<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    within(connection, TransactionBehavior::Deferred, work)
}

fn within<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let answer = work(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

fn connect(path: &Path, schema: &Schema) -> Result<Connection, BoxError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    enter_wal_mode(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    transact(&mut connection, |transaction| {
        prepare_schema(transaction, path, schema)
    })?;
    Ok(connection)
}

/// SQLite does not wait by itself while another connection changes the journal's mode.
fn enter_wal_mode(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && tries < 500 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

fn prepare_schema(
    transaction: &Transaction<'_>,
    path: &Path,
    schema: &Schema,
) -> Result<(), BoxError> {
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(schema.script)?;
        transaction.pragma_update(None, "application_id", schema.application_id)?;
        transaction.pragma_update(None, "user_version", schema.version)?;
        return Ok(());
    }
    let path = path.display().to_string();
    if pragma("application_id")? != schema.application_id {
        let kind = schema.kind;
        return Err(OpenError::Foreign { path, kind }.into());
    }
    let (found, known) = (pragma("user_version")?, schema.version);
    if found > known {
        return Err(OpenError::Newer { path, found, known }.into());
    }
    let done = usize::try_from(found.saturating_sub(1))?;
    for upgrade in schema.upgrades.iter().skip(done) {
        transaction.execute_batch(upgrade)?;
    }
    Ok(transaction.pragma_update(None, "user_version", known)?)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// `path` is that of the file, which the error of a full disk names.
fn failure(action: &'static str, source: BoxError, path: Option<&Path>) -> Failure {
    let is = |what: fn(&rusqlite::Error) -> bool| {
        source.downcast_ref::<rusqlite::Error>().is_some_and(what)
    };
    let (retryable, full) = (is(is_busy), is(is_full));
    let source = match full {
        // The kind by which a full disk is known, whatever filled it.
        true => {
            let path = path.unwrap_or(Path::new(""));
            let what = format!("`{}`: {source}", path.display());
            std::io::Error::new(std::io::ErrorKind::StorageFull, what).into()
        }
        false => source,
    };
    Failure {
        action,
        retryable,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema {
        kind: "ledger",
        application_id: 7,
        version: 1,
        script: "CREATE TABLE job (id TEXT)",
        upgrades: &[],
    };

    fn open(path: &Path) -> Result<Db<Failure>, Failure> {
        Db::open(path, &SCHEMA)
    }

    fn cause(answer: Result<Db<Failure>, Failure>) -> String {
        let failure = answer.unwrap_err();
        assert!(!failure.retryable);
        failure.source.to_string()
    }

    #[test]
    fn a_newer_or_foreign_file_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        for _ in 0..2 {
            open(&path).unwrap();
        }
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 2)
            .unwrap();
        assert_eq!(
            cause(open(&path)),
            format!(
                "`{}` has schema 2, this reelmill reads up to 1: update it",
                path.display()
            )
        );

        let path = folder.path().join("other.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        assert_eq!(
            cause(open(&path)),
            format!(
                "`{}` is another program's database, not a ledger: name another file",
                path.display()
            )
        );
        assert!(open(&folder.path().join("no-such-folder/ledger.db")).is_err());
    }

    #[test]
    fn an_older_file_is_upgraded_step_by_step_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        open(&path).unwrap();
        let newer = Schema {
            version: 3,
            script: "",
            upgrades: &[
                "ALTER TABLE job ADD COLUMN name TEXT",
                "ALTER TABLE job RENAME COLUMN name TO title",
            ],
            ..SCHEMA
        };
        for _ in 0..2 {
            Db::<Failure>::open(&path, &newer).unwrap();
            let connection = Connection::open(&path).unwrap();
            connection
                .execute("INSERT INTO job (id, title) VALUES ('a', 'b')", [])
                .unwrap();
        }
        assert!(cause(open(&path)).contains("has schema 3"));
    }

    #[test]
    fn many_may_open_a_new_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path))).collect();
            for thread in opened {
                thread.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn commits_are_durable() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connect(&folder.path().join("ledger.db"), &SCHEMA).unwrap();
        let synchronous: i32 = connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap();
        assert_eq!(synchronous, 2, "FULL");
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }
}
