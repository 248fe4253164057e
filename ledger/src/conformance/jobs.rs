//! The lives of jobs and workers.

use std::collections::BTreeMap;
use std::time::Duration;

use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, TaskKey, WorkerId};

use super::{Fixture, LONG, OVER, SHORT, chunk, failure, task, worker};
use crate::{Claim, Completion, Lease, NewJob, WorkerRecord};

/// A second creation leaves everything as it is.
pub async fn a_job_is_created_once(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let record = fixture.record(&job).await;
    assert_eq!(
        (record.id.as_str(), record.status),
        ("j1", JobStatus::Pending)
    );
    assert_eq!(
        (record.profile.as_str(), record.name.as_str()),
        ("web", "j1.mp4")
    );
    assert_eq!((record.phase, record.error), (None, None));
    assert_eq!((record.total_chunks, record.completed_chunks), (1, 0));
    assert_eq!((record.total_frames, record.completed_frames), (100, 0));
    fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    let before = fixture.record(&job).await;
    let (profile, name) = ("archive".to_owned(), "another name".to_owned());
    let again = NewJob {
        id: job.clone(),
        profile,
        name,
        options: JobOptions::default(),
    };
    assert!(!fixture.ledger.create_job(&again).await.unwrap());
    assert_eq!(fixture.record(&job).await, before);
}

/// Every method says so in its answer, and none makes the job known.
pub async fn an_unknown_job_is_unknown_everywhere(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = JobId::new("nobody-knows-it").unwrap();
    for key in [TaskKey::Ingest, chunk(0), TaskKey::Finalize] {
        let task = task(&job, key);
        assert_eq!(fixture.claim(&task, "w1", LONG).await, Claim::Unknown);
        assert_eq!(ledger.complete(&task).await.unwrap(), Completion::Unknown);
        let lease = Lease {
            task,
            worker: worker("w1"),
            epoch: 1,
        };
        assert!(!fixture.renewed(&lease, 1, LONG).await);
        ledger.release(&lease, true).await.unwrap();
    }
    let told = ledger
        .extend(&job, &[(chunk(0), 1)], &[chunk(0)], &[chunk(1)])
        .await
        .unwrap();
    assert_eq!(told, Completion::Unknown);
    ledger.set_phase(&job, Phase::Scanning).await.unwrap();
    assert_eq!(
        ledger.finish(&job, JobStatus::Failed, None).await.unwrap(),
        None
    );
    assert!(!ledger.retry(&job).await.unwrap());
    ledger.forget(&job).await.unwrap();
    assert_eq!(ledger.job(&job).await.unwrap(), None);
    assert_eq!(ledger.jobs(None, None, 10).await.unwrap(), []);
    // Nothing of all that is left when it becomes known.
    let job = fixture.job("nobody-knows-it", 2).await;
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.total_chunks), (0, 2));
    assert_eq!((record.status, record.phase), (JobStatus::Pending, None));
}

/// The last one said, and none once the job has ended.
pub async fn a_phase_shows_while_running(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 1).await;
    fixture
        .claimed(&task(&job, TaskKey::Ingest), "w1", LONG)
        .await;
    let phases = [
        Phase::Downloading,
        Phase::Scanning,
        Phase::Transcoding,
        Phase::Merging,
        Phase::Merging,
        Phase::Storing,
    ];
    for phase in phases {
        ledger.set_phase(&job, phase).await.unwrap();
        assert_eq!(fixture.record(&job).await.phase, Some(phase));
    }
    ledger
        .finish(&job, JobStatus::Completed, None)
        .await
        .unwrap();
    assert_eq!(fixture.record(&job).await.phase, None);
    ledger.set_phase(&job, Phase::Scanning).await.unwrap();
    let record = fixture.record(&job).await;
    assert_eq!((record.status, record.phase), (JobStatus::Completed, None));
}

