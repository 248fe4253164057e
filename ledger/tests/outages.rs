//! Servers that lose all, are full, are set up wrongly or are away: each test has one of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::time::{Duration, Instant};

use reelmill_common::TaskKey;
use reelmill_common::job::JobStatus;
use reelmill_ledger::{Claim, Completion, Ledger, LedgerError, RedisLedger, RedisOptions};

mod job;
mod server;

use job::{chunk, job, new_job, worker};
use server::Server;

const LONG: Duration = Duration::from_secs(600);

async fn connected(options: &RedisOptions) -> RedisLedger {
    RedisLedger::connect(options).await.unwrap()
}

/// What the store would tell of a job of two chunks.
async fn rebuild(ledger: &RedisLedger, done: &[TaskKey]) -> Completion {
    ledger.create_job(&new_job()).await.unwrap();
    let tasks = [(chunk(0).key, 100), (chunk(1).key, 100)];
    ledger.extend(&job(), &tasks, done, &[]).await.unwrap()
}

async fn claim(ledger: &RedisLedger, index: u32) -> Result<Claim, LedgerError> {
    ledger.claim(&chunk(index), &worker(), LONG, 9).await
}

fn said(error: &LedgerError) -> String {
    format!("{error}: {}", error.source)
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_server_that_lost_all_is_told_by_the_store() {
    let server = Server::start(&[]);
    let ledger = connected(&server.options()).await;
    rebuild(&ledger, &[]).await;
    ledger.complete(&chunk(0)).await.unwrap();
    let Claim::Claimed { lease: old, .. } = claim(&ledger, 1).await.unwrap() else {
        panic!("chunk 1 is free");
    };

    server.tell(&["FLUSHALL"]);
    assert_eq!(claim(&ledger, 1).await.unwrap(), Claim::Unknown);
    assert_eq!(
        ledger.complete(&chunk(0)).await.unwrap(),
        Completion::Unknown
    );
    let lost = ledger.renew(&[(old.clone(), 5)], LONG).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&old));
    assert_eq!(ledger.job(&job()).await.unwrap(), None);

    assert_eq!(rebuild(&ledger, &[chunk(0).key]).await, Completion::Partial);
    assert_eq!(claim(&ledger, 0).await.unwrap(), Claim::Done);
    let Claim::Claimed { lease, attempt: 1 } = claim(&ledger, 1).await.unwrap() else {
        panic!("chunk 1 is free again");
    };
    assert!(
        lease.epoch > old.epoch,
        "{} after {}",
        lease.epoch,
        old.epoch
    );
    // The worker from before the loss finishes: the marker chose it, or the other one.
    assert_eq!(ledger.complete(&chunk(1)).await.unwrap(), Completion::Whole);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_policy_that_drops_leases_is_refused() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let error = RedisLedger::connect(&server.options()).await.unwrap_err();
    let expected = format!(
        "cannot connect to the ledger: `maxmemory-policy` is `allkeys-lru` on the redis at \
         `127.0.0.1:{}`, which drops leases when memory is short: set it to `noeviction`",
        server.port()
    );
    assert_eq!(said(&error), expected);
    assert!(!error.retryable);
    for policy in ["allkeys-lfu", "allkeys-random"] {
        server.tell(&["CONFIG", "SET", "maxmemory-policy", policy]);
        let refused = RedisLedger::connect(&server.options()).await;
        assert!(refused.is_err(), "{policy}");
    }
    // Those take only what expires: jobs that have ended.
    for policy in ["noeviction", "volatile-lru", "volatile-ttl"] {
        server.tell(&["CONFIG", "SET", "maxmemory-policy", policy]);
        connected(&server.options()).await;
    }
}

/// As managed servers do.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_server_that_hides_its_settings_is_used() {
    let server = Server::start(&["--rename-command", "CONFIG", ""]);
    let ledger = connected(&server.options()).await;
    assert_eq!(rebuild(&ledger, &[]).await, Completion::Partial);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = Server::start(&["--requirepass", "right-secret"]);
    let at = |user: &str| RedisOptions::new(format!("redis://{user}127.0.0.1:{}", server.port()));
    for user in ["", ":wrong-secret@", "nobody:wrong-secret@"] {
        let error = RedisLedger::connect(&at(user)).await.unwrap_err();
        assert!(!error.retryable, "{}", said(&error));
        let shown = format!("{} {error:?}", said(&error));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(
            shown.contains(&format!("127.0.0.1:{}", server.port())),
            "{shown}"
        );
    }
    let ledger = connected(&at(":right-secret@")).await;
    assert_eq!(rebuild(&ledger, &[]).await, Completion::Partial);
    assert!(!format!("{ledger:?}").contains("secret"));
}

