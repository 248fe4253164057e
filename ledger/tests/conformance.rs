//! The suite over SQLite, with a clock that is moved and with a real one, and behind the decorator,
//! which without faults, and with faults and a caller that tries again, must look the same.
#![expect(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reelmill_ledger::conformance::{Fixture, Time};
use reelmill_ledger::{
    Clock, Faults, FaultyLedger, Ledger, SqliteLedger, When, ledger_conformance,
};

mod retrying;
use retrying::Retrying;

fn over(wrap: impl FnOnce(Arc<dyn Ledger>) -> Arc<dyn Ledger>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let shown = Arc::clone(&now);
    let clock = Clock::new(move || shown.load(Ordering::SeqCst));
    let ledger = SqliteLedger::open_with_clock(folder.path().join("ledger.db"), clock).unwrap();
    let advance = move |by: Duration| {
        now.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    };
    Fixture::new(
        wrap(Arc::new(ledger)),
        Time::Moved(Box::new(advance)),
        folder,
    )
}

async fn sqlite() -> Fixture {
    over(|ledger| ledger)
}

async fn sqlite_in_real_time() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path().join("ledger.db")).unwrap();
    Fixture::new(Arc::new(ledger), Time::Real, folder)
}

async fn faultless_decorator() -> Fixture {
    let faults = Faults::none().with_latency(Duration::from_micros(100));
    over(|ledger| Arc::new(FaultyLedger::new(ledger, faults)))
}

async fn failing_before_and_tried_again() -> Fixture {
    over(|ledger| {
        let faulty = FaultyLedger::new(ledger, Faults::first(2, When::Before));
        Arc::new(Retrying::new(Arc::new(faulty)))
    })
}

/// Every method but `claim`, `create_job` and `retry`, whose answers tell who was first, says the
/// same when it is called again.
fn tried_again_after_losing_answers_of(operation: &'static str) -> Fixture {
    over(|ledger| {
        let faults = Faults::fraction(500, 3, When::After).only(operation);
        Arc::new(Retrying::new(Arc::new(FaultyLedger::new(ledger, faults))))
    })
}

async fn lost_extend() -> Fixture {
    tried_again_after_losing_answers_of("extend")
}

async fn lost_renew() -> Fixture {
    tried_again_after_losing_answers_of("renew")
}

async fn lost_complete() -> Fixture {
    tried_again_after_losing_answers_of("complete")
}

async fn lost_release() -> Fixture {
    tried_again_after_losing_answers_of("release")
}

async fn lost_finish() -> Fixture {
    tried_again_after_losing_answers_of("finish")
}

ledger_conformance!(sqlite_backend, sqlite);
ledger_conformance!(sqlite_backend_in_real_time, sqlite_in_real_time);
ledger_conformance!(decorator_without_faults, faultless_decorator);
ledger_conformance!(faults_before_the_effect, failing_before_and_tried_again);
ledger_conformance!(extends_whose_answer_is_lost, lost_extend);
ledger_conformance!(renewals_whose_answer_is_lost, lost_renew);
ledger_conformance!(completions_whose_answer_is_lost, lost_complete);
ledger_conformance!(releases_whose_answer_is_lost, lost_release);
ledger_conformance!(ends_whose_answer_is_lost, lost_finish);
