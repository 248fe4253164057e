//! `reelmill jobs watch`: a job's events as the bar that `transcode` shows.

use crate::client::{Client, Events, JobView};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::print_line;

/// Follows a job to its end. The job as it ended is printed, as JSON or by its outputs; one that
/// did not succeed is this command's failure.
pub(super) async fn run(client: &Client, id: &str, json: bool, quiet: bool) -> Result<(), Failure> {
    let mut progress = Progress::new(quiet);
    let followed = follow(client, id, &mut progress).await;
    progress.finish();
    let (job, text) = followed?;
    progress.note(&job.notes);
    if json {
        print_line(&text);
    }
    match job.ended() {
        Some(Ok(())) if !json => {
            let outputs = job.outputs.iter().flatten();
            outputs.for_each(|output| print_line(&output.path));
            Ok(())
        }
        Some(result) => result,
        None => Err(client.stranger("with an end of events before the end of the job")),
    }
}

/// The job as it ended, and its JSON.
async fn follow(
    client: &Client,
    id: &str,
    progress: &mut Progress,
) -> Result<(JobView, String), Failure> {
    let mut events = Events::new(client, id);
    let mut length_known = false;
    while let Some(event) = events.next().await? {
        if !matches!(event.kind.as_str(), "snapshot" | "update" | "end") {
            continue;
        }
        let job: JobView = serde_json::from_str(&event.data)
            .map_err(|_odd| client.stranger("with an event of another shape"))?;
        if job.ended().is_some() {
            return Ok((job, event.data));
        }
        if let Some(seconds) = job.seconds().filter(|_| !length_known) {
            length_known = true;
            progress.set_plan(seconds, None);
        }
        if let Some(record) = job.record() {
            progress.update(&record, 0);
        }
    }
    // The service says that there is nothing to come: the job itself tells how it ended.
    let job = client.get(&["v1", "jobs", id]).await?;
    Ok((super::view(client, &job)?, job.to_string()))
}