/// Whatever is said later; everybody is told which one it was.
pub async fn the_first_end_stays(fixture: &Fixture) {
    let ends = [
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];
    for first in ends {
        let job = fixture.job(first.as_str(), 1).await;
        let first_error = failure("the first");
        let error = (first == JobStatus::Failed).then_some(&first_error);
        let told = fixture.ledger.finish(&job, first, error).await.unwrap();
        assert_eq!(told, Some(first));
        let ended = fixture.record(&job).await;
        assert_eq!((ended.status, ended.error.as_ref()), (first, error));
        fixture.pass(Duration::from_millis(5)).await;
        for second in ends {
            let error = failure("the second");
            let told = fixture
                .ledger
                .finish(&job, second, Some(&error))
                .await
                .unwrap();
            assert_eq!(told, Some(first));
        }
        fixture.claim(&task(&job, chunk(0)), "w1", LONG).await;
        fixture
            .ledger
            .set_phase(&job, Phase::Merging)
            .await
            .unwrap();
        assert_eq!(fixture.record(&job).await, ended);
    }
}

/// No lease is given or kept, and whoever completes or adds something is told.
pub async fn an_ended_job_gives_no_work(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    for end in [
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ] {
        let job = fixture.job(end.as_str(), 3).await;
        let (lease, _) = fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
        ledger.finish(&job, end, None).await.unwrap();
        assert!(!fixture.renewed(&lease, 10, LONG).await);
        for key in [chunk(0), chunk(1), TaskKey::Ingest, TaskKey::Finalize] {
            let claim = fixture.claim(&task(&job, key), "w2", LONG).await;
            assert_eq!(claim, Claim::Over(end));
        }
        let over = Completion::Over(end);
        assert_eq!(ledger.complete(&lease.task).await.unwrap(), over);
        assert_eq!(
            ledger
                .extend(&job, &[(chunk(9), 1)], &[], &[])
                .await
                .unwrap(),
            over
        );
        ledger.release(&lease, true).await.unwrap();
        assert_eq!(fixture.record(&job).await.status, end);
    }
}

/// With the words of ffmpeg, the task, and whatever characters there are.
pub async fn an_error_is_kept_word_for_word(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let error = JobError {
        code: "encoder-failed".to_owned(),
        message: "chunk 3 of `\u{e9}t\u{e9} \"1\".mp4` failed 4 times".to_owned(),
        retryable: true,
        detail: "line 1\nline 2\t\u{1f3ac} \\ | {} \u{0}".to_owned(),
        task: Some(TaskKey::Chunk {
            index: 3,
            generation: 1,
        }),
    };
    fixture
        .ledger
        .finish(&job, JobStatus::Failed, Some(&error))
        .await
        .unwrap();
    assert_eq!(fixture.record(&job).await.error, Some(error));
}

/// It runs again, with all attempts and without the error; what is complete stays so.
pub async fn a_failed_or_cancelled_job_can_be_retried(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    for end in [JobStatus::Failed, JobStatus::Cancelled] {
        let job = fixture.job(end.as_str(), 2).await;
        ledger.complete(&task(&job, chunk(0))).await.unwrap();
        let bad = task(&job, chunk(1));
        let (lease, _) = fixture.claimed(&bad, "w1", LONG).await;
        ledger.release(&lease, false).await.unwrap();
        let claim = ledger.claim(&bad, &worker("w1"), LONG, 1).await.unwrap();
        assert_eq!(claim, Claim::Exhausted { attempts: 1 });
        ledger
            .finish(&job, end, Some(&failure("it")))
            .await
            .unwrap();

        assert!(ledger.retry(&job).await.unwrap());
        let record = fixture.record(&job).await;
        assert_eq!((record.status, record.error), (JobStatus::Running, None));
        assert_eq!((record.completed_chunks, record.completed_frames), (1, 100));
        assert!(!ledger.retry(&job).await.unwrap(), "it is running already");
        assert_eq!(
            fixture.claim(&task(&job, chunk(0)), "w1", LONG).await,
            Claim::Done
        );
        let claim = ledger.claim(&bad, &worker("w1"), LONG, 1).await.unwrap();
        assert!(
            matches!(claim, Claim::Claimed { attempt: 1, .. }),
            "{claim:?}"
        );
        assert_eq!(ledger.complete(&bad).await.unwrap(), Completion::Whole);
        // And it may end anew, another way.
        let told = ledger
            .finish(&job, JobStatus::Completed, None)
            .await
            .unwrap();
        assert_eq!(told, Some(JobStatus::Completed));
    }
}

