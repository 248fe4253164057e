//! `reelmill doctor`: a tick or a cross for everything that reelmill needs, each with the cure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reelmill_common::profile;
use reelmill_media::codec::{audio_encoder, video_encoder};
use reelmill_media::process::{Confinement, confinement};
use reelmill_media::tools::Program;
use reelmill_media::{MediaError, Tools};
use serde::Serialize;

use crate::args::{DoctorArgs, ToolArgs};
use crate::failure::{Exit, Failure};
use crate::report::{print_json, print_line};

/// Less free space than this is a warning: an hour of 1080p in four renditions.
const ENOUGH_DISK: u64 = 10 << 30;
/// Less memory than this is a warning: two encodes of 1080p.
const ENOUGH_MEMORY: u64 = 2 << 30;

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do where it is not well.
    #[serde(skip_serializing_if = "String::is_empty")]
    cure: String,
    /// The exit code that a failed check leads to.
    #[serde(skip)]
    exit: Exit,
}

impl Check {
    fn new(
        name: &'static str,
        ok: bool,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let cure = if ok { String::new() } else { cure.into() };
        Self {
            name,
            ok,
            found: found.into(),
            cure,
            exit: Exit::Failed,
        }
    }

    fn dependency(self) -> Self {
        Self {
            exit: Exit::Dependency,
            ..self
        }
    }
}

pub(crate) async fn run(tools: &ToolArgs, args: &DoctorArgs) -> Result<(), Failure> {
    let scratch = std::env::temp_dir();
    let mut checks = media(tools, &scratch).await;
    checks.push(sandbox());
    checks.push(cores());
    checks.push(memory());
    checks.push(disk(Path::new(".")));
    checks.push(writable(Path::new(".")));
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
    let exit = failed.iter().map(|check| check.exit as u8).max();
    if args.json {
        print_json(&serde_json::json!({ "ok": failed.is_empty(), "checks": checks }));
    } else {
        for check in &checks {
            let mark = if check.ok { "✔" } else { "✖" };
            print_line(&format!("{mark} {:<13} {}", check.name, check.found));
            if !check.ok {
                print_line(&format!("  {:<13} → {}", "", check.cure));
            }
        }
    }
    match exit {
        None => Ok(()),
        Some(code) => {
            let names: Vec<&str> = failed.iter().map(|check| check.name).collect();
            let exit = if code == Exit::Dependency as u8 {
                Exit::Dependency
            } else {
                Exit::Failed
            };
            Err(Failure::new(
                exit,
                "doctor",
                format!("not well: {}", names.join(", ")),
            ))
        }
    }
}

/// ffmpeg, ffprobe and the encoders that the built-in profiles need: each by itself, so that one
/// that is missing does not hide how the others are.
async fn media(tools: &ToolArgs, scratch: &Path) -> Vec<Check> {
    let cure = "install ffmpeg 5.1 or later with ffprobe (apt-get install ffmpeg), or name it with --ffmpeg";
    let probe_cure = "install ffmpeg 5.1 or later with ffprobe (apt-get install ffmpeg), or name it with REELMILL_FFPROBE";
    let missing = |name, what: String, cure| Check::new(name, false, what, cure).dependency();
    let program = |name, found: &Result<Program, MediaError>, cure| match found {
        Ok(Program { path, version, .. }) => {
            Check::new(name, true, format!("{version} at {}", path.display()), "")
        }
        Err(error) => missing(name, without_cure(error), cure),
    };
    let (ffmpeg, ffprobe) = Tools::look(tools.ffmpeg.as_deref(), scratch).await;
    let encoders = match &ffmpeg {
        Ok(ffmpeg) => match ffmpeg.encoders(scratch).await {
            Ok(present) => encoders(&present),
            Err(error) => missing("encoders", without_cure(&error), cure),
        },
        Err(_) => missing("encoders", "unknown without ffmpeg".to_owned(), cure),
    };
    vec![
        program("ffmpeg", &ffmpeg, cure),
        program("ffprobe", &ffprobe, probe_cure),
        encoders,
    ]
}

