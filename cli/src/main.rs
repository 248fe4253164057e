//! The binary `reelmill`: parses, runs, chooses the exit code.

mod args;
mod commands;
mod failure;
mod folder;
mod progress;
mod report;
mod wire;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        match args.command {
            Command::Transcode(transcode) => commands::transcode::run(&args.tools, transcode).await,
            Command::Verify(verify) => commands::verify::run(&args.tools, verify).await,
            Command::Profiles(profiles) => commands::profiles::run(&profiles),
            Command::Doctor(doctor) => commands::doctor::run(&args.tools, &doctor).await,
        }
    });
    // What still blocks a thread (a read from a dead disk) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

/// Words for engineers: silent unless `REELMILL_LOG` asks, since commands speak for themselves.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REELMILL_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
}
