//! What is put right when nobody else does it.

use std::time::Duration;

use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, ObjectKey, TaskId, TaskKey, WorkerId, key};
use reelmill_ledger::Claim;
use reelmill_stage::{
    Housekeeper, HousekeepingSettings, Shutdown, cancel, create_json, housekeep, publish_missing,
    resume, submit,
};

use crate::lifecycle::upload;
use crate::toy::{Place, Running, Toy, chunk, job, plan, request, settings, until, worker};

const HOUR: Duration = Duration::from_secs(3600);

fn keeper(place: &Place, by: &str) -> Housekeeper {
    Housekeeper::new(place.ports.clone(), keeping(by))
}

fn keeping(by: &str) -> HousekeepingSettings {
    HousekeepingSettings {
        worker: WorkerId::new(by).unwrap(),
        every: Duration::from_secs(30),
        retention: Some(HOUR),
        slots: 2,
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

async fn claim(place: &Place, job: &JobId, key: TaskKey) -> u64 {
    let task = TaskId {
        job: job.clone(),
        key,
    };
    let claim = place.ports.ledger.claim(&task, &worker(), HOUR, 9).await;
    match claim.unwrap() {
        Claim::Claimed { lease, .. } => lease.epoch,
        other => panic!("{other:?}"),
    }
}

/// A job with a plan of two chunks, as the splitter leaves it.
async fn planned(place: &Place, id: &str) -> JobId {
    let job = job(id);
    submit(&place.ports, &job, &request()).await.unwrap();
    let manifest = plan(&job, 2);
    let store = place.ports.store.as_ref();
    create_json(store, &key::manifest(&job), &manifest)
        .await
        .unwrap();
    publish_missing(&place.ports, &manifest, &[]).await.unwrap();
    job
}

#[tokio::test]
async fn a_job_over_its_time_limit_fails_with_a_sentence() {
    let place = Place::new();
    let (slow, patient) = (job("slow"), job("patient"));
    let mut limited: JobRequest = request();
    limited.options.time_limit_s = Some(10);
    submit(&place.ports, &slow, &limited).await.unwrap();
    submit(&place.ports, &patient, &request()).await.unwrap();
    let mut keeper = keeper(&place, "w1");
    // Waiting in line does not count.
    keeper
        .tick(place.record(&slow).await.created_at + 60_000)
        .await;
    assert_eq!(place.record(&slow).await.status, JobStatus::Pending);
    claim(&place, &slow, TaskKey::Ingest).await;
    claim(&place, &patient, TaskKey::Ingest).await;
    let began = place.record(&slow).await.started_at.unwrap();
    keeper.tick(began + 9_999).await;
    assert_eq!(place.record(&slow).await.status, JobStatus::Running);
    keeper.tick(began + 10_000).await;
    let record = place.record(&slow).await;
    assert_eq!(record.status, JobStatus::Failed);
    let error = record.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        (
            "time-limit",
            "`movie.mp4` took longer than its limit of 10 s: raise it or choose a faster profile"
        )
    );
    assert_eq!(place.record(&patient).await.status, JobStatus::Running);
}

#[tokio::test]
async fn ended_jobs_are_kept_as_long_as_asked_and_open_ones_stay() {
    let place = Place::new();
    let (old, open) = (planned(&place, "old").await, planned(&place, "open").await);
    cancel(&place.ports, &old).await.unwrap();
    let ended = place.record(&old).await.ended_at.unwrap();
    let hour = 3_600_000;
    keeper(&place, "w1").tick(ended + hour - 1).await;
    assert_eq!(place.record(&old).await.status, JobStatus::Cancelled);
    keeper(&place, "w1").tick(ended + hour).await;
    assert_eq!(place.ports.ledger.job(&old).await.unwrap(), None);
    let left = place.keys("").await;
    let of_open = [
        "chunks/open/manifest.json",
        "open/open",
        "raw/open/request.json",
    ];
    assert_eq!(left, of_open);
    assert_eq!(place.record(&open).await.status, JobStatus::Pending);
}

#[tokio::test]
async fn an_upload_that_is_not_whole_in_time_is_removed() {
    let place = Place::new();
    let (store, upload) = (&place.ports.store, upload("half"));
    create_json(store.as_ref(), &key::upload(&upload.job), &upload)
        .await
        .unwrap();
    for piece in ["raw/half/segment_00000", "raw/half/partial_00001"] {
        store.put(&key(piece), "bytes".into()).await.unwrap();
    }
    keeper(&place, "w1").tick(upload.expires_at - 1).await;
    assert_eq!(place.keys("").await.len(), 3);
    keeper(&place, "w1").tick(upload.expires_at).await;
    assert_eq!(place.keys("").await, Vec::<String>::new());
    assert_eq!(place.ports.ledger.job(&upload.job).await.unwrap(), None);
}

#[tokio::test]
async fn an_upload_that_is_whole_becomes_a_job() {
    let place = Place::new();
    let (store, upload) = (&place.ports.store, upload("whole"));
    create_json(store.as_ref(), &key::upload(&upload.job), &upload)
        .await
        .unwrap();
    store
        .put(&key::source(&upload.job), "{}".into())
        .await
        .unwrap();
    // Also when it expired meanwhile.
    keeper(&place, "w1").tick(upload.expires_at + 1).await;
    assert_eq!(
        place.keys("").await,
        [
            "open/whole",
            "raw/whole/request.json",
            "raw/whole/source.json"
        ]
    );
    assert_eq!(place.record(&upload.job).await.status, JobStatus::Pending);
    assert_eq!(place.messages(Topic::Ingest).await, 1);
}

#[tokio::test]
async fn what_dead_attempts_left_is_removed_and_whole_chunks_stay() {
    let place = Place::new();
    let store = &place.ports.store;
    let job = planned(&place, "j1").await;
    let epoch = claim(&place, &job, chunk(0)).await;
    let dead = key(&format!("transcoded/j1/chunk_000/{epoch}-w1/1080p.mp4"));
    let whole = key("transcoded/j1/chunk_001/5-w1/1080p.mp4");
    let marker = serde_json::json!({ "renditions": [{ "key": whole }] }).to_string();
    for piece in [&dead, &whole] {
        store.put(piece, "frames".into()).await.unwrap();
    }
    store
        .put(&key::marker(&job, chunk(1)), marker.into())
        .await
        .unwrap();
    cancel(&place.ports, &job).await.unwrap();
    let ended = place.record(&job).await.ended_at.unwrap();
    // Of a retry that began while this went on.
    let new = key(&format!(
        "transcoded/j1/chunk_000/{}-w1/1080p.mp4",
        ended + 1
    ));
    store.put(&new, "frames".into()).await.unwrap();
    keeper(&place, "w1").tick(ended + 1_000).await;
    assert!(place.exists(&dead).await, "it may still be running");
    keeper(&place, "w1").tick(ended + 60_000).await;
    assert!(!place.exists(&dead).await);
    assert!(place.exists(&whole).await && place.exists(&new).await);
}

/// What attempts made is in the outputs of a finished job: nobody pays for it twice.
#[tokio::test]
async fn a_finished_job_keeps_its_outputs_and_no_pieces() {
    let place = Place::new();
    let store = &place.ports.store;
    let job = planned(&place, "j1").await;
    let piece = key("transcoded/j1/chunk_000/5-w1/1080p.mp4");
    let output = key("transcoded/j1/output_1080p.mp4");
    let marker = serde_json::json!({ "renditions": [{ "key": piece }] }).to_string();
    for (object, text) in [
        (&piece, "frames"),
        (&output, "film"),
        (&key::marker(&job, chunk(0)), marker.as_str()),
        (&key::certificate(&job), "{}"),
    ] {
        store.put(object, text.to_owned().into()).await.unwrap();
    }
    let completed = JobStatus::Completed;
    place
        .ports
        .ledger
        .finish(&job, completed, None)
        .await
        .unwrap();
    let ended = place.record(&job).await.ended_at.unwrap();
    keeper(&place, "w1").tick(ended + 60_000).await;
    assert!(!place.exists(&piece).await);
    assert!(place.exists(&output).await && place.exists(&key::certificate(&job)).await);
}

/// A completed job of which a piece is left.
async fn completed_with_a_piece(place: &Place) -> ObjectKey {
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    run_to_the_end(place, &[&job]).await;
    let piece = key("transcoded/j1/chunk_000/5-dead/1080p.mp4");
    let store = &place.ports.store;
    store.put(&piece, "frames".into()).await.unwrap();
    keeper(place, "w1").tick(0).await;
    assert!(!place.exists(&key::open(&job)).await && place.exists(&key::closed(&job)).await);
    piece
}

#[tokio::test]
async fn a_job_that_the_ledger_has_forgotten_is_cleared_up_after() {
    let (place, job) = (Place::new(), job("j1"));
    let piece = completed_with_a_piece(&place).await;
    let place = place.emptied();
    let mut settings = keeping("w1");
    settings.retention = None;
    let mut keeper = Housekeeper::new(place.ports.clone(), settings);
    keeper.tick(0).await;
    let ended = place.record(&job).await.ended_at.unwrap();
    keeper.tick(ended + 3_600_000).await;
    assert!(!place.exists(&piece).await && !place.exists(&key::closed(&job)).await);
    assert!(place.exists(&key::certificate(&job)).await);
}

#[tokio::test]
async fn a_job_that_the_ledger_has_forgotten_is_kept_as_long_as_asked() {
    let (place, job) = (Place::new(), job("j1"));
    let piece = completed_with_a_piece(&place).await;
    let place = place.emptied();
    let mut keeper = keeper(&place, "w1");
    keeper.tick(0).await;
    let ended = place.record(&job).await.ended_at.unwrap();
    keeper.tick(ended + 1_800_000).await;
    assert!(!place.exists(&piece).await && place.exists(&key::certificate(&job)).await);
    keeper.tick(ended + 3_600_000).await;
    assert_eq!(place.keys("").await, Vec::<String>::new());
    assert_eq!(place.ports.ledger.job(&job).await.unwrap(), None);
}

#[tokio::test]
async fn one_process_keeps_house() {
    let place = Place::new();
    let job = planned(&place, "j1").await;
    cancel(&place.ports, &job).await.unwrap();
    let late = place.record(&job).await.ended_at.unwrap() + 3_600_000;
    keeper(&place, "w1").tick(0).await;
    keeper(&place, "w2").tick(late).await;
    assert!(place.ports.ledger.job(&job).await.unwrap().is_some());
    // The one that stops leaves it to the next.
    let (switch, shutdown) = Shutdown::new();
    switch.send(true).unwrap();
    housekeep(place.ports.clone(), keeping("w1"), shutdown).await;
    keeper(&place, "w2").tick(late).await;
    assert_eq!(place.ports.ledger.job(&job).await.unwrap(), None);
}

async fn run_to_the_end(place: &Place, jobs: &[&JobId]) {
    let toy = Toy::new(&place.ports, 2, None);
    let running = Running::start(&place.ports, toy, settings());
    for job in jobs {
        assert_eq!(place.ended(job).await.status, JobStatus::Completed);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_and_a_ledger_that_are_lost_are_made_anew_from_the_store() {
    let place = Place::new();
    let planned = planned(&place, "planned").await;
    let new = job("new");
    submit(&place.ports, &new, &request()).await.unwrap();
    let place = place.emptied();
    resume(&place.ports).await.unwrap();
    run_to_the_end(&place, &[&planned, &new]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_lost_nothing_is_given_nothing_twice() {
    let place = Place::new();
    let planned = planned(&place, "planned").await;
    let new = job("new");
    submit(&place.ports, &new, &request()).await.unwrap();
    let topics = [Topic::Ingest, Topic::Chunks, Topic::Merges];
    let count = async |place: &Place| {
        let mut counts = vec![];
        for topic in topics {
            counts.push(place.messages(topic).await);
        }
        counts
    };
    let before = count(&place).await;
    assert_eq!(before, [2, 3, 0]);
    resume(&place.ports).await.unwrap();
    assert_eq!(count(&place).await, before);

    // Messages of which nothing is heard are missed after a while.
    let lost = place.without_messages();
    let now = place.record(&new).await.updated_at;
    keeper(&lost, "w1").tick(now + 60_000).await;
    assert_eq!(count(&lost).await, [0, 0, 0]);
    keeper(&lost, "w1").tick(now + 120_000).await;
    until("all is asked for again", async || {
        (count(&lost).await == [1, 3, 0]).then_some(())
    })
    .await;
    run_to_the_end(&lost, &[&planned, &new]).await;
}
