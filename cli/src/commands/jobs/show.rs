//! `reelmill jobs list` and `status`: a table, and one job in words.

use reqwest::Method;
use serde_json::{Value, json};

use super::view;
use crate::args::ListArgs;
use crate::client::{Client, JobView};
use crate::failure::Failure;
use crate::report::{noted, print_json, print_line};

/// Jobs that are asked for at once.
const PAGE: usize = 200;

pub(super) async fn list(client: &Client, args: &ListArgs) -> Result<(), Failure> {
    let wanted = if args.all { usize::MAX } else { args.limit };
    let mut jobs: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    while jobs.len() < wanted {
        let limit = PAGE.min(wanted - jobs.len());
        let mut request = client
            .request(Method::GET, &["v1", "jobs"])
            .query(&[("limit", limit)]);
        if let Some(status) = &args.status {
            request = request.query(&[("status", status)]);
        }
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let mut page = client.json(request).await?;
        let Some(Value::Array(more)) = page.get_mut("jobs").map(Value::take) else {
            return Err(client.stranger("with a list of another shape"));
        };
        jobs.extend(more);
        cursor = page
            .get("next_cursor")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if args.json {
        print_json(&json!({ "jobs": jobs, "next_cursor": cursor }));
        return Ok(());
    }
    let mut rows = vec![["ID", "STATUS", "DONE", "PROFILE", "CREATED", "NAME"].map(str::to_owned)];
    for job in &jobs {
        rows.push(row(&view(client, job)?));
    }
    table(&rows).iter().for_each(|line| print_line(line));
    Ok(())
}

fn row(job: &JobView) -> [String; 6] {
    [
        job.id.clone(),
        job.status.clone(),
        format!("{:.0}%", job.percent.floor()),
        job.profile.clone(),
        moment(&job.created_at),
        shown(&job.name),
    ]
}

/// `2026-01-31T08:00:00.000Z` to the second, as people write it.
fn moment(text: &str) -> String {
    let whole = text.split('.').next().unwrap_or_default();
    whole.trim_end_matches('Z').replace('T', " ")
}

/// Text from a client, which must not move the cursor of whoever reads it.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Lines with columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// One job in lines of `name  value`, then its notes.
pub(super) fn describe(job: &JobView) -> Vec<String> {
    let mut rows = vec![
        ["id".to_owned(), job.id.clone()],
        ["name".to_owned(), shown(&job.name)],
        ["profile".to_owned(), job.profile.clone()],
        ["status".to_owned(), job.status.clone()],
    ];
    let mut add = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if let (Some(phase), None) = (&job.phase, job.ended()) {
        add("phase", phase.clone());
    }
    add("done", format!("{:.1}%", job.percent));
    if job.chunks.total > 0 {
        add("tasks", format!("{}/{}", job.chunks.done, job.chunks.total));
    }
    if job.frames.total > 0 {
        add(
            "frames",
            format!("{}/{}", job.frames.done, job.frames.total),
        );
    }
    if let Some(fps) = job.fps {
        let speed = job
            .speed
            .map(|speed| format!(", {speed:.2} times real time"));
        add(
            "speed",
            format!("{fps:.1} fps{}", speed.unwrap_or_default()),
        );
    }
    if let Some(left) = job.remaining_s {
        add("left", format!("{left:.0} s"));
    }
    add("created", moment(&job.created_at));
    if let Some(ended) = &job.ended_at {
        add("ended", moment(ended));
    }
    if let Some(error) = &job.error {
        add("error", format!("{} ({})", error.message, error.code));
    }
    for output in job.outputs.iter().flatten() {
        add("output", format!("{}  {} bytes", output.path, output.bytes));
    }
    let notes = job.notes.iter().map(|note| shown(&noted(note)));
    table(&rows).into_iter().chain(notes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_straight_columns() {
        let rows = [["a", "bcd"], ["éé", "e"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), ["a   bcd", "éé  e"]);
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a?[2Jb?");
    }
}
