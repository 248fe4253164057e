//! `reelmill jobs stats`: what is to be done and what is being done, out of `/metrics`.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::show::table;
use crate::client::Client;
use crate::failure::Failure;
use crate::metrics::{JOBS, QUEUE_MESSAGES, QUEUE_OLDEST, SLOTS, SLOTS_BUSY, WORKERS};
use crate::report::{print_json, print_line};

pub(super) async fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let request = client.request(Method::GET, &["metrics"]);
    let response = client.send(request).await?;
    let text = response
        .text()
        .await
        .map_err(|error| client.unreachable(&error))?;
    let jobs = series(&text, JOBS);
    if jobs.is_empty() {
        return Err(client.stranger("without metrics"));
    }
    let (slots, busy) = (series(&text, SLOTS), series(&text, SLOTS_BUSY));
    let (messages, oldest) = (series(&text, QUEUE_MESSAGES), series(&text, QUEUE_OLDEST));
    let of = |values: &BTreeMap<String, f64>, name: &str| values.get(name).copied().unwrap_or(0.0);
    let workers = of(&series(&text, WORKERS), "");
    if json {
        let slots = slots.iter().map(|(stage, slots)| {
            (
                stage.clone(),
                json!({ "slots": whole(*slots), "busy": whole(of(&busy, stage)) }),
            )
        });
        let queue = messages.iter().map(|(topic, messages)| {
            let oldest = of(&oldest, topic);
            (
                topic.clone(),
                json!({ "messages": whole(*messages), "oldest_s": oldest }),
            )
        });
        let jobs = jobs
            .iter()
            .map(|(status, jobs)| (status.clone(), whole(*jobs)));
        print_json(&json!({
            "jobs": jobs.collect::<serde_json::Map<_, _>>(),
            "slots": slots.collect::<serde_json::Map<_, _>>(),
            "queue": queue.collect::<serde_json::Map<_, _>>(),
            "workers": whole(workers),
        }));
        return Ok(());
    }
    let mut rows = vec![["workers".to_owned(), workers.to_string()]];
    for (status, jobs) in &jobs {
        rows.push([format!("jobs {status}"), jobs.to_string()]);
    }
    for (stage, slots) in &slots {
        rows.push([
            format!("slots {stage}"),
            format!("{} of {slots} busy", of(&busy, stage)),
        ]);
    }
    for (topic, messages) in &messages {
        let age = of(&oldest, topic);
        rows.push([
            format!("queue {topic}"),
            format!("{messages}, the oldest {age:.0} s old"),
        ]);
    }
    table(&rows).iter().for_each(|line| print_line(line));
    Ok(())
}

/// A number of things in JSON.
fn whole(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, made of a whole number"
    )]
    let count = value.max(0.0) as u64;
    count.into()
}

/// The values of a metric by its only label; under an empty name where it has none.
fn series(text: &str, name: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (label, value) = match rest.strip_prefix('{') {
            Some(rest) => {
                let (labels, value) = rest.split_once("} ")?;
                (labels.split('"').nth(1)?.to_owned(), value)
            }
            None => (String::new(), rest.strip_prefix(' ')?),
        };
        Some((label, value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_by_its_label() {
        let text = "# TYPE a gauge\na{x=\"one\"} 1\na{x=\"two\"} 2.5\na_more{x=\"one\"} 7\nb 3\n";
        let of_a = series(text, "a");
        assert_eq!(of_a.len(), 2);
        assert_eq!(of_a.get("two"), Some(&2.5));
        assert_eq!(series(text, "b").get(""), Some(&3.0));
    }
}
