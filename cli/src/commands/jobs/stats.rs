//! `reelmill jobs stats`: what is to be done and what is being done.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::show::table;
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{print_json, print_line};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    jobs: BTreeMap<String, u64>,
    queue: BTreeMap<String, Waiting>,
    workers: Workers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    messages: u64,
    oldest_s: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workers {
    active: u64,
    slots: u64,
}

pub(super) async fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get(&["v1", "stats"]).await?;
    if json {
        print_json(&answer);
        return Ok(());
    }
    let stats: Stats = serde_json::from_value(answer)
        .map_err(|_odd| client.stranger("with numbers of another shape"))?;
    let Workers { active, slots } = stats.workers;
    let mut rows = vec![["workers".to_owned(), format!("{active} with {slots} slots")]];
    for (status, jobs) in stats.jobs {
        rows.push([format!("jobs {status}"), jobs.to_string()]);
    }
    for (topic, Waiting { messages, oldest_s }) in stats.queue {
        let age = match messages {
            0 => String::new(),
            _ => format!(", the oldest {oldest_s:.0} s old"),
        };
        rows.push([format!("queue {topic}"), format!("{messages}{age}")]);
    }
    table(&rows).iter().for_each(|line| print_line(line));
    Ok(())
}
