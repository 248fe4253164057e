//! `bench`: how long does reelmill take, and how long plain ffmpeg with the same settings?

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Result;
use clap::Parser;
use reelmill_testing::bench::{Contest, Lap, Side, clip_of, made_source, median, profile};
use reelmill_testing::cases::cache_folder;
use reelmill_testing::ffmpeg::Ffmpeg;

/// The made source's length.
const LONG_SECONDS: u32 = 64;
/// The clip's length.
const CLIP_SECONDS: u32 = 5;
/// Fewer runs than these say little.
const ENOUGH_RUNS: usize = 5;

/// What reelmill may take of plain ffmpeg's time.
#[derive(Clone, Copy)]
struct Goal {
    /// At most.
    asked_for: f64,
    /// Better than that.
    aim: f64,
}

/// For a source of a minute or more.
const LONG: Goal = Goal {
    asked_for: 0.95,
    aim: 0.90,
};
/// For the same through a cluster on this machine, upload and all.
const CLUSTER: Goal = Goal {
    asked_for: 1.0,
    aim: 0.97,
};
/// For a clip of some seconds.
const CLIP: Goal = Goal {
    asked_for: 1.25,
    aim: 1.15,
};

/// Compares `reelmill transcode` with one plain ffmpeg run: same binary, same settings, all cores,
/// one decode; interleaved, medians of both sides.
#[derive(Parser)]
struct Args {
    /// The program under test
    #[arg(long, default_value = "reelmill")]
    reelmill: PathBuf,
    /// The ffmpeg of both sides
    #[arg(long, env = "REELMILL_FFMPEG", default_value = "ffmpeg")]
    ffmpeg: PathBuf,
    /// Runs of each side
    #[arg(long, default_value_t = ENOUGH_RUNS)]
    runs: usize,
    /// The long source; made when not given
    #[arg(long)]
    source: Option<PathBuf>,
    /// A built-in profile
    #[arg(long, default_value = "h264-abr")]
    profile: String,
    /// Leaves the short clip out
    #[arg(long)]
    no_clip: bool,
    /// Leaves the long source out
    #[arg(long)]
    only_clip: bool,
    /// Plain ffmpeg encodes sound for its first file only; it cannot share an encoder between files
    #[arg(long)]
    sound_once: bool,
    /// A service that does reelmill's side; its workers must use the same ffmpeg
    #[arg(long)]
    server: Option<String>,
    /// Exits 1 where a ratio is above what is asked for
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    compare_all().unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::from(2)
    })
}

fn compare_all() -> Result<ExitCode> {
    let args = Args::parse();
    let ffmpeg = Ffmpeg::new(&args.ffmpeg)?;
    // The system's ffmpeg makes the sources, so that they are the same for every one under test.
    let maker = Ffmpeg::new(Path::new("ffmpeg"))?;
    let work = tempfile::tempdir()?;
    let cores = available_parallelism().map_or(1, usize::from);
    println!(
        "{}; {cores} cores; profile {}",
        ffmpeg.version, args.profile
    );

    let mut sources = Vec::new();
    if !args.only_clip {
        let long = match &args.source {
            Some(source) => std::path::absolute(source)?,
            None => {
                eprintln!("making {LONG_SECONDS} s of 1080p unless they are there");
                made_source(&maker, &cache_folder(), LONG_SECONDS)?
            }
        };
        let goal = if args.server.is_some() { CLUSTER } else { LONG };
        sources.push((long, goal));
    }
    if !args.no_clip {
        let clip = match &args.source {
            Some(source) => clip_of(&maker, source, work.path(), CLIP_SECONDS)?,
            None => made_source(&maker, &cache_folder(), CLIP_SECONDS)?,
        };
        sources.push((clip, CLIP));
    }
    let mut slow = false;
    if args.runs < ENOUGH_RUNS {
        eprintln!(
            "{} runs of each side say little: {ENOUGH_RUNS} are asked for",
            args.runs
        );
    }
    for (source, goal) in sources {
        let contest = Contest {
            reelmill: args.reelmill.clone(),
            ffmpeg: ffmpeg.clone(),
            source,
            profile: profile(&args.profile)?,
            cores: u32::try_from(cores)?,
            sound_once: args.sound_once,
            server: args.server.clone(),
        };
        slow |= run(&contest, args.runs, goal)? > goal.asked_for;
    }
    Ok(if slow && args.strict {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs one contest, prints it and returns the ratio of wall times.
fn run(contest: &Contest, runs: usize, goal: Goal) -> Result<f64> {
    let renditions = contest.renditions()?;
    let names: Vec<_> = renditions
        .iter()
        .map(|rendition| rendition.name.as_str())
        .collect();
    println!("\n{} into {}", contest.source.display(), names.join(" "));
    println!("{:<10} {:>9} {:>9}", "side", "wall s", "CPU s");
    let wall = |lap: &Lap| lap.wall.as_secs_f64();
    let cpu = |lap: &Lap| lap.cpu.as_secs_f64();
    let laps = contest.laps(runs, |lap| {
        println!(
            "{:<10} {:>9.2} {:>9.2}",
            name(lap.side),
            wall(lap),
            cpu(lap)
        );
        Ok(())
    })?;
    println!("medians");
    let mut ratios = [f64::NAN; 2];
    for side in [Side::Plain, Side::Reelmill] {
        let medians = [median(&laps, side, wall), median(&laps, side, cpu)];
        println!("{:<10} {:>9.2} {:>9.2}", name(side), medians[0], medians[1]);
        for (ratio, median) in ratios.iter_mut().zip(medians) {
            *ratio = if side == Side::Plain {
                median
            } else {
                median / *ratio
            };
        }
    }
    let [wall_ratio, cpu_ratio] = ratios;
    println!(
        "{:<10} {wall_ratio:>9.3} {cpu_ratio:>9.3}   of wall at most {} are asked for, {} are the aim: {}",
        "ratio",
        goal.asked_for,
        goal.aim,
        verdict(wall_ratio, goal)
    );
    overhead(&laps);
    Ok(wall_ratio)
}

fn verdict(ratio: f64, goal: Goal) -> &'static str {
    if ratio <= goal.aim {
        "reached"
    } else if ratio <= goal.asked_for {
        "enough"
    } else {
        "too slow"
    }
}

/// Prints the medians of what reelmill says of its own time.
fn overhead(laps: &[Lap]) {
    let ours = laps.iter().find(|lap| lap.side == Side::Reelmill);
    let names = ours
        .iter()
        .flat_map(|lap| lap.timings.iter().map(|(name, _)| name));
    for name in names {
        let figure = |lap: &Lap| {
            let own = lap.timings.iter().find(|(other, _)| other == name);
            own.map_or(f64::NAN, |(_, value)| *value)
        };
        println!("{name:<24} {:>9.3}", median(laps, Side::Reelmill, figure));
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Plain => "ffmpeg",
        Side::Reelmill => "reelmill",
    }
}
