//! What an operator sees: metrics and log lines. On one thread, since both are caught for one only.

use metrics_exporter_prometheus::PrometheusBuilder;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_stage::{StageError, submit};

use crate::handing_back::Refusing;
use crate::lines::Lines;
use crate::toy::{Place, Running, Toy, job, request, settings, until};

fn fail() -> StageError {
    StageError::passing("flaky", "it may work next time")
}

/// Runs a job of one chunk and one audio track, the chunk failing so many times.
async fn job_that_fails(times: u32) -> JobStatus {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let handler = Refusing::new(Toy::new(&place.ports, 1, None), times, fail);
    let running = Running::start(&place.ports, handler, settings());
    let status = place.ended(&job).await.status;
    // Its last line is written by then, and its last task is counted.
    let (topic, messages) = match status {
        JobStatus::Failed => (Topic::DeadLetters, 1),
        _ => (Topic::Merges, 0),
    };
    until("its message is settled", async || {
        (place.messages(topic).await == messages).then_some(())
    })
    .await;
    running.stop().await;
    status
}

#[tokio::test]
async fn every_task_is_counted_by_its_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    assert_eq!(job_that_fails(1).await, JobStatus::Completed);
    assert_eq!(job_that_fails(3).await, JobStatus::Failed);
    let text = handle.render();
    for line in [
        "# TYPE reelmill_tasks_total counter",
        "# TYPE reelmill_frames_encoded_total counter",
        r#"reelmill_tasks_total{task="ingest",outcome="completed"} 2"#,
        r#"reelmill_tasks_total{task="chunk",outcome="completed"} 1"#,
        r#"reelmill_tasks_total{task="chunk",outcome="retried"} 3"#,
        r#"reelmill_tasks_total{task="chunk",outcome="failed"} 1"#,
        r#"reelmill_tasks_total{task="finalize",outcome="yielded"} 1"#,
        r#"reelmill_task_seconds_count{task="chunk"} 5"#,
        r#"reelmill_slots{stage="chunks"} 2"#,
        r#"reelmill_slots_busy{stage="chunks"} 0"#,
        r#"reelmill_slots_busy{stage="merges"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn every_line_of_a_job_names_it_also_where_only_errors_are_shown() {
    for level in [tracing::Level::TRACE, tracing::Level::ERROR] {
        let lines = Lines::catch(level);
        assert_eq!(job_that_fails(3).await, JobStatus::Failed);
        let text = lines.text();
        let of_stage = text.lines().filter(|line| line.contains("reelmill_stage"));
        assert!(of_stage.clone().count() > 0, "{text}");
        for line in of_stage {
            assert!(line.contains("job=j1"), "{line}");
        }
        let end = text.lines().find(|line| line.contains("the job fails"));
        assert!(end.unwrap().contains("job=j1 task=chunk-000 attempt=3"));
    }
}
