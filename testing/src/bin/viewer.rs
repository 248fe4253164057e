//! `viewer`: what would a viewer see and hear of what reelmill makes?

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use reelmill_common::Sha256;
use reelmill_common::profile::builtins;
use reelmill_testing::cases::{all, cache_folder, make_all, viewer};
use reelmill_testing::ffmpeg::Ffmpeg;
use reelmill_testing::oracle::input;
use reelmill_testing::viewer::decode::streams;
use reelmill_testing::viewer::judge::{Judge, Source};
use reelmill_testing::viewer::player::Player;
use reelmill_testing::viewer::results::{Results, head, table, text};

/// The folders of the corpus that are judged by default.
const FOLDERS: [&str; 2] = ["good", "reported"];

/// Transcodes files with built-in profiles in small windows, compares every rendition with its
/// source as a viewer would, and plays it in a browser. Exits 1 on any deviation that neither a note
/// of the job nor `docs/limits.md` explains, 2 when nothing could be judged.
#[derive(Parser)]
struct Args {
    /// The files; without any, every generated case and `good` and `reported` of the corpus
    files: Vec<PathBuf>,
    /// The program under test
    #[arg(long, default_value = "reelmill")]
    reelmill: PathBuf,
    /// The ffmpeg that it uses, and that decodes sources and outputs
    #[arg(long, env = "REELMILL_FFMPEG", default_value = "ffmpeg")]
    ffmpeg: PathBuf,
    /// The built-in profiles [default: all]
    #[arg(long, value_delimiter = ',')]
    profiles: Vec<String>,
    /// How much of a longer source is judged: its head is copied without transcoding
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Only files whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// Without files: only the cases made for this
    #[arg(long)]
    cases: bool,
    /// Forgets the verdicts of earlier runs
    #[arg(long)]
    fresh: bool,
    /// The browser; without one nothing is played
    #[arg(long)]
    browser: Option<PathBuf>,
    /// Where verdicts, heads of sources and pictures of bad frames are kept
    #[arg(long, default_value = "target/viewer")]
    work: PathBuf,
    /// Where the corpus is
    #[arg(long, env = "CORPUS_DIR")]
    corpus_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    judge_all().unwrap_or_else(|error| {
        eprintln!("viewer: {error:#}");
        ExitCode::from(2)
    })
}

fn judge_all() -> Result<ExitCode> {
    let args = Args::parse();
    let work = std::path::absolute(&args.work)?;
    let profiles = profiles(&args)?;
    let files = files(&args)?;
    if files.is_empty() {
        bail!("no file to judge");
    }
    let ffmpeg = Ffmpeg::new(&args.ffmpeg)?;
    let player = args
        .browser
        .as_deref()
        .map(|browser| Player::start(browser, &ffmpeg))
        .transpose()?;
    let results = work.join("results");
    if args.fresh && results.try_exists()? {
        std::fs::remove_dir_all(&results)?;
    }
    let results = Results::open(&results, setup(&args, &ffmpeg)?)?;
    let mut judge = Judge {
        reelmill: args.reelmill.clone(),
        ffmpeg,
        shots: work.join("frames"),
        player,
    };
    let table = table(files.iter().map(|(name, _)| name.as_str()));
    println!("{}\n{}", judge.ffmpeg.version, head(&table));
    let (mut passed, mut failed) = (0, 0);
    let mut denied = std::collections::BTreeSet::new();
    for (name, path) in &files {
        let mut source = None;
        for profile in &profiles {
            let verdict = match results.get(path, profile)? {
                Some(verdict) => verdict,
                None => {
                    if source.is_none() {
                        let head = shorten(&judge.ffmpeg, name, path, &args, &work)?;
                        source = Some(Source::open(&judge.ffmpeg, name, &head, head != *path)?);
                    }
                    let source = source.as_ref().context("no source")?;
                    let verdict = judge.judge(source, profile)?;
                    results.put(path, profile, &verdict)?;
                    verdict
                }
            };
            println!("{}", text(&table, &verdict));
            std::io::stdout().flush()?;
            denied.extend(verdict.denied.iter().filter_map(|text| {
                let (_, codec) = text.split_once(": ")?;
                Some(codec.to_owned())
            }));
            if verdict.passes() {
                passed += 1;
            } else {
                failed += 1;
            }
        }
    }
    for codec in denied {
        println!("the browser denies {codec}: decoded by ffmpeg instead");
    }
    println!("{passed} passed, {failed} failed");
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// All that verdicts depend on beside source and profile: both programs, the browser, the options.
fn setup(args: &Args, ffmpeg: &Ffmpeg) -> Result<String> {
    let digest = |path: &Path| -> Result<String> {
        let bytes = std::fs::read(path).with_context(|| format!("no `{}`", path.display()))?;
        Ok(Sha256::of(&bytes).to_string())
    };
    Ok(format!(
        "{} {} {} {} {:?}",
        digest(&args.reelmill)?,
        digest(&std::env::current_exe()?)?,
        ffmpeg.version,
        args.seconds,
        args.browser
    ))
}

fn profiles(args: &Args) -> Result<Vec<String>> {
    let all: Vec<String> = builtins().iter().map(|p| p.name.to_owned()).collect();
    if args.profiles.is_empty() {
        return Ok(all);
    }
    if let Some(unknown) = args.profiles.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no built-in profile `{unknown}`: {}",
            all.join(", ")
        );
    }
    Ok(args.profiles.clone())
}

