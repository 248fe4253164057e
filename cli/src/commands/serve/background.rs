//! What goes on beside the stages: signs of life, and numbers for `/metrics`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_ledger::{ACTIVE, WorkerRecord};
use reelmill_media::tools::yt_dlp;
use reelmill_stage::{Ports, Shutdown, StageError};

use crate::metrics::{
    BUILD_INFO, HEARTBEAT, JOBS, MEMORY, QUEUE_MESSAGES, QUEUE_OLDEST, STARTED, WORKERS,
};

/// How often this worker reports.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How often what was counted is put together.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);

/// How often numbers are read.
const READ_EVERY: Duration = Duration::from_secs(2);

/// Reports this worker as alive until shutdown. What it finds out about yt-dlp, which is slow to
/// start, comes with its second report, at once after the first.
pub(super) async fn heartbeat(
    ports: Ports,
    mut worker: WorkerRecord,
    scratch: PathBuf,
    mut shutdown: Shutdown,
) {
    let mut has_asked = false;
    loop {
        if let Err(error) = ports.ledger.heartbeat(&worker).await {
            let error = StageError::of(&error);
            tracing::warn!(%error, "cannot report this worker as alive");
        }
        if !has_asked {
            has_asked = true;
            worker.yt_dlp = yt_dlp(&scratch).await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(REPORT_EVERY) => {}
            () = shutdown.wait() => return,
        }
    }
}

/// Keeps the memory of what is counted small until shutdown, whether anybody asks for it or not.
pub(super) async fn upkeep(handle: PrometheusHandle, mut shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP_EVERY) => handle.run_upkeep(),
            () = shutdown.wait() => return,
        }
    }
}

/// Reads what is to be read for `/metrics` until shutdown: of no use where nobody can ask for it.
pub(super) async fn numbers(ports: Ports, mut shutdown: Shutdown) {
    loop {
        if let Err(error) = read(&ports).await {
            tracing::warn!(%error, "cannot count jobs and messages");
        }
        tokio::select! {
            () = tokio::time::sleep(READ_EVERY) => {}
            () = shutdown.wait() => return,
        }
    }
}

/// What never changes while this process lives.
pub(super) fn constants(ffmpeg: &str) {
    let version = env!("CARGO_PKG_VERSION");
    gauge!(BUILD_INFO, "version" => version, "ffmpeg" => ffmpeg.to_owned()).set(1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    gauge!(STARTED).set(now.unwrap_or_default().as_secs_f64());
}

async fn read(ports: &Ports) -> Result<(), StageError> {
    let counts = ports.ledger.counts().await?;
    for status in [
        JobStatus::Pending,
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ] {
        let jobs = counts.get(&status).copied().unwrap_or_default();
        gauge!(JOBS, "status" => status.as_str()).set(jobs as f64);
    }
    for topic in Topic::ALL {
        let Some(backlog) = ports.queue.backlog(topic).await? else {
            continue;
        };
        let topic = topic.as_str();
        gauge!(QUEUE_MESSAGES, "topic" => topic).set(backlog.messages as f64);
        gauge!(QUEUE_OLDEST, "topic" => topic).set(backlog.oldest.as_secs_f64());
    }
    let workers = ports.ledger.workers(ACTIVE).await?;
    gauge!(WORKERS).set(workers.len() as f64);
    for worker in workers {
        let seconds = worker.last_heartbeat as f64 / 1000.0;
        gauge!(HEARTBEAT, "worker" => worker.id.to_string()).set(seconds);
    }
    if let Some(bytes) = resident_memory() {
        gauge!(MEMORY).set(bytes as f64);
    }
    Ok(())
}

/// Memory of this process; unknown where there is no `/proc`.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
