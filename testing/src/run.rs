//! The only place in this package that starts a process.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// How often a running process is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A process to be run to its end, with a bound on its time.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
}

/// What a process did.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to its standard error.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
    /// User and system time of all children that ended meanwhile: right only while no other
    /// process of this one runs.
    pub cpu: Duration,
}

impl Command {
    /// Prepares a run of `program`, bounded to ten minutes.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        let limit = Duration::from_secs(600);
        Self {
            program: program.into(),
            args: Vec::new(),
            folder: None,
            env: Vec::new(),
            limit,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds the words of a text without quoting of any kind.
    #[must_use]
    pub fn words(self, text: &str) -> Self {
        self.args(text.split_whitespace())
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Bounds its time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command line, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let args = self
            .args
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned());
        let words = std::iter::once(self.program.display().to_string()).chain(args);
        words.collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started or outlives its limit (it is killed then).
    pub fn run(&self) -> Result<Finished> {
        let program = self.program.display();
        let (before, started) = (children_cpu()?, Instant::now());
        let mut child = self
            .start()
            .with_context(|| format!("`{program}` cannot be started"))?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > self.limit {
                child.kill().and_then(|()| child.wait())?;
                bail!(
                    "`{program}` ran longer than {} s: {}",
                    self.limit.as_secs(),
                    self.text()
                );
            }
            thread::sleep(POLL);
        };
        let wall = started.elapsed();
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        let cpu = children_cpu()?.saturating_sub(before);
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Finished {
            code: status.code(),
            stdout,
            stderr,
            wall,
            cpu,
        })
    }

    /// Runs it to its end and insists on exit code 0.
    ///
    /// # Errors
    /// As [`Command::run`], and for any other exit code, with the last words of the process.
    pub fn succeed(&self) -> Result<Finished> {
        let done = self.run()?;
        if done.code != Some(0) {
            bail!(
                "exit {:?} of {}: {}",
                done.code,
                self.text(),
                done.last_words()
            );
        }
        Ok(done)
    }

    /// Starts it with its standard input and output as pipes; it is killed when the result is
    /// dropped. Its standard error is this process's own when `shows_errors`, else discarded.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn pipe(&self, shows_errors: bool) -> Result<Piped> {
        let stderr = if shows_errors {
            Stdio::inherit()
        } else {
            Stdio::null()
        };
        let mut child = self
            .prepare()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("`{}` cannot be started", self.program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Ok(Piped {
            child,
            stdin: stdin.context("no standard input")?,
            stdout: stdout.context("no standard output")?,
        })
    }

    fn start(&self) -> std::io::Result<Child> {
        self.prepare()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place of this package")]
    fn prepare(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

/// A running process that is talked to by pipes.
#[derive(Debug)]
pub struct Piped {
    child: Child,
    /// Its standard input.
    pub stdin: ChildStdin,
    /// Its standard output.
    pub stdout: ChildStdout,
}

impl Drop for Piped {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and that is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Finished {
    /// The end of what it wrote to its standard error, on one line.
    #[must_use]
    pub fn last_words(&self) -> String {
        let lines: Vec<_> = self
            .stderr
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

/// Reads a pipe to its end beside the waiting, so that the process never blocks on a full one.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks ends like one that is closed: what came before it counts.
            drop(pipe.read_to_end(&mut bytes));
        }
        bytes
    })
}

/// User and system time of all children that have ended.
fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("no resource usage")?;
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
    Ok(Duration::from_micros(
        micros(usage.user_time()) + micros(usage.system_time()),
    ))
}
