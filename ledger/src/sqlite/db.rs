//! This port's file, and its failures as the port's errors.

use std::path::Path;

use reelmill_sqlite::{Failure, Schema};
use rusqlite::Connection;

pub(super) use reelmill_sqlite::{BoxError, read, transact};

use crate::LedgerError;

const SCHEMA: Schema = Schema {
    kind: "ledger",
    // "rmLe"
    application_id: 0x726d_4c65,
    version: 2,
    script: include_str!("schema.sql"),
    upgrades: &["ALTER TABLE worker ADD COLUMN yt_dlp TEXT"],
};

#[derive(Clone, Debug)]
pub(super) struct Db(reelmill_sqlite::Db);

impl Db {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let opened = reelmill_sqlite::Db::open(path, &SCHEMA);
        opened.map(Self).map_err(|failure| error("open", failure))
    }

    /// Runs work with the connection to itself; `action` is what that is for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let answer = self.0.run(work).await;
        answer.map_err(|failure| error(action, failure))
    }
}

fn error(action: &'static str, failure: Failure) -> LedgerError {
    LedgerError {
        action,
        retryable: failure.retryable,
        source: failure.source,
    }
}
