//! `reelmill jobs submit`: a file on its way to a service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::super::source_file;
use super::{view, watch};
use crate::args::SubmitArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure, io};
use crate::report::{print_json, print_line};

/// The wait before a broken upload is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

pub(super) async fn run(client: &Client, args: &SubmitArgs) -> Result<(), Failure> {
    let job = upload(client, args).await?;
    if !args.watch {
        match args.json {
            true => print_json(&job),
            false => print_line(&view(client, &job)?.id),
        }
        return Ok(());
    }
    let id = view(client, &job)?.id;
    if !args.json && !args.quiet {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "job {id}").ok();
    }
    watch::run(client, &id, args.json, args.quiet).await
}

/// Sends the file, once more where the line broke: the service gives the same job for the same key.
async fn upload(client: &Client, args: &SubmitArgs) -> Result<Value, Failure> {
    let (path, meta) = source_file(&args.file)?;
    let key = idempotency_key()?;
    let bar = Arc::new(Bar::new(meta.len(), args.quiet));
    let mut tried = 0;
    loop {
        let request = client
            .request(Method::PUT, &["v1", "jobs"])
            .query(&query(args))
            .header("idempotency-key", &key)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, meta.len());
        let request = with_file(request, &path, &bar).await?;
        let sent = match client.send(request).await {
            Ok(response) => client.body(response).await,
            Err(failure) => Err(failure),
        };
        match sent {
            Err(failure) if failure.exit == Exit::Dependency && tried == 0 => {
                tried += 1;
                tokio::time::sleep(AGAIN).await;
            }
            ended => {
                bar.finish();
                return ended;
            }
        }
    }
}

async fn with_file(
    request: RequestBuilder,
    path: &Path,
    bar: &Arc<Bar>,
) -> Result<RequestBuilder, Failure> {
    let file = tokio::fs::File::open(path)
        .await
        .map_err(io("open", path))?;
    bar.begin();
    let counting = Arc::clone(bar);
    let pieces = ReaderStream::with_capacity(file, PIECE)
        .inspect_ok(move |piece| counting.add(piece.len()))
        .boxed();
    Ok(request.body(Body::wrap_stream(pieces)))
}

/// What the job shall be.
fn query(args: &SubmitArgs) -> Vec<(String, String)> {
    let file_name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let name = args.name.clone().unwrap_or_else(|| file_name.into_owned());
    let mut query = vec![("name".to_owned(), name)];
    let mut add = |name: &str, value: Option<String>| {
        query.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("profile", args.profile.clone());
    add("priority", args.priority.clone());
    add(
        "time_limit_s",
        args.time_limit.map(|limit| limit.as_secs().to_string()),
    );
    add(
        "video_stream",
        args.video_stream.map(|stream| stream.to_string()),
    );
    let audio_streams = args.audio_streams.as_ref();
    add("audio_streams", audio_streams.map(ToString::to_string));
    for (name, value) in &args.metadata {
        add(&format!("metadata.{name}"), Some(value.clone()));
    }
    query
}

/// Nobody else has the same.
fn idempotency_key() -> Result<String, Failure> {
    use std::io::Read as _;
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    std::fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io("read", source))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// How much of the file is sent, where somebody looks.
#[derive(Debug)]
struct Bar(ProgressBar);

impl Bar {
    fn new(bytes: u64, quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            // Hides itself where standard error is no terminal.
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let template =
            "uploading    {wide_bar} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn begin(&self) {
        self.0.set_position(0);
    }

    fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
