//! What the service counts, for Prometheus: every name is in [`METRICS`], whoever writes it.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;
use reelmill_stage::metrics::{FRAMES, SLOTS, SLOTS_BUSY, TASK_SECONDS, TASKS};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the golden list and the documentation")
    )]
    pub(crate) labels: &'static [&'static str],
    pub(crate) about: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    about: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        about,
    }
}

pub(crate) const BUILD_INFO: &str = "reelmill_build_info";
pub(crate) const JOBS: &str = "reelmill_jobs";
pub(crate) const QUEUE_MESSAGES: &str = "reelmill_queue_messages";
pub(crate) const QUEUE_OLDEST: &str = "reelmill_queue_oldest_message_seconds";
pub(crate) const OUTPUT_BYTES: &str = "reelmill_output_bytes_total";
pub(crate) const WORKERS: &str = "reelmill_workers_active";
pub(crate) const HEARTBEAT: &str = "reelmill_worker_last_heartbeat_timestamp_seconds";
pub(crate) const MEMORY: &str = "process_resident_memory_bytes";
pub(crate) const STARTED: &str = "process_start_time_seconds";

use Kind::{Counter, Gauge, Histogram};

/// Every metric, sorted by name.
pub(crate) const METRICS: &[Metric] = &[
    metric(
        MEMORY,
        Gauge,
        &[],
        "Memory of the service's own process in bytes, that of ffmpeg not counted.",
    ),
    metric(
        STARTED,
        Gauge,
        &[],
        "When the service began, in seconds since 1970.",
    ),
    metric(
        BUILD_INFO,
        Gauge,
        &["version", "ffmpeg"],
        "Always 1; the labels say what runs.",
    ),
    metric(
        "reelmill_ffmpeg_exits_total",
        Counter,
        &["action", "status"],
        "Runs of ffmpeg and ffprobe that ended, by what they were to do and by exit code, `signal-N`, or `killed` by reelmill over a limit or a cancel.",
    ),
    metric(
        FRAMES,
        Counter,
        &[],
        "Source frames that chunks of any outcome have encoded, once for all renditions.",
    ),
    metric(
        "reelmill_http_request_seconds",
        Histogram,
        &["method", "route", "status"],
        "Time from a request's head to its answer's head.",
    ),
    metric(
        "reelmill_http_requests_total",
        Counter,
        &["method", "route", "status"],
        "Requests answered.",
    ),
    metric(JOBS, Gauge, &["status"], "Jobs in the ledger."),
    metric(
        OUTPUT_BYTES,
        Counter,
        &[],
        "Bytes of the outputs of completed jobs.",
    ),
    metric(
        QUEUE_MESSAGES,
        Gauge,
        &["topic"],
        "Messages that are not settled, those being worked on included.",
    ),
    metric(
        QUEUE_OLDEST,
        Gauge,
        &["topic"],
        "Age of the oldest of them in seconds; 0 where there is none.",
    ),
    metric(
        SLOTS,
        Gauge,
        &["stage"],
        "Tasks of a stage that may run at once.",
    ),
    metric(SLOTS_BUSY, Gauge, &["stage"], "Tasks of a stage that run."),
    metric(
        TASK_SECONDS,
        Histogram,
        &["task"],
        "Time that a task took, whatever its outcome; the sum for `chunk` is the time spent encoding.",
    ),
    metric(
        TASKS,
        Counter,
        &["task", "outcome"],
        "Tasks that ended: `completed`, `yielded` (it waits for others), `retried` (failed, to be tried again), `failed` (for good) or `dropped` (cancelled, or shut down).",
    ),
    metric(
        "reelmill_upload_bytes_total",
        Counter,
        &[],
        "Bytes of sources received.",
    ),
    metric(
        "reelmill_uploads_active",
        Gauge,
        &[],
        "Requests that bring bytes of a source now.",
    ),
    metric(
        "reelmill_uploads_total",
        Counter,
        &["kind", "outcome"],
        "Requests that brought an upload, by way and by how they ended: `completed`, `parked` (a tus upload goes on later), `interrupted` (the client went away), `refused`, `terminated` or `failed`.",
    ),
    metric(
        HEARTBEAT,
        Gauge,
        &["worker"],
        "When a worker last reported, in seconds since 1970.",
    ),
    metric(
        WORKERS,
        Gauge,
        &[],
        "Workers that reported within the last 15 s.",
    ),
];

/// From a millisecond for an answer to an hour for a chunk of a hard profile.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
const TASK_BUCKETS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1800.0, 3600.0,
];

/// Makes this process count, once; the handle writes what it counted.
pub(crate) fn install() -> Result<PrometheusHandle, Failure> {
    let failed = |error: metrics_exporter_prometheus::BuildError| {
        Failure::failed(format!("cannot set up metrics: {error}"))
    };
    let requests = Matcher::Full("reelmill_http_request_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(requests, REQUEST_BUCKETS)
        .and_then(|b| {
            b.set_buckets_for_metric(Matcher::Full(TASK_SECONDS.to_owned()), TASK_BUCKETS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)?;
    for Metric {
        name, kind, about, ..
    } in METRICS
    {
        match kind {
            Counter => describe_counter!(*name, *about),
            Gauge => describe_gauge!(*name, *about),
            Histogram => describe_histogram!(*name, *about),
        }
    }
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn kind(kind: Kind) -> &'static str {
        match kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }

    /// Dashboards and alerts name these: a change here is one that users notice.
    #[test]
    fn the_names_are_the_golden_ones() {
        let mut list = String::new();
        for metric in METRICS {
            let labels = metric.labels.join(",");
            writeln!(list, "{} {} {{{labels}}}", metric.name, kind(metric.kind)).unwrap();
        }
        assert_eq!(list, include_str!("../tests/golden/metrics.txt"));
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../docs/metrics.md");
        let rows: Vec<&str> = docs
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected: Vec<String> = METRICS
            .iter()
            .map(|metric| {
                let labels: Vec<String> = metric
                    .labels
                    .iter()
                    .map(|label| format!("`{label}`"))
                    .collect();
                let (labels, about) = (labels.join(", "), metric.about);
                format!(
                    "| `{}` | {} | {labels} | {about} |",
                    metric.name,
                    kind(metric.kind)
                )
            })
            .collect();
        assert_eq!(
            rows,
            expected,
            "docs/metrics.md should hold:\n{}",
            expected.join("\n")
        );
    }
}
