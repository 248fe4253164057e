//! `reelmill outputs get`: a job's files into a folder, each whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use reelmill_common::Sha256;
use reqwest::header::RANGE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::jobs::view as job_view;
use crate::args::{GetArgs, OutputsArgs, OutputsCommand};
use crate::client::{Client, JobView, OutputView};
use crate::failure::{Exit, Failure, io};
use crate::folder::{CERTIFICATE, is_for_a_folder, sync_folder};
use crate::progress::Progress;
use crate::report::{print_json, print_line};

/// How often a file is asked for again, from where it broke.
const ATTEMPTS: u32 = 5;

/// A connection that brings nothing for so long is broken.
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: &OutputsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    match &args.command {
        OutputsCommand::List { job, json } => {
            let answer = client.get(&["v1", "jobs", job, "outputs"]).await?;
            if *json {
                print_json(&answer);
                return Ok(());
            }
            let outputs = outputs(&client, &answer)?;
            for output in outputs {
                print_line(&output.path);
            }
            Ok(())
        }
        OutputsCommand::Get(get) => self::get(&client, get).await,
    }
}

async fn get(client: &Client, args: &GetArgs) -> Result<(), Failure> {
    let answer = client.get(&["v1", "jobs", &args.job, "outputs"]).await?;
    let job: JobView = job_view(client, &client.get(&["v1", "jobs", &args.job]).await?)?;
    let mut wanted = outputs(client, &answer)?;
    let whole = args.paths.is_empty();
    if !whole {
        for path in &args.paths {
            if !wanted.iter().any(|output| output.path == *path) {
                let known: Vec<&str> = wanted.iter().map(|output| output.path.as_str()).collect();
                return Err(Failure::usage(format!(
                    "the job `{}` has no output `{path}`: it has {}",
                    args.job,
                    known.join(", ")
                )));
            }
        }
        wanted.retain(|output| args.paths.contains(&output.path));
    }
    is_for_a_folder(&args.output)?;
    let certificate = match whole {
        true => Some(certificate(client, &args.job).await?),
        false => None,
    };
    let mut targets = Vec::new();
    for output in &wanted {
        let target = place(&args.output, &output.path)
            .ok_or_else(|| client.stranger(&format!("with an output named `{}`", output.path)))?;
        targets.push((target, output));
    }
    let proof = args.output.join(CERTIFICATE);
    if !args.force {
        // All of them before the first is written: a folder must not end up with files of two jobs.
        for (target, output) in &targets {
            keep_others(target, is_right(target, output)?)?;
        }
        if let Some(bytes) = &certificate {
            let is_same = std::fs::read(&proof).is_ok_and(|there| there == *bytes);
            keep_others(&proof, is_same)?;
        }
    }
    std::fs::create_dir_all(&args.output).map_err(io("make", &args.output))?;
    let mut got = Vec::new();
    for (target, output) in targets {
        fetch(client, &args.job, output, &target).await?;
        if !args.json {
            print_line(&target.display().to_string());
        }
        got.push(json!({
            "path": target, "bytes": output.bytes, "sha256": output.sha256
        }));
    }
    if let Some(bytes) = certificate {
        // Last: a folder with a certificate is complete.
        let part = part_of(&proof);
        std::fs::write(&part, &bytes).map_err(io("write", &part))?;
        publish(&part, &proof)?;
        if !args.json {
            print_line(&proof.display().to_string());
        }
    }
    if args.json {
        print_json(&json!({ "job": args.job, "outputs": got, "notes": job.notes }));
    }
    Progress::new(true).note(&job.notes);
    Ok(())
}

async fn certificate(client: &Client, job: &str) -> Result<Vec<u8>, Failure> {
    let request = client.request(Method::GET, &["v1", "jobs", job, "certificate"]);
    let response = client.send(request).await?;
    let bytes = response.bytes().await;
    let bytes = bytes.map_err(|error| client.unreachable(&error))?;
    Ok(bytes.into())
}