/// The named files, or all there are, each with its name.
fn files(args: &Args) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    if args.files.is_empty() {
        let maker = Ffmpeg::new(Path::new("ffmpeg"))?;
        let mut cases = viewer();
        if !args.cases {
            cases.extend(all());
        }
        cases.retain(|case| wanted(args, &case.file));
        for (case, path) in cases
            .iter()
            .zip(make_all(&cases, &maker, &cache_folder(), 2))
        {
            files.push((case.file.clone(), path?));
        }
        let corpus = args
            .corpus_dir
            .clone()
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"));
        let folders = if args.cases { &[][..] } else { &FOLDERS[..] };
        for folder in folders.iter().map(|name| corpus.join(name)) {
            if !folder.try_exists()? {
                println!("ignored: there is no `{}`", folder.display());
                continue;
            }
            let mut found = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                found.push(named(&entry?.path())?);
            }
            found.sort();
            files.extend(found);
        }
    }
    for path in &args.files {
        files.push(named(path)?);
    }
    files.retain(|(name, _)| wanted(args, name) && !name.ends_with(".md"));
    Ok(files)
}

fn wanted(args: &Args, name: &str) -> bool {
    args.only.as_deref().is_none_or(|only| name.contains(only))
}

fn named(path: &Path) -> Result<(String, PathBuf)> {
    let name = path.file_name().context("not a file")?;
    Ok((
        name.to_string_lossy().into_owned(),
        std::path::absolute(path)?,
    ))
}

/// The head of a long source as a file of its own, by stream copy; the source itself where it is
/// short or its container cannot be written.
fn shorten(ffmpeg: &Ffmpeg, name: &str, path: &Path, args: &Args, work: &Path) -> Result<PathBuf> {
    let done = input(ffmpeg.probe(), path)
        .words("-show_entries format=duration")
        .run()?;
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let seconds: f64 = answer["format"]["duration"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    // A head that saves little costs more than it saves: copying changes what containers say.
    if seconds <= args.seconds * 1.5 {
        return Ok(path.to_owned());
    }
    let folder = work.join("heads");
    std::fs::create_dir_all(&folder)?;
    let digest = Sha256::of(format!("{} {}", path.display(), args.seconds).as_bytes()).to_string();
    let folder = folder.join(digest.get(..12).unwrap_or(&digest));
    let head = folder.join(name);
    if head.try_exists()? {
        return Ok(head);
    }
    std::fs::create_dir_all(&folder)?;
    let made = folder.join(format!("partial-{name}"));
    let done = input(ffmpeg.command(), path)
        .args(["-map", "0", "-c", "copy", "-copy_unknown", "-t"])
        .arg(args.seconds.to_string())
        .arg(&made)
        .run()?;
    let whole = streams(ffmpeg, path)?.len();
    if done.code != Some(0) || streams(ffmpeg, &made)?.len() != whole {
        return Ok(path.to_owned());
    }
    std::fs::rename(&made, &head)?;
    Ok(head)
}
