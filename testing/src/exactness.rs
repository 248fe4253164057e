//! Runs reelmill over many files with small windows and compares each with plain ffmpeg.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reelmill_common::profile::builtin;
use serde_json::Value;

use crate::compare::{Verdict, compare};
use crate::ffmpeg::Ffmpeg;
use crate::oracle::Plain;
use crate::run::{Command, Finished};
use crate::table::Table;

/// No file may take reelmill longer.
const LIMIT: Duration = Duration::from_secs(1800);
/// Files longer than this should be cut.
const LONG_SECONDS: f64 = 8.0;
/// The share of long files that must be cut, in per cent.
const SHARE_CUT: usize = 90;
/// How many windows a source is cut into where it is long enough.
const WINDOWS: f64 = 8.0;

/// What is run.
#[derive(Debug)]
pub struct Setup {
    /// The program under test.
    pub reelmill: PathBuf,
    /// The ffmpeg that it is given, and that it is compared with.
    pub ffmpeg: Ffmpeg,
    /// Where outputs are kept, each in a folder of its own; `None` throws them away.
    pub keep: Option<PathBuf>,
    /// The service that does it, by its address; `None` is `reelmill transcode`. It must offer
    /// [`SERVICE_PROFILE`] and cut sources into windows of a second.
    pub service: Option<String>,
    /// More arguments for `reelmill transcode`.
    pub extra: Vec<String>,
}

/// The built-in profile `lossless` with fragments of a second, as a service must know it.
pub const SERVICE_PROFILE: &str = "lossless-1s";

/// A file to be transcoded.
#[derive(Clone, Debug)]
pub struct Item {
    /// What the table calls it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether refusing it with a sentence is right as well.
    pub may_be_refused: bool,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the table calls the file.
    pub name: String,
    /// Seconds of picture, or of sound where there is none.
    pub seconds: f64,
    /// Whether there is a picture, which alone is cut.
    pub has_picture: bool,
    /// What came of it.
    pub verdict: Verdict,
    /// From start to end of reelmill.
    pub wall: Duration,
}

/// Transcodes and compares all items, `jobs` at once; every row is handed on in order as soon as
/// it and all before it are known.
///
/// # Errors
/// When a row cannot be handed on.
pub fn run_all(
    setup: &Setup,
    items: &[Item],
    jobs: usize,
    each: impl FnMut(&Row) -> Result<()> + Send,
) -> Result<Vec<Row>> {
    struct Done<F> {
        waiting: BTreeMap<usize, Row>,
        rows: Vec<Row>,
        each: F,
        result: Result<()>,
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Done {
        waiting: BTreeMap::new(),
        rows: Vec::new(),
        each,
        result: Ok(()),
    });
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let row = one(setup, item);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    done.waiting.insert(index, row);
                    while let Some(row) = {
                        let wanted = done.rows.len();
                        done.waiting.remove(&wanted)
                    } {
                        let handed = (done.each)(&row);
                        done.rows.push(row);
                        if handed.is_err() {
                            done.result = handed;
                        }
                    }
                }
            });
        }
    });
    let done = done
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    done.result.map(|()| done.rows)
}

/// Transcodes and compares one item; whatever goes wrong is a deviation.
fn one(setup: &Setup, item: &Item) -> Row {
    let mut row = Row {
        name: item.name.clone(),
        seconds: 0.0,
        has_picture: false,
        verdict: Verdict::default(),
        wall: Duration::ZERO,
    };
    if let Err(error) = fill(setup, item, &mut row) {
        row.verdict.deviations.push(format!("{error:#}"));
    }
    row
}