/// Calls fail, soon and retryably, and work again without anybody's help.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_server_that_was_away_is_used_again() {
    let mut server = Server::start(&[]);
    let ledger = connected(&server.options()).await;
    rebuild(&ledger, &[]).await;
    server.kill();
    for _ in 0..5 {
        let began = Instant::now();
        let error = claim(&ledger, 0).await.unwrap_err();
        assert!(error.retryable, "{}", said(&error));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    server.start_again();
    // The first call may still be told of the connection that was lost.
    let mut failed = 0;
    let answer = loop {
        match claim(&ledger, 0).await {
            Ok(answer) => break answer,
            Err(error) if error.retryable && failed < 2 => failed += 1,
            Err(error) => panic!("{}", said(&error)),
        }
    };
    assert_eq!(answer, Claim::Unknown, "it started empty");
    assert_eq!(rebuild(&ledger, &[]).await, Completion::Partial);
}

/// As it is while a server fails over and the address still leads to the old one.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_demoted_server_is_tried_again() {
    let server = Server::start(&[]);
    let ledger = connected(&server.options()).await;
    rebuild(&ledger, &[]).await;
    server.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = claim(&ledger, 0).await.unwrap_err();
    assert!(error.retryable, "{}", said(&error));
    server.tell(&["REPLICAOF", "NO", "ONE"]);
    let claimed = claim(&ledger, 0).await.unwrap();
    assert!(
        matches!(claimed, Claim::Claimed { attempt: 1, .. }),
        "{claimed:?}"
    );
}

/// A full server refuses what would change something, whole.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_full_server_changes_nothing_by_half() {
    let server = Server::start(&[]);
    let ledger = connected(&server.options()).await;
    rebuild(&ledger, &[]).await;
    let Claim::Claimed { lease, .. } = claim(&ledger, 0).await.unwrap() else {
        panic!("chunk 0 is free");
    };
    ledger.renew(&[(lease.clone(), 30)], LONG).await.unwrap();
    let before = ledger.job(&job()).await.unwrap();

    server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    let job = &job();
    let errors = [
        claim(&ledger, 1).await.unwrap_err(),
        ledger.complete(&chunk(0)).await.unwrap_err(),
        ledger.release(&lease, false).await.unwrap_err(),
        ledger.release(&lease, true).await.unwrap_err(),
        ledger.release_all(&worker()).await.unwrap_err(),
        ledger
            .renew(&[(lease.clone(), 31)], LONG)
            .await
            .unwrap_err(),
        ledger
            .extend(job, &[], &[chunk(1).key], &[])
            .await
            .unwrap_err(),
        ledger
            .extend(job, &[], &[], &[chunk(1).key])
            .await
            .unwrap_err(),
        ledger
            .finish(job, JobStatus::Failed, None)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(error.retryable, "{}", said(&error));
    }
    assert_eq!(ledger.job(job).await.unwrap(), before);
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(ledger.renew(&[(lease, 30)], LONG).await.unwrap(), []);
    assert_eq!(
        ledger.complete(&chunk(0)).await.unwrap(),
        Completion::Partial
    );
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn flushed_scripts_are_loaded_again() {
    let server = Server::start(&[]);
    let ledger = connected(&server.options()).await;
    for _ in 0..2 {
        server.tell(&["SCRIPT", "FLUSH"]);
        assert_eq!(rebuild(&ledger, &[]).await, Completion::Partial);
    }
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS and redis-server"]
async fn a_server_behind_tls_must_be_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let named = ["127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(named).unwrap();
    let (certificate, key) = (folder.path().join("it.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(&[
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let installed = rustls::crypto::ring::default_provider().install_default();
    assert!(installed.is_ok(), "no other test of this file needs one");

    let mut options = RedisOptions::new(format!("rediss://127.0.0.1:{}", server.port()));
    let error = RedisLedger::connect(&options).await.unwrap_err();
    assert!(said(&error).contains("certificate"), "{}", said(&error));
    options.certificates = Some(own.cert.pem().into_bytes());
    let ledger = connected(&options).await;
    assert_eq!(rebuild(&ledger, &[]).await, Completion::Partial);
}
