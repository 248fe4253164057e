//! What was typed to ask a service.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use reelmill_common::streams::{StreamChoice, StreamList};

/// Which service, and how to be let in.
#[derive(Clone, Args)]
pub(crate) struct ServerArgs {
    /// The service's address
    #[arg(
        long,
        global = true,
        env = "REELMILL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) server: String,
    /// The key that it wants; better given by variable than by flag
    #[arg(
        long,
        global = true,
        env = "REELMILL_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) api_key: Option<String>,
    /// PEM certificates to trust instead of the system's, for a service whose certificate nobody
    /// else vouches for
    #[arg(long, global = true, env = "REELMILL_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
}

/// Without the key.
impl std::fmt::Debug for ServerArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerArgs")
            .field("server", &self.server)
            .field("cacert", &self.cacert)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: JobsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Upload a file and make a job of it
    Submit(SubmitArgs),
    /// The newest jobs
    List(ListArgs),
    /// One job
    Status {
        /// The job
        id: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Follow a job to its end; 1 is the exit code where it did not succeed
    Watch {
        /// The job
        id: String,
        /// End with one line of JSON
        #[arg(long)]
        json: bool,
        /// Show no progress
        #[arg(short, long)]
        quiet: bool,
    },
    /// End a job that has not ended
    Cancel {
        /// The job
        id: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a failed or cancelled job again; only what is missing is done
    Retry {
        /// The job
        id: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Jobs by status, slots that are busy, what waits in the queue
    Stats {
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The video or audio file
    pub(crate) file: PathBuf,
    /// A profile that the service knows [default: what the service says]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// A name for people [default: the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Whose turn it is first
    #[arg(long, value_parser = ["low", "normal", "high"])]
    pub(crate) priority: Option<String>,
    /// Something to be kept with the job and given back; may be said many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// How long the job may take from its first encode to its end, such as 2h
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    pub(crate) time_limit: Option<Duration>,
    /// The picture to transcode, by its stream index as ffprobe prints it, or `none` [default: the
    /// stream that players show]
    #[arg(long, value_name = "N")]
    pub(crate) video_stream: Option<StreamChoice>,
    /// The audio tracks to transcode, by stream index with commas between, or `none` [default: all]
    #[arg(long, value_name = "LIST")]
    pub(crate) audio_streams: Option<StreamList>,
    /// Follow the job to its end
    #[arg(long)]
    pub(crate) watch: bool,
    /// End with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form `KEY=VALUE`")),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs of this status
    #[arg(long, value_parser = ["pending", "running", "completed", "failed", "cancelled"])]
    pub(crate) status: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Every one
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// The workers that live, and what they are
    Status {
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OutputsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: OutputsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutputsCommand {
    /// The files of a completed job
    List {
        /// The job
        job: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Take the files of a completed job, all of them with the certificate, or those named
    Get(GetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The job
    pub(crate) job: String,
    /// The folder for the files; created if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Files such as output_1080p.mp4 [default: all, and certificate.json]
    pub(crate) paths: Vec<String>,
    /// Replace files in the folder that are not the job's
    #[arg(long)]
    pub(crate) force: bool,
    /// End with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}
