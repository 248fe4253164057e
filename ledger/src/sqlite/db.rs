//! One connection, used off the async threads, one transaction for each operation.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::LedgerError;

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i32 = 1;

/// "rmLe": marks the file as a ledger, so that another port's file is not taken for one.
const APPLICATION_ID: i32 = 0x726d_4c65;

/// How long a transaction waits for those of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("`{path}` has schema {found}, this reelmill reads up to {SCHEMA_VERSION}: update it")]
    Newer { path: String, found: i32 },
    #[error("`{0}` is another program's database, not a ledger: name another file")]
    Foreign(String),
}

#[derive(Clone, Debug)]
pub(super) struct Db {
    connection: Arc<Mutex<Connection>>,
}

impl Db {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = connect(path).map_err(|source| error("open", source))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs work with the connection to itself.
    ///
    /// Work that has begun goes on to its end when the caller's future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let connection = Arc::clone(&self.connection);
        let answer = tokio::task::spawn_blocking(move || {
            // After a panic SQLite has rolled back, so the connection is as good as before.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        match answer.await {
            Ok(answer) => answer.map_err(|source| error(action, source)),
            Err(source) => Err(error(action, source.into())),
        }
    }
}

/// Runs work as one transaction that has the file's only write lock from its start: one that took
/// it later could find that another process had been faster, and fail without waiting.
pub(super) fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = work(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

/// Runs work that only reads, on one state of the file, without keeping writers waiting.
pub(super) fn read<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let answer = work(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

fn connect(path: &Path) -> Result<Connection, BoxError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    enter_wal_mode(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    transact(&mut connection, |transaction| {
        prepare_schema(transaction, path)
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

fn prepare_schema(transaction: &Transaction<'_>, path: &Path) -> Result<(), BoxError> {
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        return Ok(());
    }
    let path = path.display().to_string();
    if pragma("application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign(path).into());
    }
    match pragma("user_version")? {
        SCHEMA_VERSION => Ok(()),
        found => Err(OpenError::Newer { path, found }.into()),
    }
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

fn error(action: &'static str, source: BoxError) -> LedgerError {
    let is = |what: fn(&rusqlite::Error) -> bool| {
        source.downcast_ref::<rusqlite::Error>().is_some_and(what)
    };
    let (retryable, full) = (is(is_busy), is(is_full));
    let source = match full {
        // The kind by which a full disk is known, whatever filled it.
        true => std::io::Error::new(std::io::ErrorKind::StorageFull, source).into(),
        false => source,
    };
    LedgerError {
        action,
        retryable,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(answer: Result<Db, LedgerError>) -> String {
        let error = answer.unwrap_err();
        assert_eq!(error.to_string(), "cannot open the ledger");
        assert!(!error.retryable);
        error.source.to_string()
    }

    #[test]
    fn a_newer_or_foreign_file_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        for _ in 0..2 {
            Db::open(&path).unwrap();
        }
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 2)
            .unwrap();
        assert_eq!(
            cause(Db::open(&path)),
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
            cause(Db::open(&path)),
            format!(
                "`{}` is another program's database, not a ledger: name another file",
                path.display()
            )
        );
        assert!(Db::open(&folder.path().join("no-such-folder/ledger.db")).is_err());
    }

    #[test]
    fn many_may_open_a_new_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| Db::open(&path))).collect();
            for thread in opened {
                thread.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn commits_are_durable() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connect(&folder.path().join("ledger.db")).unwrap();
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