/// Neither those that have not ended nor those that have succeeded.
pub async fn other_jobs_cannot_be_retried(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 1).await;
    assert!(!ledger.retry(&job).await.unwrap());
    assert_eq!(fixture.record(&job).await.status, JobStatus::Pending);
    fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    assert!(!ledger.retry(&job).await.unwrap());
    assert_eq!(fixture.record(&job).await.status, JobStatus::Running);
    ledger
        .finish(&job, JobStatus::Completed, None)
        .await
        .unwrap();
    assert!(!ledger.retry(&job).await.unwrap());
    assert_eq!(fixture.record(&job).await.status, JobStatus::Completed);
}

/// A worker that slept through end and retry does not get its lease back.
pub async fn leases_from_before_a_retry_are_lost(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (old, _) = fixture.claimed(&task, "w1", LONG).await;
    fixture
        .ledger
        .finish(&job, JobStatus::Cancelled, None)
        .await
        .unwrap();
    assert!(fixture.ledger.retry(&job).await.unwrap());
    assert!(!fixture.renewed(&old, 10, LONG).await);
    let (new, attempt) = fixture.claimed(&task, "w1", LONG).await;
    assert_eq!(attempt, 1);
    assert!(new.epoch > old.epoch);
}

/// With its tasks and leases. A job of the same name is another one, whose epochs still grow.
pub async fn a_forgotten_job_is_unknown(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let (job, other) = (fixture.job("j1", 2).await, fixture.job("j2", 1).await);
    ledger.complete(&task(&job, chunk(0))).await.unwrap();
    let (old, _) = fixture.claimed(&task(&job, chunk(1)), "w1", LONG).await;
    for _ in 0..2 {
        ledger.forget(&job).await.unwrap();
        assert_eq!(ledger.job(&job).await.unwrap(), None);
    }
    assert_eq!(fixture.claim(&old.task, "w2", LONG).await, Claim::Unknown);
    assert!(!fixture.renewed(&old, 0, LONG).await);
    let listed = ledger.jobs(None, None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|record| &record.id).collect::<Vec<_>>(),
        [&other]
    );

    fixture.pass(Duration::from_millis(5)).await;
    let job = fixture.job("j1", 2).await;
    assert_eq!(fixture.record(&job).await.completed_chunks, 0);
    let (new, attempt) = fixture.claimed(&task(&job, chunk(1)), "w1", LONG).await;
    assert_eq!(attempt, 1);
    assert!(new.epoch > old.epoch);
}

/// By the ledger's clock.
pub async fn changes_show_in_the_time_of_the_last_one(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 2).await;
    let created = fixture.record(&job).await;
    assert!(
        created.created_at > 1_600_000_000_000,
        "milliseconds since 1970"
    );
    assert!(created.updated_at >= created.created_at);
    let mut last = created.updated_at;
    let mut moves_on = async |what: &str| {
        let record = fixture.record(&job).await;
        assert_eq!(record.created_at, created.created_at);
        assert!(record.updated_at > last, "{what}");
        last = record.updated_at;
        fixture.pass(Duration::from_millis(5)).await;
    };
    fixture.pass(Duration::from_millis(5)).await;
    let (lease, _) = fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    moves_on("a claim").await;
    assert!(fixture.renewed(&lease, 10, LONG).await);
    moves_on("a report of frames").await;
    ledger.complete(&lease.task).await.unwrap();
    moves_on("a completion").await;
    ledger.set_phase(&job, Phase::Merging).await.unwrap();
    moves_on("a phase").await;
    ledger.finish(&job, JobStatus::Failed, None).await.unwrap();
    moves_on("an end").await;
    ledger.retry(&job).await.unwrap();
    moves_on("a retry").await;
}

/// By the time of their creation.
pub async fn jobs_are_listed_newest_first(fixture: &Fixture) {
    assert_eq!(fixture.ledger.jobs(None, None, 10).await.unwrap(), []);
    for id in ["j2", "j1", "j3"] {
        fixture.job(id, 1).await;
        fixture.pass(Duration::from_millis(5)).await;
    }
    // A change does not move a job.
    fixture
        .claimed(&task(&JobId::new("j2").unwrap(), chunk(0)), "w1", LONG)
        .await;
    let listed = fixture.ledger.jobs(None, None, 10).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["j3", "j1", "j2"]);
    for record in listed {
        assert_eq!(
            record,
            fixture.record(&record.id).await,
            "as it is shown alone"
        );
    }
}

