//! What the tests of the binary share: starting it, media to give it, looking at what it left.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary compiles this module and uses a part of it"
)]

mod files;
mod media;
mod procs;
mod service;

pub(crate) use files::*;
pub(crate) use media::*;
pub(crate) use procs::*;
pub(crate) use service::*;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any of these runs takes on a busy machine; a test that needs it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// A command that starts a program.
#[expect(
    clippy::disallowed_methods,
    reason = "tests run the binary as its users do"
)]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// The binary under test, without what the caller's environment would tell it.
pub(crate) fn reelmill() -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_reelmill"));
    without_settings(&mut command);
    command
}

/// Removes variables by which a developer's shell would change the results.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REELMILL_") {
            command.env_remove(name);
        }
    }
}

/// `reelmill transcode INPUT -o DIR --profile PROFILE`.
pub(crate) fn transcode(input: &Path, dir: &Path, profile: impl AsRef<OsStr>) -> Command {
    let mut command = reelmill();
    command.arg("transcode").arg(input).arg("-o").arg(dir);
    command.arg("--profile").arg(profile);
    command
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// The last line of standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Insists on an exit code and one sentence of error with these words in it.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        let ran = self.ended(code);
        let sentence = ran.sentence();
        for word in words {
            assert!(sentence.contains(word), "no `{word}` in `{sentence}`");
        }
        ran
    }

    /// The one sentence of a failure; what follows it may only be ffmpeg's own words.
    #[track_caller]
    pub(crate) fn sentence(&self) -> String {
        let errors = || {
            let lines = self.stderr.lines();
            lines.filter_map(|line| line.strip_prefix("error: "))
        };
        assert_eq!(errors().count(), 1, "not one sentence: {self:#?}");
        let words = self.stderr.split("error: ").nth(1).unwrap_or_default();
        assert!(!words.contains("panicked"), "{self:#?}");
        let sentence = errors().next().unwrap_or_default().to_owned();
        assert!(sentence.len() > 15, "says little: `{sentence}`");
        assert!(!sentence.ends_with('.'), "`{sentence}`");
        sentence
    }
}

/// A program that runs, its output going to files so that it never waits for a reader.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: File,
    stderr: File,
    began: Instant,
}

impl Running {
    /// Starts a program.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let (stdout, stderr) = (scratch_file(), scratch_file());
        command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let began = Instant::now();
        Self {
            child,
            stdout,
            stderr,
            began,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has written to standard output.
    pub(crate) fn stdout_so_far(&mut self) -> String {
        // Not by rewinding: the program writes where this file stands.
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; 64 * 1024];
        let length = self.stdout.read_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does and waits for its end.
    pub(crate) fn kill(mut self) -> Ran {
        self.child.kill().unwrap();
        self.wait(LONG)
    }

    /// Waits for its end; a program that takes longer than `limit` is killed and the test fails.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Ran {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("still running after {limit:?}: {}", read(&mut self.stderr));
            }
            pause();
        };
        Ran {
            code: status.code(),
            stdout: read(&mut self.stdout),
            stderr: read(&mut self.stderr),
            took: self.began.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing running; one that ended has nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ran {
    Running::start(command).wait(LONG)
}

/// The breath between two looks at a condition.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(3));
}

/// Looks until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        pause();
    }
}

fn scratch_file() -> File {
    tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn read(file: &mut File) -> String {
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Repeatable random numbers (SplitMix64, Steele et al. 2014) from a seed that is printed, so that
/// a failure can be tried again with `REELMILL_TEST_SEED`.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Begins with the seed of the environment, else with the time.
    pub(crate) fn new() -> Self {
        let given = std::env::var("REELMILL_TEST_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            u64::try_from(now.as_nanos() & 0xffff_ffff).unwrap()
        });
        println!("REELMILL_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    /// A stretch of time below `end` milliseconds.
    pub(crate) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}
