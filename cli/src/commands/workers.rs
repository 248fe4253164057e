//! `reelmill workers`: who works for a service.

use serde::Deserialize;
use serde_json::Value;

use super::jobs::table;
use crate::args::{WorkersArgs, WorkersCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{print_json, print_line};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Worker {
    id: String,
    slots: u32,
    version: String,
    ffmpeg: String,
    yt_dlp: Option<String>,
    active: bool,
    last_heartbeat: Value,
}

pub(crate) async fn run(args: &WorkersArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let WorkersCommand::Status { json } = args.command;
    let answer = client.get(&["v1", "workers"]).await?;
    if json {
        print_json(&answer);
        return Ok(());
    }
    let list = answer.get("workers").cloned().unwrap_or_default();
    let workers: Vec<Worker> = serde_json::from_value(list)
        .map_err(|_odd| client.stranger("with a list of another shape"))?;
    let mut rows = vec![
        [
            "ID",
            "STATE",
            "SLOTS",
            "VERSION",
            "FFMPEG",
            "YT-DLP",
            "LAST HEARTBEAT",
        ]
        .map(str::to_owned),
    ];
    for worker in workers {
        let heartbeat = match &worker.last_heartbeat {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let slots = worker.slots.to_string();
        rows.push([
            worker.id,
            if worker.active { "active" } else { "silent" }.to_owned(),
            slots,
            worker.version,
            worker.ffmpeg,
            worker.yt_dlp.unwrap_or_else(|| "none".to_owned()),
            heartbeat,
        ]);
    }
    table(&rows).iter().for_each(|line| print_line(line));
    Ok(())
}
