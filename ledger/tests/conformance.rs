//! The suite over every backend: bare, and behind the decorator, which without faults, and with
//! faults and a caller that tries again, must look the same. SQLite runs it with a clock that is
//! moved and with a real one.
#![expect(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use reelmill_ledger::conformance::{Fixture, Time};
use reelmill_ledger::{Faults, FaultyLedger, Ledger, SqliteLedger, When, ledger_conformance};

mod backends;
mod retrying;
mod shared;

use backends::Backend;
use retrying::Retrying;

fn over(backend: Backend, wrap: impl FnOnce(Arc<dyn Ledger>) -> Arc<dyn Ledger>) -> Fixture {
    Fixture::new(wrap(backend.ledger), backend.time, backend.guard)
}

fn faultless_decorator(backend: Backend) -> Fixture {
    let faults = Faults::none().with_latency(Duration::from_micros(100));
    over(backend, |ledger| {
        Arc::new(FaultyLedger::new(ledger, faults))
    })
}

fn tried_again(backend: Backend, faults: Faults) -> Fixture {
    over(backend, |ledger| {
        Arc::new(Retrying::new(Arc::new(FaultyLedger::new(ledger, faults))))
    })
}

fn failing_before(backend: Backend) -> Fixture {
    tried_again(backend, Faults::first(2, When::Before))
}

/// Every method but `claim`, `create_job` and `retry`, whose answers tell who was first, says the
/// same when it is called again.
fn losing_answers_of(operation: &'static str, backend: Backend) -> Fixture {
    let faults = Faults::fraction(500, 3, When::After).only(operation);
    tried_again(backend, faults)
}

/// What every backend runs.
macro_rules! suites {
    ($backend:ident $(, ignore = $why:literal)?) => {
        mod $backend {
            use super::*;

            async fn alone() -> Fixture {
                over(backends::$backend().await, |ledger| ledger)
            }
            async fn decorated() -> Fixture {
                faultless_decorator(backends::$backend().await)
            }
            async fn failing() -> Fixture {
                failing_before(backends::$backend().await)
            }
            async fn lost_extend() -> Fixture {
                losing_answers_of("extend", backends::$backend().await)
            }
            async fn lost_renew() -> Fixture {
                losing_answers_of("renew", backends::$backend().await)
            }
            async fn lost_complete() -> Fixture {
                losing_answers_of("complete", backends::$backend().await)
            }
            async fn lost_release() -> Fixture {
                losing_answers_of("release", backends::$backend().await)
            }
            async fn lost_finish() -> Fixture {
                losing_answers_of("finish", backends::$backend().await)
            }

            ledger_conformance!(bare, alone $(, ignore = $why)?);
            ledger_conformance!(decorator_without_faults, decorated $(, ignore = $why)?);
            ledger_conformance!(faults_before_the_effect, failing $(, ignore = $why)?);
            ledger_conformance!(extends_whose_answer_is_lost, lost_extend $(, ignore = $why)?);
            ledger_conformance!(renewals_whose_answer_is_lost, lost_renew $(, ignore = $why)?);
            ledger_conformance!(completions_whose_answer_is_lost, lost_complete $(, ignore = $why)?);
            ledger_conformance!(releases_whose_answer_is_lost, lost_release $(, ignore = $why)?);
            ledger_conformance!(ends_whose_answer_is_lost, lost_finish $(, ignore = $why)?);
        }
    };
}

suites!(sqlite);
suites!(redis, ignore = "needs REELMILL_TEST_REDIS");

async fn sqlite_in_real_time() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(folder.path().join("ledger.db")).unwrap();
    Fixture::new(Arc::new(ledger), Time::Real, folder)
}

ledger_conformance!(sqlite_backend_in_real_time, sqlite_in_real_time);
