//! This port's file, and its failures as the port's errors.

use std::path::Path;

use reelmill_sqlite::{Failure, Schema};
use rusqlite::Connection;

pub(super) use reelmill_sqlite::{BoxError, transact};

use crate::QueueError;

const SCHEMA: Schema = Schema {
    kind: "queue",
    // "rmQu"
    application_id: 0x726d_5175,
    version: 1,
    script: include_str!("schema.sql"),
    upgrades: &[],
};

#[derive(Clone, Debug)]
pub(super) struct Db(reelmill_sqlite::Db);

impl Db {
    pub(super) fn open(path: &Path) -> Result<Self, QueueError> {
        let opened = reelmill_sqlite::Db::open(path, &SCHEMA);
        opened.map(Self).map_err(|failure| error("open", failure))
    }

    /// Runs work with the connection to itself; `action` is what that is for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let answer = self.0.run(work).await;
        answer.map_err(|failure| error(action, failure))
    }
}

fn error(action: &'static str, failure: Failure) -> QueueError {
    QueueError {
        action,
        retryable: failure.retryable,
        source: failure.source,
    }
}
