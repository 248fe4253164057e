//! The three ports, each where the settings say.

use std::path::Path;
use std::sync::Arc;

use reelmill_common::WorkerId;
use reelmill_ledger::{Ledger, SqliteLedger};
use reelmill_queue::{Queue, SqliteQueue};
use reelmill_stage::Ports;
use reelmill_store::{DirectoryStore, Store};

use crate::config::{Backends, LedgerAt, QueueAt, StoreAt};
use crate::failure::Failure;
use crate::folder::STORE;

/// The three ports in a folder of this machine, which the caller must have locked.
pub(crate) async fn embedded(folder: &Path, worker: &WorkerId) -> Result<Ports, Failure> {
    let backends = Backends {
        queue: QueueAt::Embedded,
        store: StoreAt::Embedded,
        ledger: LedgerAt::Embedded,
    };
    ports(&backends, folder, worker).await
}

/// The three ports; `folder` is for those that are embedded, and the caller must have locked it.
pub(crate) async fn ports(
    backends: &Backends,
    folder: &Path,
    worker: &WorkerId,
) -> Result<Ports, Failure> {
    let ports = Ports {
        store: store_at(&backends.store, folder).await?,
        queue: queue_at(&backends.queue, folder).await?,
        ledger: ledger_at(&backends.ledger, folder).await?,
    };
    // Whoever had this name before is dead: the folder's lock is ours, or the name is new.
    ports
        .ledger
        .release_all(worker)
        .await
        .map_err(|error| Failure::of(&error))?;
    Ok(ports)
}

/// The store of [`embedded`] ports.
pub(crate) fn store(folder: &Path) -> Result<DirectoryStore, Failure> {
    DirectoryStore::open(folder.join(STORE)).map_err(|error| Failure::of(&error))
}

async fn store_at(at: &StoreAt, folder: &Path) -> Result<Arc<dyn Store>, Failure> {
    match at {
        StoreAt::Embedded => {
            let store = store(folder)?;
            store.recover().map_err(|error| Failure::of(&error))?;
            Ok(Arc::new(store))
        }
        StoreAt::S3(s3) => super::cluster::store(s3).await,
    }
}

async fn queue_at(at: &QueueAt, folder: &Path) -> Result<Arc<dyn Queue>, Failure> {
    match at {
        QueueAt::Embedded => {
            let queue = SqliteQueue::open(folder.join("queue.sqlite"));
            let queue = queue.map_err(|error| Failure::of(&error))?;
            queue.recover().await.map_err(|error| Failure::of(&error))?;
            Ok(Arc::new(queue))
        }
        QueueAt::Kafka(kafka) => super::cluster::queue(kafka).await,
    }
}

async fn ledger_at(at: &LedgerAt, folder: &Path) -> Result<Arc<dyn Ledger>, Failure> {
    match at {
        LedgerAt::Embedded => {
            let ledger = SqliteLedger::open(folder.join("ledger.sqlite"));
            Ok(Arc::new(ledger.map_err(|error| Failure::of(&error))?))
        }
        LedgerAt::Redis { url, kept } => super::cluster::ledger(url, *kept).await,
    }
}