/// Refuses to replace a file that is not the one wanted.
fn keep_others(target: &Path, is_same: bool) -> Result<(), Failure> {
    let there = std::fs::symlink_metadata(target).is_ok();
    if is_same || !there {
        return Ok(());
    }
    let message = format!(
        "`{}` is another file than the job's: choose another folder, or replace it with --force",
        target.display()
    );
    Err(Failure::new(Exit::Failed, "file-in-the-way", message))
}

fn outputs(client: &Client, answer: &Value) -> Result<Vec<OutputView>, Failure> {
    let list = answer.get("outputs").cloned().unwrap_or_default();
    serde_json::from_value(list).map_err(|_odd| client.stranger("with a list of another shape"))
}

/// Where an output goes; `None` for a name that leads out of the folder.
fn place(folder: &Path, path: &str) -> Option<PathBuf> {
    let inside = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (inside && !path.is_empty()).then(|| folder.join(path))
}

/// Gets one file. What an earlier call left of it is gone on with; a file that is there already
/// and right is kept.
async fn fetch(
    client: &Client,
    job: &str,
    output: &OutputView,
    target: &Path,
) -> Result<(), Failure> {
    if is_right(target, output)? {
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(io("make", parent))?;
    }
    let part = part_of(target);
    let mut failure = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match more(client, job, output, &part).await {
            Ok(()) if is_right(&part, output)? => return publish(&part, target),
            // Of another file, or spoiled on its way: from the start.
            Ok(()) => {
                std::fs::remove_file(&part).map_err(io("remove", &part))?;
                let what = format!("`{}` arrived damaged: try again", output.path);
                failure = Some(Failure::new(Exit::Failed, "output-damaged", what));
            }
            Err(broken) if broken.exit == Exit::Dependency => failure = Some(broken),
            Err(failure) => return Err(failure),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::failed(format!("cannot get `{}`", output.path))))
}

/// Adds to a part what is missing of it.
async fn more(client: &Client, job: &str, output: &OutputView, part: &Path) -> Result<(), Failure> {
    let have = std::fs::metadata(part).map_or(0, |meta| meta.len());
    if have == output.bytes && have > 0 {
        return Ok(());
    }
    let mut path = vec!["v1", "jobs", job, "outputs"];
    path.extend(output.path.split('/'));
    let mut request = client.request(Method::GET, &path);
    if have > 0 && have < output.bytes {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let response = client.send(request).await?;
    let goes_on = response.status() == StatusCode::PARTIAL_CONTENT;
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(goes_on)
        .truncate(!goes_on)
        .open(part)
        .map_err(io("open", part))?;
    let mut pieces = response.bytes_stream();
    loop {
        let next = tokio::time::timeout(SILENCE, pieces.next()).await;
        let piece = match next {
            Ok(None) => return Ok(()),
            Ok(Some(piece)) => piece.map_err(|error| client.unreachable(&error))?,
            Err(_silent) => {
                let what = format!("`{}` stopped arriving: try again", output.path);
                return Err(Failure::new(Exit::Dependency, "service-silent", what));
            }
        };
        // Blocking, in pieces of some kilobytes, with nothing else for this process to do.
        file.write_all(&piece).map_err(io("write", part))?;
    }
}

/// Whether a file is there and is the output.
fn is_right(file: &Path, output: &OutputView) -> Result<bool, Failure> {
    let mut opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io("open", file)(error)),
    };
    let meta = opened.metadata().map_err(io("look at", file))?;
    if meta.len() != output.bytes {
        return Ok(false);
    }
    let (sha256, _) = Sha256::of_reader(&mut opened).map_err(io("read", file))?;
    Ok(sha256.to_string() == output.sha256)
}

/// Beside the target, so that it can become it in one step.
fn part_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}

fn publish(part: &Path, target: &Path) -> Result<(), Failure> {
    File::open(part)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", part))?;
    std::fs::rename(part, target).map_err(io("rename", part))?;
    match target.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_output_leads_out_of_the_folder() {
        let folder = Path::new("out");
        assert_eq!(place(folder, "hls/a.m3u8"), Some(folder.join("hls/a.m3u8")));
        for path in ["", "/etc/passwd", "../a", "hls/../../a", "./a"] {
            assert_eq!(place(folder, path), None, "{path}");
        }
    }
}