fn fill(setup: &Setup, item: &Item, row: &mut Row) -> Result<()> {
    let plain = Plain::of(&setup.ffmpeg, &item.path)?;
    row.seconds = plain.seconds();
    row.has_picture = plain.picture.is_some();
    let work = tempfile::tempdir()?;
    let dir = match &setup.keep {
        Some(keep) => keep.join(&item.name),
        None => work.path().join("out"),
    };
    let window = (row.seconds / WINDOWS).max(1.0);
    let profile = work.path().join("lossless.toml");
    fs::write(&profile, lossless_profile(window)?)?;

    let started = Instant::now();
    let done = match &setup.service {
        Some(service) => by_service(setup, service, item, &dir)?,
        None => by_transcode(setup, item, &dir, &profile, window)?,
    };
    row.wall = started.elapsed();
    match done.code {
        Some(0) => row.verdict = compare(&setup.ffmpeg, &item.path, &plain, &dir)?,
        Some(1) if may_refuse(item, &plain) && !done.stderr.trim().is_empty() => {
            row.verdict
                .notes
                .push(format!("refused: {}", done.last_words()));
        }
        code => {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit {code}"));
            row.verdict
                .deviations
                .push(format!("{code}: {}", done.last_words()));
        }
    }
    Ok(())
}

fn by_transcode(
    setup: &Setup,
    item: &Item,
    dir: &Path,
    profile: &Path,
    window: f64,
) -> Result<Finished> {
    Command::new(&setup.reelmill)
        .arg("transcode")
        .arg(&item.path)
        .arg("-o")
        .arg(dir)
        .arg("--profile")
        .arg(profile)
        .args([
            "--window",
            &format!("{window:.3}"),
            "--slots",
            "2",
            "--quiet",
            "--json",
        ])
        .args(&setup.extra)
        .env("REELMILL_FFMPEG", &setup.ffmpeg.path)
        .limit(LIMIT)
        .run()
}

/// Uploads it, waits for its job and fetches what that made; the first of these that fails is the
/// answer.
fn by_service(setup: &Setup, service: &str, item: &Item, dir: &Path) -> Result<Finished> {
    let client = || {
        Command::new(&setup.reelmill)
            .env("REELMILL_SERVER", service)
            .limit(LIMIT)
    };
    let submit = ["jobs", "submit", "--quiet", "--profile", SERVICE_PROFILE];
    let sent = client().args(submit).arg(&item.path).run()?;
    if sent.code != Some(0) {
        return Ok(sent);
    }
    let job = String::from_utf8(sent.stdout)?;
    let job = job.trim();
    let watched = client().args(["jobs", "watch", "--quiet", job]).run()?;
    if watched.code != Some(0) {
        return Ok(watched);
    }
    client().args(["outputs", "get", job, "-o"]).arg(dir).run()
}

/// Whether a sentence and exit 1 are as good as an output.
fn may_refuse(item: &Item, plain: &Plain) -> bool {
    let nothing = plain.picture.is_none() && plain.sound.is_empty();
    nothing || (item.may_be_refused && plain.picture.is_none())
}

/// The built-in lossless profile, with shorter fragments where the window is shorter than they.
fn lossless_profile(window: f64) -> Result<String> {
    let text = builtin("lossless").context("no profile `lossless`")?.text;
    let shorten = |line: &str| match line.split_once('=') {
        Some((key, value)) if key.trim() == "fragment_seconds" => {
            let seconds: f64 = value.trim().parse().unwrap_or(2.0);
            format!(
                "fragment_seconds = {}",
                if window < seconds { 1.0 } else { seconds }
            )
        }
        _ => line.to_owned(),
    };
    Ok(text.lines().map(|line| shorten(line) + "\n").collect())
}

/// The folders of a corpus whose files are right: those with something special about them, and long
/// ones that are cut into many chunks.
const RIGHT: [&str; 2] = ["good", "perf"];

