//! `exactness`: is what reelmill delivers what plain ffmpeg sees in the source?

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
use reelmill_testing::cases::{all, cache_folder, make_all};
use reelmill_testing::exactness::{Item, Setup, Summary, corpus, head, run_all, table};
use reelmill_testing::ffmpeg::Ffmpeg;

/// Transcodes files without loss in small windows and compares frames, times, pixels and audio
/// with one plain ffmpeg run. Exits 1 on any deviation, 2 when nothing
/// could be compared.
#[derive(Parser)]
struct Args {
    /// The files; without any, every generated case and every right file of the corpus
    files: Vec<PathBuf>,
    /// The program under test
    #[arg(long, default_value = "reelmill")]
    reelmill: PathBuf,
    /// The ffmpeg that it uses and is compared with
    #[arg(long, env = "REELMILL_FFMPEG", default_value = "ffmpeg")]
    ffmpeg: PathBuf,
    /// How many files at once
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Keeps every output in a folder of its own in here
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only files whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// More arguments for `reelmill transcode`, separated by spaces
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    extra_args: String,
    /// How reelmill gets at the files: `path`, `store`, or the address of a service to upload them to
    #[arg(long, default_value = "path")]
    via: String,
    /// Where the corpus is
    #[arg(long, env = "CORPUS_DIR")]
    corpus_dir: Option<PathBuf>,
    /// Makes the generated cases, prints what they are and does no more
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    compare_all().unwrap_or_else(|error| {
        eprintln!("exactness: {error:#}");
        ExitCode::from(2)
    })
}

fn compare_all() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        return list(args.jobs);
    }
    let items = items(&args)?;
    if items.is_empty() {
        bail!("no file to compare");
    }
    let setup = Setup {
        reelmill: args.reelmill,
        ffmpeg: Ffmpeg::new(&args.ffmpeg)?,
        keep: args.keep.map(std::path::absolute).transpose()?,
        service: args.via.starts_with("http").then(|| args.via.clone()),
        extra: ["--via", &args.via]
            .into_iter()
            .chain(args.extra_args.split_whitespace())
            .map(str::to_owned)
            .collect(),
    };
    let table = table(&items);
    println!("{}", setup.ffmpeg.version);
    println!("{}", head(&table));
    let rows = run_all(&setup, &items, args.jobs, |row| {
        println!("{}", row.text(&table));
        Ok(std::io::stdout().flush()?)
    })?;
    let summary = Summary::of(&rows);
    println!("{summary}");
    Ok(if summary.passes() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The named files, or all there are.
fn items(args: &Args) -> Result<Vec<Item>> {
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| name.contains(only));
    let mut items = Vec::new();
    for path in &args.files {
        let name = path
            .file_name()
            .context("not a file")?
            .to_string_lossy()
            .into_owned();
        items.push(Item {
            name,
            path: std::path::absolute(path)?,
            may_be_refused: false,
        });
    }
    if args.files.is_empty() {
        items.extend(generated(args.jobs, wanted)?);
        let folder = args.corpus_dir.clone().unwrap_or_else(default_corpus);
        match folder.join("good").try_exists()? {
            true => items.extend(corpus(&folder)?),
            false => println!("corpus ignored: no `{}`", folder.join("good").display()),
        }
    }
    items.retain(|item| wanted(&item.name));
    Ok(items)
}

fn generated(jobs: usize, wanted: impl Fn(&str) -> bool) -> Result<Vec<Item>> {
    // The system's ffmpeg makes the cases, so that they are the same for every one under test.
    let maker = Ffmpeg::new(Path::new("ffmpeg"))?;
    let mut cases = all();
    cases.retain(|case| wanted(&case.file));
    eprintln!(
        "making {} files, as far as they are not there yet",
        cases.len()
    );
    let paths = make_all(&cases, &maker, &cache_folder(), jobs);
    let item = |(case, path): (&reelmill_testing::cases::Case, Result<PathBuf>)| {
        Ok(Item {
            name: case.file.clone(),
            path: path?,
            may_be_refused: false,
        })
    };
    cases.iter().zip(paths).map(item).collect()
}

fn list(jobs: usize) -> Result<ExitCode> {
    let maker = Ffmpeg::new(Path::new("ffmpeg"))?;
    let cases = all();
    for (case, path) in cases
        .iter()
        .zip(make_all(&cases, &maker, &cache_folder(), jobs))
    {
        println!(
            "{:<28} {}\n{:<28} {}",
            case.file,
            case.about,
            "",
            path?.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Beside the workspace.
fn default_corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus")
}
