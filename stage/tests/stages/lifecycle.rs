//! Jobs that are cancelled, retried and removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reelmill_common::job::JobStatus;
use reelmill_common::manifest::{Location, Proof};
use reelmill_common::message::Topic;
use reelmill_common::request::{JobOptions, JobRequest};
use reelmill_common::upload::{Order, Upload, VERSION};
use reelmill_common::{JobId, ObjectKey, key};
use reelmill_stage::{
    Ports, Settings, cancel, create_json, load_json, remove, retry, submit, submit_upload,
};
use reelmill_store::{Faults, FaultyStore, When};

use crate::toy::{At, Gate, Place, Running, Toy, at_work, chunk, job, request, settings, until};

/// A job of three chunks, one of them in hand, that is then cancelled; and how often a task was
/// begun.
async fn cancelled(place: &Place) -> (JobId, u32) {
    let gate = Gate::new(chunk(1), At::Made);
    let settings = Settings {
        // As it is in earnest.
        renew_every: Duration::from_millis(500),
        ..settings()
    };
    let (job, toy, running) = at_work(place, 3, Some(&gate), settings).await;
    gate.reached.notified().await;
    place.done(&job, 3).await;
    let began = Instant::now();
    let status = cancel(&place.ports, &job).await.unwrap();
    assert_eq!(status, Some(JobStatus::Cancelled));
    gate.was_dropped().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "dropped after {took:?}");
    until("its message is settled", async || {
        (place.messages(Topic::Chunks).await == 0).then_some(())
    })
    .await;
    running.stop().await;
    (job, toy.begun.load(Ordering::SeqCst))
}

fn start(place: &Place) -> (Arc<Toy>, Running) {
    let toy = Toy::new(&place.ports, 3, None);
    let handler = Arc::<Toy>::clone(&toy);
    (toy, Running::start(&place.ports, handler, settings()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_job_had_in_hand_is_dropped_and_a_retry_does_only_that() {
    let place = Place::new();
    let (job, begun) = cancelled(&place).await;
    assert_eq!(begun, 4);
    assert_eq!(place.record(&job).await.status, JobStatus::Cancelled);
    let left = place.keys("transcoded/j1/chunk_001/").await;
    assert_eq!(left, Vec::<String>::new(), "what was half-made is removed");
    assert_eq!(place.keys("transcoded/j1/chunk_000/").await.len(), 1);
    // It stays as it is.
    let again = cancel(&place.ports, &job).await.unwrap();
    assert_eq!(again, Some(JobStatus::Cancelled));

    assert!(retry(&place.ports, &job).await.unwrap());
    assert!(!retry(&place.ports, &job).await.unwrap(), "it runs already");
    let (toy, running) = start(&place);
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
    assert_eq!(
        toy.begun.load(Ordering::SeqCst),
        1,
        "the one that was missing"
    );
    assert!(!retry(&place.ports, &job).await.unwrap(), "it is completed");
    let end = cancel(&place.ports, &job).await.unwrap();
    assert_eq!(end, Some(JobStatus::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_can_be_retried_before_it_has_a_plan() {
    let (place, job) = (Place::new(), job("j1"));
    assert!(!retry(&place.ports, &job).await.unwrap(), "nobody knows it");
    assert_eq!(cancel(&place.ports, &job).await.unwrap(), None);
    submit(&place.ports, &job, &request()).await.unwrap();
    cancel(&place.ports, &job).await.unwrap();
    assert!(retry(&place.ports, &job).await.unwrap());
    let (_toy, running) = start(&place);
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_piece_is_gone_is_done_again() {
    let place = Place::new();
    let (job, _begun) = cancelled(&place).await;
    let piece = place.keys("transcoded/j1/chunk_000/").await.remove(0);
    let piece = ObjectKey::new(piece).unwrap();
    place.ports.store.delete(&piece).await.unwrap();
    assert!(retry(&place.ports, &job).await.unwrap());
    let (toy, running) = start(&place);
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
    assert_eq!(toy.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_job_leaves_nothing_however_often_that_dies() {
    let place = Place::new();
    let (job, _begun) = cancelled(&place).await;
    submit(&place.ports, &self::job("other"), &request())
        .await
        .unwrap();
    let before = place.keys("").await.len();
    let mut deaths = 0;
    // Each deletion works and its caller dies, so that every call removes one object, but for the
    // entry by which whoever keeps house finds it.
    while place.keys("").await.len() > 3 {
        let faults = Faults::first(1, When::After).only("delete");
        let ports = Ports {
            store: Arc::new(FaultyStore::new(Arc::clone(&place.ports.store), faults)),
            ..place.ports.clone()
        };
        remove(&ports, &job).await.unwrap_err();
        let known = place.ports.ledger.job(&job).await.unwrap();
        assert!(known.is_some(), "whoever looks for it finds it");
        deaths += 1;
    }
    assert_eq!(deaths, before - 3);
    for _ in 0..2 {
        remove(&place.ports, &job).await.unwrap();
        assert_eq!(place.ports.ledger.job(&job).await.unwrap(), None);
        let left = place.keys("").await;
        assert_eq!(left, ["open/other", "raw/other/request.json"]);
    }
}

pub(crate) fn upload(id: &str) -> Upload {
    Upload {
        version: VERSION,
        job: job(id),
        size: None,
        created_at: 0,
        expires_at: 1_000,
        said: std::collections::BTreeMap::new(),
        order: Order {
            name: "movie.mp4".to_owned(),
            profile: request().profile,
            proof: Proof::EveryFrame,
            window_ms: Some(4_000),
            options: JobOptions {
                time_limit_s: Some(60),
                ..JobOptions::default()
            },
        },
    }
}

#[tokio::test]
async fn an_upload_becomes_the_job_that_was_ordered() {
    let (place, upload) = (Place::new(), upload("j1"));
    let store = place.ports.store.as_ref();
    create_json(store, &key::upload(&upload.job), &upload)
        .await
        .unwrap();
    submit_upload(&place.ports, &upload, 3).await.unwrap();
    assert_eq!(place.keys("").await, ["open/j1", "raw/j1/request.json"]);
    let request: JobRequest = load_json(store, &key::request(&upload.job))
        .await
        .unwrap()
        .unwrap();
    let expected = JobRequest {
        location: Location::Stored {
            job: upload.job.clone(),
        },
        proof: Proof::EveryFrame,
        slots: 3,
        window_ms: Some(4_000),
        options: upload.order.options.clone(),
        ..crate::toy::request()
    };
    assert_eq!(request, expected);
    let record = place.record(&upload.job).await;
    assert_eq!(record.status, JobStatus::Pending);
    assert_eq!(record.options, upload.order.options);
    assert_eq!(place.messages(Topic::Ingest).await, 1);
}