/// The files of a corpus that are right, with what its catalogue says of each.
///
/// # Errors
/// When a folder or the catalogue cannot be read.
pub fn corpus(folder: &Path) -> Result<Vec<Item>> {
    let catalogue = fs::read(folder.join("catalog.json")).context("no `catalog.json`")?;
    let catalogue: Vec<Value> = serde_json::from_slice(&catalogue)?;
    let expected = |file: &str| {
        let row = catalogue.iter().find(|row| row["file"] == file);
        row.and_then(|row| row["expected"].as_str())
            .unwrap_or("")
            .to_owned()
    };
    let mut items = Vec::new();
    for kind in RIGHT {
        // A corpus of one's own need not have both.
        if !folder.join(kind).try_exists()? {
            continue;
        }
        for entry in fs::read_dir(folder.join(kind))? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let may_be_refused = expected(&format!("{kind}/{name}")).contains("refusal");
            items.push(Item {
                name,
                path,
                may_be_refused,
            });
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

/// The table's columns for items of these names.
#[must_use]
pub fn table(items: &[Item]) -> Table {
    let name = items
        .iter()
        .map(|item| item.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    Table::new(&[name, 7, 13, 6, 4, 7, 12, 7, 6])
}

/// The table's head.
#[must_use]
pub fn head(table: &Table) -> String {
    table.row(&[
        "file",
        "seconds",
        "plain/ours",
        "chunks",
        "redo",
        "PTS",
        "pixels",
        "audio",
        "time",
        "remarks",
    ])
}

impl Row {
    /// The row as text; deviations in capitals' stead are led by a cross.
    #[must_use]
    pub fn text(&self, table: &Table) -> String {
        let verdict = &self.verdict;
        let crosses = verdict.deviations.iter().map(|text| format!("✗ {text}"));
        let remarks: Vec<_> = crosses.chain(verdict.notes.iter().cloned()).collect();
        table.row(&[
            self.name.clone(),
            format!("{:.2}", self.seconds),
            format!("{}/{}", verdict.frames_plain, verdict.frames_ours),
            verdict.chunks.to_string(),
            verdict.generations.to_string(),
            verdict.pts.to_string(),
            verdict.pixels.to_string(),
            verdict.audio.to_string(),
            format!("{:.1}", self.wall.as_secs_f64()),
            remarks.join("; "),
        ])
    }

    /// Whether it is long enough to be worth cutting.
    fn is_long(&self) -> bool {
        self.has_picture && self.seconds > LONG_SECONDS
    }
}

/// What all rows together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Files.
    pub files: usize,
    /// Files without deviation.
    pub exact: usize,
    /// Files with more than 8 s of picture.
    pub long: usize,
    /// Those of them in several chunks.
    pub cut: usize,
}

impl Summary {
    /// Adds up rows.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let count = |keep: fn(&Row) -> bool| rows.iter().filter(|row| keep(row)).count();
        Self {
            files: rows.len(),
            exact: count(|row| row.verdict.is_exact()),
            long: count(Row::is_long),
            cut: count(|row| row.is_long() && row.verdict.chunks > 1),
        }
    }

    /// Whether all is exact and enough was cut.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.exact == self.files && self.cut * 100 >= self.long * SHARE_CUT
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = (self.cut * 100).checked_div(self.long).unwrap_or(100);
        write!(
            f,
            "{} exact of {}; {} of {} files longer than {LONG_SECONDS} s cut into several chunks \
             ({share} %, asked for: {SHARE_CUT} %)",
            self.exact, self.files, self.cut, self.long
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_no_longer_than_windows() {
        let short = lossless_profile(1.2).unwrap();
        assert!(short.lines().any(|line| line == "fragment_seconds = 1"));
        assert!(short.contains("lossless = true"));
        let long = lossless_profile(3.0).unwrap();
        assert!(long.lines().any(|line| line == "fragment_seconds = 2"));
    }

    #[test]
    fn one_deviation_or_too_few_cuts_fail() {
        let all = Summary {
            files: 10,
            exact: 10,
            long: 10,
            cut: 9,
        };
        assert!(all.passes());
        assert!(!Summary { exact: 9, ..all }.passes());
        assert!(!Summary { cut: 8, ..all }.passes());
        assert!(
            Summary {
                files: 0,
                exact: 0,
                long: 0,
                cut: 0
            }
            .passes()
        );
    }
}