/// What is wrong with a tool. The error's own sentence ends with a cure, which a check has already.
fn without_cure(error: &MediaError) -> String {
    match error {
        MediaError::Missing { program } => format!("`{}` was not found", program.display()),
        MediaError::Unusable { program, reason } => {
            format!("`{}` cannot be used: {reason}", program.display())
        }
        other => other.to_string(),
    }
}

fn encoders(present: &BTreeSet<String>) -> Check {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for builtin in profile::builtins() {
        let Ok(profile) = builtin.profile() else {
            continue;
        };
        let video = profile
            .video
            .iter()
            .map(|rung| video_encoder(rung.settings.codec));
        let audio = profile.audio.iter().map(|audio| audio_encoder(audio.codec));
        for encoder in video.chain(audio).collect::<BTreeSet<_>>() {
            needed.insert(encoder);
            if !present.contains(encoder) {
                missing.entry(encoder).or_default().push(builtin.name);
            }
        }
    }
    if missing.is_empty() {
        let all: Vec<&str> = needed.into_iter().collect();
        return Check::new("encoders", true, all.join(", "), "");
    }
    let list: Vec<String> = missing
        .iter()
        .map(|(encoder, profiles)| format!("{encoder} (for {})", profiles.join(", ")))
        .collect();
    let cure = "install an ffmpeg that was built with them, or use other profiles";
    Check::new(
        "encoders",
        false,
        format!("missing: {}", list.join("; ")),
        cure,
    )
    .dependency()
}

/// What the kernel keeps ffmpeg from. Where it cannot, jobs run all the same, so that this is told
/// and is no failure.
fn sandbox() -> Check {
    let found = match confinement() {
        Confinement {
            files: true,
            network: true,
        } => "ffmpeg reaches its source, its folder and nothing else (Landlock)",
        Confinement { files: true, .. } => {
            "ffmpeg reaches no other files; the network only Linux 6.7 or newer keeps it from"
        }
        Confinement { .. } => {
            "ffmpeg is bounded but not confined: this kernel has no Landlock, so run it in a container"
        }
    };
    Check::new("sandbox", true, found, "")
}

fn cores() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) => Check::new(
            "cores",
            true,
            format!("{cores}, as many encodes run at once"),
            "",
        ),
        Err(error) => Check::new(
            "cores",
            false,
            error.to_string(),
            "say how many with --slots",
        ),
    }
}

fn memory() -> Check {
    let field = |text: &str| -> Option<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    match std::fs::read_to_string("/proc/meminfo")
        .ok()
        .as_deref()
        .and_then(field)
    {
        Some(kib) => {
            let free = kib << 10;
            let cure = "end other programs or run fewer encodes with --slots 1";
            Check::new(
                "memory",
                free >= ENOUGH_MEMORY,
                format!("{} available", size(free)),
                cure,
            )
        }
        None => Check::new("memory", true, "unknown on this system", ""),
    }
}

fn disk(folder: &Path) -> Check {
    match nix::sys::statvfs::statvfs(folder) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size();
            let cure = "free some, or write to another disk with -o";
            Check::new(
                "disk",
                free >= ENOUGH_DISK,
                format!("{} free here", size(free)),
                cure,
            )
        }
        Err(error) => Check::new(
            "disk",
            false,
            error.to_string(),
            "run where the outputs shall go",
        ),
    }
}

fn writable(folder: &Path) -> Check {
    match tempfile::NamedTempFile::new_in(folder) {
        Ok(_) => Check::new("write access", true, "this folder can be written to", ""),
        Err(error) => Check::new(
            "write access",
            false,
            error.to_string(),
            "run in a folder of your own, or name one with -o",
        ),
    }
}

fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
