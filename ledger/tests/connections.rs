//! Redis over connections that are slow, that are cut, and that swallow all: the suite, and what
//! callers are told.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reelmill_faultproxy::redis::{Redis, is_script};
use reelmill_ledger::conformance::{Fixture, Time};
use reelmill_ledger::{Claim, Completion, Ledger, RedisLedger, RedisOptions, ledger_conformance};

mod job;
mod retrying;
mod shared;

use job::{chunk, job, new_job, worker};
use retrying::Retrying;
use shared::Part;

const LONG: Duration = Duration::from_secs(600);

type Proxy = reelmill_faultproxy::Proxy<Redis>;
type Fate = reelmill_faultproxy::Fate<Vec<u8>>;

/// Every so many calls of the ledger, one has this fate.
fn one_of(calls: u32, fate: Fate) -> impl Fn(&Vec<u8>) -> Fate + Send + Sync + 'static {
    let count = AtomicU32::new(0);
    move |command| {
        let is_one =
            is_script(command) && (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(calls);
        if is_one { fate.clone() } else { Fate::Pass }
    }
}

fn every_call(fate: Fate) -> impl Fn(&Vec<u8>) -> Fate + Send + Sync + 'static {
    one_of(1, fate)
}

fn pass(_: &Vec<u8>) -> Fate {
    Fate::Pass
}

/// A proxy in front of the server of a part, and the options that lead through it.
async fn proxy_to(
    part: &Part,
    judge: impl Fn(&Vec<u8>) -> Fate + Send + Sync + 'static,
) -> (Proxy, RedisOptions) {
    let server = part.options.url.trim_start_matches("redis://");
    let proxy = Proxy::start(server, judge).await;
    let mut options = part.options.clone();
    options.url = proxy.url();
    (proxy, options)
}

async fn redis_through(judge: impl Fn(&Vec<u8>) -> Fate + Send + Sync + 'static) -> Fixture {
    let part = Part::new();
    let (proxy, options) = proxy_to(&part, judge).await;
    let ledger = RedisLedger::connect(&options).await.unwrap();
    let ledger = Retrying::new(Arc::new(ledger));
    Fixture::new(Arc::new(ledger), Time::Real, (proxy, part))
}

async fn redis_far_away() -> Fixture {
    redis_through(every_call(Fate::Delay(Duration::from_millis(2)))).await
}

/// As many calls as wait on a connection fail with it.
async fn redis_cut_off() -> Fixture {
    redis_through(one_of(5, Fate::Lost)).await
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
    let (proxy, mut options) = proxy_to(&part, pass).await;
    options.response_timeout = Duration::from_millis(500);
    options.connect_timeout = options.response_timeout;
    let ledger = RedisLedger::connect(&options).await.unwrap();
    // The server hears of it; connections that met this stay so.
    proxy.set(|_| Fate::Stall(0));
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
    proxy.set(pass);
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
    let (proxy, options) = proxy_to(&part, pass).await;
    let ledger = RedisLedger::connect(&options).await.unwrap();
    two_chunks(&ledger).await;
    ledger.complete(&chunk(1)).await.unwrap();
    let claim = async |index| ledger.claim(&chunk(index), &worker(), LONG, 9).await;
    // A server that is new to a script answers that first, and that answer would be cut.
    assert_eq!(claim(1).await.unwrap(), Claim::Done);

    proxy.set(every_call(Fate::ResponseLost));
    assert!(claim(0).await.unwrap_err().retryable);
    proxy.set(pass);
    assert!(matches!(claim(0).await.unwrap(), Claim::Held { .. }));

    proxy.set(every_call(Fate::ResponseLost));
    assert!(ledger.complete(&chunk(0)).await.unwrap_err().retryable);
    proxy.set(pass);
    assert_eq!(ledger.complete(&chunk(0)).await.unwrap(), Completion::Whole);
    let record = ledger.job(&job()).await.unwrap().unwrap();
    assert_eq!((record.completed_chunks, record.completed_frames), (2, 200));
    assert_eq!(record.attempts, 1);
}
