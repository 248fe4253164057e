//! `reelmill jobs`: what a service is asked about jobs, and told.

mod show;
mod stats;
mod submit;
mod watch;

use reqwest::Method;
use serde_json::Value;

use crate::args::{JobsArgs, JobsCommand};
use crate::client::{Client, JobView};
use crate::failure::Failure;
use crate::report::{print_json, print_line};

pub(crate) use show::table;

pub(crate) async fn run(args: &JobsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    match &args.command {
        JobsCommand::Submit(submit) => submit::run(&client, submit).await,
        JobsCommand::List(list) => show::list(&client, list).await,
        JobsCommand::Status { id, json } => {
            let job = client.get(&["v1", "jobs", id]).await?;
            answer(&client, &job, *json, |job| {
                show::describe(job).iter().for_each(|line| print_line(line));
            })
        }
        JobsCommand::Watch { id, json, quiet } => watch::run(&client, id, *json, *quiet).await,
        JobsCommand::Cancel { id, json } => {
            let request = client.request(Method::DELETE, &["v1", "jobs", id]);
            let job = client.json(request).await?;
            answer(&client, &job, *json, |job| print_line(&job.status))
        }
        JobsCommand::Retry { id, json } => {
            let request = client.request(Method::POST, &["v1", "jobs", id, "retry"]);
            let job = client.json(request).await?;
            answer(&client, &job, *json, |job| print_line(&job.status))
        }
        JobsCommand::Stats { json } => stats::run(&client, *json).await,
    }
}

/// The service's own JSON, or words made of it.
fn answer(
    client: &Client,
    job: &Value,
    json: bool,
    words: impl Fn(&JobView),
) -> Result<(), Failure> {
    if json {
        print_json(job);
        return Ok(());
    }
    words(&view(client, job)?);
    Ok(())
}

/// The part of a job that is shown.
pub(crate) fn view(client: &Client, job: &Value) -> Result<JobView, Failure> {
    serde_json::from_value(job.clone())
        .map_err(|_odd| client.stranger("with a job of another shape"))
}
