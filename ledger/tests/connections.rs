//! Redis over connections that are slow, that are cut, and that swallow all: the suite, and what
//! callers are told.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reelmill_ledger::conformance::{Fixture, Time};
use reelmill_ledger::{Claim, Completion, Ledger, RedisLedger, ledger_conformance};

mod job;
mod proxy;
mod retrying;
mod shared;

use job::{chunk, job, new_job, worker};
use proxy::{Mode, Proxy};
use retrying::Retrying;
use shared::Part;

const LONG: Duration = Duration::from_secs(600);

async fn redis_through(mode: Mode) -> Fixture {
    let part = Part::new();
    let proxy = Proxy::start(&part.options.url, mode).await;
    let mut options = part.options.clone();
    options.url = proxy.url();
    let ledger = RedisLedger::connect(&options).await.unwrap();
    let ledger = Retrying::new(Arc::new(ledger));
    Fixture::new(Arc::new(ledger), Time::Real, (proxy, part))
}

async fn redis_far_away() -> Fixture {
    redis_through(Mode::Slow(Duration::from_millis(2))).await
}

/// As many calls as wait on a connection fail with it.
async fn redis_cut_off() -> Fixture {
    redis_through(Mode::CutBefore(5)).await
}

ledger_conformance!(
    redis_over_slow_connections,
    redis_far_away,
    ignore = "needs REELMILL_TEST_REDIS"
);
ledger_conformance!(
    redis_over_connections_that_are_cut,
    redis_cut_off,
    ignore = "needs REELMILL_TEST_REDIS"
);

async fn two_chunks(ledger: &RedisLedger) {
    ledger.create_job(&new_job()).await.unwrap();
    let tasks = [(chunk(0).key, 100), (chunk(1).key, 100)];
    ledger.extend(&job(), &tasks, &[], &[]).await.unwrap();
}

/// Nothing says that such a connection is of no more use, but that no answer comes.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn a_swallowed_connection_is_given_up() {
    let part = Part::new();
    let proxy = Proxy::start(&part.options.url, Mode::Slow(Duration::ZERO)).await;
    let mut options = part.options.clone();
    options.url = proxy.url();
    options.response_timeout = Duration::from_millis(500);
    options.connect_timeout = options.response_timeout;
    let ledger = RedisLedger::connect(&options).await.unwrap();
    proxy.set(Mode::Swallow);
    for _ in 0..3 {
        let began = Instant::now();
        let error = ledger.counts().await.unwrap_err();
        assert!(error.retryable, "{error:?}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    // The connections from before stay as they are, so a new one must have been made.
    proxy.set(Mode::Slow(Duration::ZERO));
    let mut failed = 0;
    while let Err(error) = ledger.counts().await {
        assert!(error.retryable && failed < 2, "{error:?}");
        failed += 1;
    }
}

/// The call may have had its effect: asking again says so.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn answers_lost_with_their_connection_are_given_again() {
    let part = Part::new();
    let proxy = Proxy::start(&part.options.url, Mode::Slow(Duration::ZERO)).await;
    let mut options = part.options.clone();
    options.url = proxy.url();
    let ledger = RedisLedger::connect(&options).await.unwrap();
    two_chunks(&ledger).await;
    ledger.complete(&chunk(1)).await.unwrap();
    let claim = async |index| ledger.claim(&chunk(index), &worker(), LONG, 9).await;
    // A server that is new to a script answers that first, and that answer would be cut.
    assert_eq!(claim(1).await.unwrap(), Claim::Done);

    proxy.set(Mode::CutAfter(1));
    assert!(claim(0).await.unwrap_err().retryable);
    proxy.set(Mode::Slow(Duration::ZERO));
    assert!(matches!(claim(0).await.unwrap(), Claim::Held { .. }));

    proxy.set(Mode::CutAfter(1));
    assert!(ledger.complete(&chunk(0)).await.unwrap_err().retryable);
    proxy.set(Mode::Slow(Duration::ZERO));
    assert_eq!(ledger.complete(&chunk(0)).await.unwrap(), Completion::Whole);
    let record = ledger.job(&job()).await.unwrap().unwrap();
    assert_eq!((record.completed_chunks, record.completed_frames), (2, 200));
    assert_eq!(record.attempts, 1);
}
