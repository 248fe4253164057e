//! Verdicts kept between runs, and the table of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use reelmill_common::Sha256;

use super::Verdict;
use crate::table::Table;

/// Verdicts in a folder, each under a key of all that it depends on.
#[derive(Debug)]
pub struct Results {
    folder: PathBuf,
    /// Of the programs and settings that every verdict depends on.
    setup: String,
}

impl Results {
    /// Opens the folder for verdicts that depend on this setup.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, setup: String) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            setup,
        })
    }

    fn path(&self, source: &Path, profile: &str) -> Result<PathBuf> {
        // Size and time of change stand for the bytes of a source.
        let facts = fs::metadata(source)?;
        let key = format!(
            "{} {} {:?} {profile} {}",
            source.display(),
            facts.len(),
            facts.modified()?,
            self.setup
        );
        let digest = Sha256::of(key.as_bytes()).to_string();
        let digest = digest.get(..16).unwrap_or(&digest);
        Ok(self.folder.join(format!("{digest}.json")))
    }

    /// The verdict of an earlier run, if there is one.
    ///
    /// # Errors
    /// When the source cannot be looked at.
    pub fn get(&self, source: &Path, profile: &str) -> Result<Option<Verdict>> {
        let kept = fs::read(self.path(source, profile)?).ok();
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps a verdict.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, source: &Path, profile: &str, verdict: &Verdict) -> Result<()> {
        let path = self.path(source, profile)?;
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec_pretty(verdict)?)?;
        Ok(fs::rename(partial, path)?)
    }
}

/// The table's columns for sources and profiles of these names.
#[must_use]
pub fn table<'a>(names: impl Iterator<Item = &'a str>) -> Table {
    let name = names.map(|name| name.chars().count()).max().unwrap_or(0);
    Table::new(&[name.max(4), 10, 6, 5, 6, 6, 6, 6, 7])
}

/// The table's head.
#[must_use]
pub fn head(table: &Table) -> String {
    table.row(&[
        "file", "profile", "chunks", "files", "frames", "dB", "played", "denied", "time", "verdict",
    ])
}

/// A verdict as a row and, below it, its deviations and notes.
#[must_use]
pub fn text(table: &Table, verdict: &Verdict) -> String {
    let failures = verdict
        .findings
        .iter()
        .filter(|f| f.reason.is_none())
        .count();
    let explained = verdict.findings.len() - failures;
    let word = match (failures, explained) {
        (0, 0) => "ok".to_owned(),
        (0, explained) => format!("ok, {explained} deviations explained"),
        (failures, _) => format!("FAILED, {failures} deviations"),
    };
    let mut lines = vec![
        table.row(&[
            verdict.source.clone(),
            verdict.profile.clone(),
            verdict.chunks.to_string(),
            verdict.outputs.to_string(),
            verdict.frames.to_string(),
            verdict
                .least_psnr_db
                .map_or_else(|| "-".to_owned(), |db| format!("{db:.1}")),
            verdict.played.to_string(),
            verdict.denied.len().to_string(),
            format!("{:.1}", verdict.wall_s),
            word,
        ]),
    ];
    for finding in &verdict.findings {
        let place = match finding.output.is_empty() {
            true => String::new(),
            false => format!("{}: ", finding.output),
        };
        let (sign, reason) = match &finding.reason {
            Some(reason) => ("·", format!(" ({reason})")),
            None => ("✗", String::new()),
        };
        let topic = format!("{:?}", finding.topic).to_lowercase();
        lines.push(format!(
            "    {sign} {topic}: {place}{}{reason}",
            finding.what
        ));
    }
    lines.extend(verdict.notes.iter().map(|note| format!("    note: {note}")));
    lines.join("\n")
}