/// Every job under its status of now, and under no other.
pub async fn jobs_are_listed_by_status(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let mut expected = BTreeMap::new();
    for number in 0..10 {
        let job = fixture.job(&format!("j{number}"), 1).await;
        let status = match number % 5 {
            0 => JobStatus::Pending,
            1 => JobStatus::Running,
            2 => JobStatus::Completed,
            3 => JobStatus::Failed,
            _ => JobStatus::Cancelled,
        };
        if status == JobStatus::Running {
            fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
        } else if status.is_terminal() {
            ledger.finish(&job, status, None).await.unwrap();
        }
        expected
            .entry(status.as_str())
            .or_insert_with(Vec::new)
            .push(job);
    }
    for (status, expected) in expected {
        let listed = ledger
            .jobs(Some(status.parse().unwrap()), None, 100)
            .await
            .unwrap();
        let mut ids: Vec<_> = listed.into_iter().map(|record| record.id).collect();
        ids.sort();
        assert_eq!(ids, expected, "{status}");
    }
}

/// Of any size, also among jobs of one millisecond and of one status.
pub async fn pages_make_the_whole_list(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    for number in 0..12 {
        let job = fixture.job(&format!("j{number}"), 1).await;
        if number % 3 == 0 {
            ledger.finish(&job, JobStatus::Failed, None).await.unwrap();
        }
    }
    for (status, count) in [
        (None, 12),
        (Some(JobStatus::Failed), 4),
        (Some(JobStatus::Running), 0),
    ] {
        let whole = ledger.jobs(status, None, 100).await.unwrap();
        assert_eq!(whole.len(), count);
        for limit in [1, 5, 12] {
            let (mut all, mut after) = (vec![], None);
            loop {
                let page = ledger.jobs(status, after.as_ref(), limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                all.extend(page);
            }
            assert_eq!(all, whole, "{status:?} by {limit}");
        }
    }
    // The job after which a page begins may have another status by now.
    let failed = ledger.jobs(Some(JobStatus::Failed), None, 2).await.unwrap();
    ledger.retry(&failed[1].id).await.unwrap();
    let rest = ledger
        .jobs(Some(JobStatus::Failed), Some(&failed[1].id), 10)
        .await
        .unwrap();
    assert_eq!(rest.len(), 2);
}

/// As long as they do it, with what they said last.
pub async fn workers_that_report_are_alive(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let report = |id: &str, slots| WorkerRecord {
        id: WorkerId::new(id).unwrap(),
        slots,
        version: "0.1.0".to_owned(),
        ffmpeg: "5.1.6".to_owned(),
        yt_dlp: (slots > 1).then(|| "2026.11.01".to_owned()),
        last_heartbeat: 0,
    };
    assert_eq!(ledger.workers(LONG).await.unwrap(), []);
    for (id, slots) in [("w2", 2), ("w1", 1), ("w2", 4)] {
        ledger.heartbeat(&report(id, slots)).await.unwrap();
    }
    let alive = ledger.workers(LONG).await.unwrap();
    assert!(
        alive
            .iter()
            .all(|worker| worker.last_heartbeat > 1_600_000_000_000)
    );
    let said: Vec<_> = alive
        .into_iter()
        .map(|worker| WorkerRecord {
            last_heartbeat: 0,
            ..worker
        })
        .collect();
    assert_eq!(said, [report("w1", 1), report("w2", 4)], "sorted by id");
    fixture.pass(OVER).await;
    assert_eq!(ledger.workers(SHORT).await.unwrap(), []);
    ledger.heartbeat(&report("w1", 3)).await.unwrap();
    assert_eq!(ledger.workers(LONG).await.unwrap().len(), 2);
    let recent = ledger.workers(LONG / 2).await.unwrap();
    assert_eq!(recent.iter().filter(|worker| worker.slots == 3).count(), 1);
}
