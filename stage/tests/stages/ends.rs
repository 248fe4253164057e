//! How a job ended outlives every ledger.

use std::sync::Arc;

use reelmill_common::job::{JobEnd, JobStatus};
use reelmill_common::key;
use reelmill_stage::{
    Housekeeper, HousekeepingSettings, Ports, cancel, known, load_json, resume, retry, submit,
};
use reelmill_store::{Faults, FaultyStore, When};

use crate::toy::{Place, job, request, worker};

async fn tick(place: &Place) {
    let settings = HousekeepingSettings {
        worker: worker(),
        every: std::time::Duration::from_secs(30),
        retention: None,
        slots: 2,
    };
    // Long after whatever there is.
    let now = 4_000_000_000_000;
    Housekeeper::new(place.ports.clone(), settings)
        .tick(now)
        .await;
}

async fn end(place: &Place, id: &str) -> Option<JobEnd> {
    let key = key::ended(&job(id));
    load_json(place.ports.store.as_ref(), &key).await.unwrap()
}

#[tokio::test]
async fn a_cancelled_job_stays_so_when_the_ledger_is_emptied() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    cancel(&place.ports, &job).await.unwrap();
    assert_eq!(
        end(&place, "j1").await.unwrap().status,
        JobStatus::Cancelled
    );
    assert!(!place.exists(&key::open(&job)).await);

    let place = place.emptied();
    assert_eq!(place.ports.ledger.job(&job).await.unwrap(), None);
    assert!(known(&place.ports, &job).await.unwrap().is_some());
    assert_eq!(place.record(&job).await.status, JobStatus::Cancelled);

    let place = place.emptied();
    resume(&place.ports).await.unwrap();
    assert_eq!(place.record(&job).await.status, JobStatus::Cancelled);
    assert_eq!(
        place
            .messages(reelmill_common::message::Topic::Ingest)
            .await,
        0
    );
}

#[tokio::test]
async fn an_open_job_is_known_again_when_the_ledger_is_emptied() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let place = place.emptied();
    tick(&place).await;
    assert_eq!(place.record(&job).await.status, JobStatus::Pending);
}

#[tokio::test]
async fn an_end_that_could_not_be_stored_is_stored_later() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let faults = Faults::first(1, When::Before).only("put_new");
    let ports = Ports {
        store: Arc::new(FaultyStore::new(Arc::clone(&place.ports.store), faults)),
        ..place.ports.clone()
    };
    assert_eq!(
        cancel(&ports, &job).await.unwrap(),
        Some(JobStatus::Cancelled)
    );
    assert_eq!(end(&place, "j1").await, None);
    tick(&place).await;
    assert_eq!(
        end(&place, "j1").await.unwrap().status,
        JobStatus::Cancelled
    );
    assert!(!place.exists(&key::open(&job)).await);
}

#[tokio::test]
async fn a_retry_takes_the_end_back() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    cancel(&place.ports, &job).await.unwrap();
    assert!(retry(&place.ports, &job).await.unwrap());
    assert_eq!(end(&place, "j1").await, None);
    let place = place.emptied();
    tick(&place).await;
    assert!(!place.record(&job).await.status.is_terminal());
}

#[tokio::test]
async fn a_job_that_the_ledger_has_forgotten_is_retried() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    cancel(&place.ports, &job).await.unwrap();
    let place = place.emptied();
    assert!(retry(&place.ports, &job).await.unwrap());
    assert!(!place.record(&job).await.status.is_terminal());
    assert_eq!(end(&place, "j1").await, None);
}
