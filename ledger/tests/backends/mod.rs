//! Every backend, empty, with the clock that it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reelmill_ledger::conformance::{Guard, Time};
use reelmill_ledger::{Clock, Ledger, RedisLedger, SqliteLedger};

use crate::shared::Part;

pub(crate) struct Backend {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) time: Time,
    pub(crate) guard: Box<dyn Guard>,
}

/// With a clock that is moved.
pub(crate) async fn sqlite() -> Backend {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let shown = Arc::clone(&now);
    let clock = Clock::new(move || shown.load(Ordering::SeqCst));
    let ledger = SqliteLedger::open_with_clock(folder.path().join("ledger.db"), clock).unwrap();
    let advance = move |by: Duration| {
        now.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    };
    Backend {
        ledger: Arc::new(ledger),
        time: Time::Moved(Box::new(advance)),
        guard: Box::new(folder),
    }
}

pub(crate) async fn redis() -> Backend {
    let part = Part::new();
    let ledger = RedisLedger::connect(&part.options).await.unwrap();
    Backend {
        ledger: Arc::new(ledger),
        time: Time::Real,
        guard: Box::new(part),
    }
}
