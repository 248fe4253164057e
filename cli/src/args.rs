//! What was typed.

#[cfg(feature = "cluster")]
mod cluster;
mod remote;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use reelmill_common::manifest::Proof;
use reelmill_common::streams::{StreamChoice, StreamList};

use crate::config::ConfigArgs;

#[cfg(feature = "cluster")]
pub(crate) use cluster::*;
pub(crate) use remote::*;

/// Turns a video into finished renditions: exact, on all cores, resumable, with a proof.
#[derive(Debug, Parser)]
#[command(
    name = "reelmill",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 ffmpeg, ffprobe or an encoder is missing, or no service answers.\n\
    REELMILL_LOG=debug shows what happens inside."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which ffmpeg is used.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ToolArgs {
    /// The ffmpeg to use [default: $REELMILL_FFMPEG, else `ffmpeg` on the PATH]; ffprobe is taken
    /// from $REELMILL_FFPROBE, else from beside it, else from the PATH
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ffmpeg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Transcode a file into a folder; the same command again goes on after a crash
    Transcode(TranscodeArgs),
    /// Check a finished folder against its certificate
    Verify(VerifyArgs),
    /// List, show and check profiles
    Profiles(ProfilesArgs),
    /// Check that everything reelmill needs is there
    Doctor(DoctorArgs),
    /// Run the HTTP service: takes uploads, transcodes them, gives the outputs out
    Serve(ServeArgs),
    /// Run the HTTP service alone, for workers elsewhere: on Kafka, S3 and Redis
    #[cfg_attr(not(feature = "cluster"), command(hide = true))]
    Api(ServeArgs),
    /// Run a worker alone: as many as there is work for, on Kafka, S3 and Redis
    #[cfg_attr(not(feature = "cluster"), command(hide = true))]
    Worker(ServeArgs),
    /// Make the topics on Kafka, or look whether they are as they should be
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Look at messages that ended without success, and bring them back or drop them
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Ask a service about jobs, and give it some
    Jobs(JobsArgs),
    /// Ask a service about its workers
    Workers(WorkersArgs),
    /// Take a job's files from a service
    Outputs(OutputsArgs),
    /// Show the settings of the service and where they came from, or check a file of them
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TranscodeArgs {
    /// The video or audio file
    pub(crate) input: PathBuf,
    /// The folder for the outputs; created if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// A built-in profile's name or a profile file
    #[arg(long, default_value = reelmill_common::profile::DEFAULT, value_name = "NAME|FILE")]
    pub(crate) profile: String,
    /// Encodes at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: Option<u32>,
    /// How much of the decoding is recorded for `verify --source`
    #[arg(long, value_enum, default_value_t = ProofArg::Seams)]
    pub(crate) proof: ProofArg,
    /// The longest window, such as 10s or 1m; a bare number is seconds [default: chosen by the
    /// planner]
    #[arg(long, value_name = "TIME", value_parser = crate::config::window)]
    pub(crate) window: Option<u32>,
    /// How the source is read
    #[arg(long, value_enum, default_value_t = ViaArg::Path)]
    pub(crate) via: ViaArg,
    /// The picture to transcode, by its stream index as ffprobe prints it, or `none` [default: the
    /// stream that players show]
    #[arg(long, value_name = "N")]
    pub(crate) video_stream: Option<StreamChoice>,
    /// The audio tracks to transcode, by stream index with commas between, or `none` [default: all]
    #[arg(long, value_name = "LIST")]
    pub(crate) audio_streams: Option<StreamList>,
    /// Transcode also a source whose pictures are larger or more than those of most: over 35
    /// megapixels each or 10000 gigapixels in all
    #[arg(long)]
    pub(crate) trust: bool,
    /// Overwrite a folder that holds other outputs, and drop another job's unfinished work in it
    #[arg(long)]
    pub(crate) force: bool,
    /// End with one line of JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProofArg {
    /// The frames on both sides of every seam
    Seams,
    /// Every decoded frame
    EveryFrame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViaArg {
    /// In place, by its path
    Path,
    /// From the store, as workers on other machines do: it is copied there first
    Store,
}

impl From<ProofArg> for Proof {
    fn from(proof: ProofArg) -> Self {
        match proof {
            ProofArg::Seams => Self::Seams,
            ProofArg::EveryFrame => Self::EveryFrame,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A folder that `transcode` finished
    pub(crate) dir: PathBuf,
    /// The source, to be decoded once more and compared
    #[arg(long, value_name = "FILE")]
    pub(crate) source: Option<PathBuf>,
    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProfilesArgs {
    #[command(subcommand)]
    pub(crate) command: ProfilesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfilesCommand {
    /// The built-in profiles
    List {
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// A built-in profile's file, a model for your own
    Show {
        /// Its name
        name: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether a profile file is right
    Check {
        /// The file
        file: PathBuf,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// What holds with these flags, the environment and the file, and where each value came from
    Print {
        #[command(flatten)]
        settings: ConfigArgs,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether a file of settings is right
    Check {
        /// The file
        file: PathBuf,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
}
