//! The binary `reelmill`: parses, runs, chooses the exit code.

mod args;
mod client;
mod commands;
mod config;
mod data;
mod failure;
mod folder;
mod logging;
mod metrics;
mod progress;
mod report;
mod stop;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use commands::serve::Part;
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    // The service says in its settings how it logs.
    if !is_service(&args.command) {
        logging::of_a_command();
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Whether the command runs until it is told to end.
fn is_service(command: &Command) -> bool {
    matches!(
        command,
        Command::Serve(_) | Command::Api(_) | Command::Worker(_)
    )
}

fn run(args: Args) -> Result<(), Failure> {
    // The service hashes and copies for many clients at once; the others wait for ffmpeg.
    let threads = match is_service(&args.command) {
        true => std::thread::available_parallelism().map_or(2, |n| n.get().max(2)),
        false => 2,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        match args.command {
            Command::Transcode(transcode) => commands::transcode::run(&args.tools, transcode).await,
            Command::Verify(verify) => commands::verify::run(&args.tools, verify).await,
            Command::Profiles(profiles) => commands::profiles::run(&profiles),
            Command::Doctor(doctor) => commands::doctor::run(&args.tools, &doctor).await,
            Command::Serve(serve) => commands::serve::run(&args.tools, &serve, Part::Whole).await,
            Command::Api(api) => commands::serve::run(&args.tools, &api, Part::Api).await,
            Command::Worker(worker) => {
                commands::serve::run(&args.tools, &worker, Part::Worker).await
            }
            #[cfg(feature = "cluster")]
            Command::Topics(topics) => commands::topics::run(&topics).await,
            #[cfg(feature = "cluster")]
            Command::Dlq(dlq) => commands::dlq::run(&dlq).await,
            Command::Jobs(jobs) => commands::jobs::run(&jobs).await,
            Command::Workers(workers) => commands::workers::run(&workers).await,
            Command::Outputs(outputs) => commands::outputs::run(&outputs).await,
            Command::Config(config) => commands::config::run(&args.tools, &config),
        }
    });
    // What still blocks a thread (a read from a dead disk) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
