//! The only place that starts a process.
//!
//! A subprocess is a hostile peer that reads hostile files: it gets its own process group, a
//! cleared environment, a private working folder, no standard input but a pipe of ours, bounded time, memory, CPU
//! and file sizes, and where the kernel has Landlock ([`confinement`] tells) neither the network
//! nor any file beyond what it was started for. It is killed with its group when the future that
//! waits for it is dropped and when this process dies. Both of its output streams are always
//! drained.

use std::ffi::{OsStr, OsString};
use std::io::{PipeReader, PipeWriter};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reelmill_common::LoopbackUrl;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clocks::{Clocks, processor_time};
use crate::error::{MediaError, Words};
use crate::input::{FILE, LOOPBACK};
use crate::sandbox::Sandbox;
pub use crate::sandbox::{Confinement, confinement};
use crate::tail::Tail;

/// What a process may use before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From start to end, less the time in which our own process stood still.
    pub wall: Duration,
    /// Without a sign of life, which is a line on standard output or processor time that is used;
    /// [`Duration::MAX`] where none is expected.
    pub idle: Duration,
    /// Processor time over all threads.
    pub cpu: Duration,
    /// Address space in bytes.
    pub memory: u64,
    /// Bytes of any one file it writes.
    pub file_size: u64,
}

/// One process to run.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What it does, for errors: `probe`, `encode`.
    pub action: &'static str,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its working folder, the only place where it may write.
    pub dir: PathBuf,
    /// Files and folders beyond the system's own that it may read.
    pub reads: Vec<PathBuf>,
    /// The only address that it may connect to; left out of its words.
    pub connects: Option<LoopbackUrl>,
    /// Its bounds.
    pub limits: Limits,
}

impl Invocation {
    /// The command line as one would type it beside the source. That has its name in place of its
    /// address, which is a secret and means nothing elsewhere, and is read as a file.
    #[must_use]
    pub fn command(&self) -> String {
        let hidden = |word: &OsStr| {
            let word = word.to_string_lossy();
            match &self.connects {
                Some(_) if word == LOOPBACK => FILE.to_owned(),
                Some(address) => address.hide(&word),
                None => word.into_owned(),
            }
        };
        let program = self.program.file_name().unwrap_or_default();
        let args = self.args.iter().map(OsString::as_os_str);
        let words: Vec<_> = std::iter::once(program).chain(args).map(hidden).collect();
        // No argument has a NUL, which is all that cannot be quoted.
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }
}

/// How a process that succeeded ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many lines of standard error were marked as errors.
    pub complaints: u64,
    /// The last of its words.
    pub tail: String,
}

/// What is told of a line of standard output.
pub type LineSink<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Lines longer than this are cut: no tool of ours writes such.
const MAX_LINE: usize = 64 * 1024;

/// Runs a process to its end, giving each line of its standard output to `on_line`.
///
/// Dropping the future kills the process and its group.
///
/// # Errors
/// [`MediaError`]: the program is missing, cannot be started, ran over a limit, was killed, or
/// ended with another status than 0.
pub async fn run(invocation: Invocation, on_line: LineSink<'_>) -> Result<Ended, MediaError> {
    run_between(invocation, Ends::default(), on_line).await
}

/// Pipes that take the place of a process's standard streams.
#[derive(Debug, Default)]
pub struct Ends {
    /// What it reads; empty where there is none.
    pub stdin: Option<PipeReader>,
    /// Where its standard output goes instead of to the caller's lines.
    pub stdout: Option<PipeWriter>,
}

/// Runs a process between two pipes, otherwise as [`run`]. Its ends of the pipes are closed in this
/// process when it has started, or cannot be started.
///
/// # Errors
/// As [`run`].
pub async fn run_between(
    invocation: Invocation,
    ends: Ends,
    on_line: LineSink<'_>,
) -> Result<Ended, MediaError> {
    let action = invocation.action;
    let limits = invocation.limits;
    let program = invocation.program.clone();
    let mut tail = Tail::new(invocation.connects.clone());
    let command = invocation.command();
    let dir = invocation.dir.clone();
    let mut running = start(invocation, ends).await?;
    tracing::debug!(action, "started");
    let group = running.group;

    let mut lines = Lines::new(running.stdout.take());
    let mut stderr = running.stderr.take();
    let mut stderr_buffer = vec![0; 8192];
    let mut clocks = Clocks::new(limits.wall, limits.idle, Instant::now());

    let status = loop {
        tokio::select! {
            // What it said comes before what is due: after a stop both are there at once.
            biased;
            line = lines.next(), if !lines.ended => {
                if let Some(line) = line {
                    clocks.sign(Instant::now());
                    on_line(&line);
                }
            }
            count = read_some(stderr.as_mut(), &mut stderr_buffer), if stderr.is_some() => {
                match count {
                    0 => stderr = None,
                    n => tail.push(stderr_buffer.get(..n).unwrap_or_default()),
                }
            }
            status = running.child.wait(), if lines.ended && stderr.is_none() => {
                break status.map_err(|source| MediaError::Start { program: program.clone(), source })?;
            }
            () = tokio::time::sleep_until(clocks.wake()) => {}
        }
        // In every round, or one that never falls silent would never be ended.
        if let Some(limit) = clocks.look(Instant::now(), || processor_time(group)) {
            let tail = tail.text();
            let words = Words { command, tail };
            return Err(MediaError::TimedOut {
                action,
                limit,
                words,
            });
        }
    };
    running.ended = true;
    count_exit(action, &status_word(status));
    tail.finish();
    judge(action, status, command, dir, &tail)?;
    Ok(Ended {
        complaints: tail.complaints(),
        tail: tail.text(),
    })
}

/// Runs a process to its end and returns its standard output, which must stay under `max` bytes.
///
/// # Errors
/// As [`run`]; [`MediaError::TooMuchOutput`] when it prints more.
pub async fn capture(invocation: Invocation, max: usize) -> Result<(String, Ended), MediaError> {
    let action = invocation.action;
    let mut text = String::new();
    let mut over = false;
    let ended = run(invocation, &mut |line| {
        if text.len() + line.len() < max {
            text.push_str(line);
            text.push('\n');
        } else {
            over = true;
        }
    })
    .await?;
    if over {
        Err(MediaError::TooMuchOutput { action, max })
    } else {
        Ok((text, ended))
    }
}

/// Tells operators how processes end.
fn count_exit(action: &'static str, status: &str) {
    let status = status.to_owned();
    metrics::counter!("reelmill_ffmpeg_exits_total", "action" => action, "status" => status)
        .increment(1);
}

/// `0`, `1`, `signal-9`; `killed` is for what was dropped or ran over a limit.
fn status_word(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal-{signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn judge(
    action: &'static str,
    status: ExitStatus,
    command: String,
    dir: PathBuf,
    tail: &Tail,
) -> Result<(), MediaError> {
    let tail = tail.text();
    // Asked first: ffmpeg 5.1 ends with 0 when it had no room for the end of a file.
    if tail.contains("No space left on device") || tail.contains("Disk quota exceeded") {
        return Err(MediaError::NoSpace { action, dir });
    }
    if status.success() {
        return Ok(());
    }
    let is_out_of_memory = tail.contains("Cannot allocate memory");
    let words = Words { command, tail };
    Err(match status.signal() {
        Some(signal) if signal == Signal::SIGXFSZ as i32 => MediaError::TooLarge { action, words },
        Some(signal) if signal == Signal::SIGXCPU as i32 => {
            MediaError::TooMuchCpu { action, words }
        }
        Some(signal) => MediaError::Killed {
            action,
            signal,
            words,
        },
        None if is_out_of_memory => MediaError::OutOfMemory { action, words },
        None => MediaError::Failed {
            action,
            code: status.code().unwrap_or(-1),
            words,
        },
    })
}

/// Reads what is there; end of stream and errors alike are 0, since the exit status will tell.
async fn read_some(stream: Option<&mut ChildStderr>, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// A process that is killed with its whole group unless it was seen to end.
#[derive(Debug)]
struct Running {
    action: &'static str,
    child: Child,
    group: Pid,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // The group may be gone already: then there is nobody to tell.
            killpg(self.group, Signal::SIGKILL).ok();
            count_exit(self.action, "killed");
        }
    }
}

/// Starts a process on the thread that starts them all.
///
/// The kernel kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and
/// threads of an async runtime come and go: one thread that lives as long as the process does not.
async fn start(invocation: Invocation, ends: Ends) -> Result<Running, MediaError> {
    static STARTER: std::sync::OnceLock<mpsc::Sender<Box<dyn FnOnce() + Send>>> =
        std::sync::OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            for request in requests {
                request();
            }
        });
        sender
    });
    let runtime = tokio::runtime::Handle::current();
    let (reply, answer) = oneshot::channel();
    let program = invocation.program.clone();
    let request = Box::new(move || {
        let _runtime = runtime.enter();
        // A caller that is gone drops the answer, and with it the process.
        reply.send(start_here(&invocation, ends)).ok();
    });
    let gone = || MediaError::Start {
        program: program.clone(),
        source: std::io::Error::other("the thread that starts processes is gone"),
    };
    starter.send(request).map_err(|_lost| gone())?;
    answer.await.map_err(|_lost| gone())?
}

fn start_here(invocation: &Invocation, ends: Ends) -> Result<Running, MediaError> {
    let not_started = |source| MediaError::Start {
        program: invocation.program.clone(),
        source,
    };
    let sandbox = Sandbox::new(invocation).map_err(not_started)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(&invocation.program);
    command
        .args(&invocation.args)
        .current_dir(&invocation.dir)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &invocation.dir)
        .env("TMPDIR", &invocation.dir)
        .stdin(ends.stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(ends.stdout.map_or_else(Stdio::piped, Stdio::from))
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // A build of ffmpeg in a folder of its own finds its libraries this way.
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    sandbox.confine(&mut command);
    let mut child = command.spawn().map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            MediaError::Missing {
                program: invocation.program.clone(),
            }
        } else {
            not_started(source)
        }
    })?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map_or(Pid::from_raw(0), Pid::from_raw);
    Ok(Running {
        action: invocation.action,
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        ended: group.as_raw() == 0,
        child,
        group,
    })
}

/// Splits a stream into lines without trusting their length.
#[derive(Debug)]
struct Lines<R> {
    stream: Option<R>,
    pending: Vec<u8>,
    buffer: Vec<u8>,
    /// How much of `buffer` was read, and how much of that is used up.
    filled: usize,
    used: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: Option<R>) -> Self {
        let ended = stream.is_none();
        Self {
            stream,
            pending: Vec::new(),
            buffer: vec![0; 64 * 1024],
            filled: 0,
            used: 0,
            ended,
        }
    }

    /// The next line without its end; `None` once when the stream has ended. Cancel-safe.
    async fn next(&mut self) -> Option<String> {
        loop {
            let unread = self.buffer.get(self.used..self.filled).unwrap_or_default();
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                self.pending
                    .extend_from_slice(unread.get(..end).unwrap_or_default());
                self.used += end + 1;
                return Some(self.take());
            }
            self.pending.extend_from_slice(unread);
            self.pending.truncate(MAX_LINE);
            (self.used, self.filled) = (0, 0);
            let count = match self.stream.as_mut() {
                Some(stream) => stream.read(&mut self.buffer).await.unwrap_or(0),
                None => 0,
            };
            self.filled = count;
            if count == 0 {
                self.ended = true;
                return (!self.pending.is_empty()).then(|| self.take());
            }
        }
    }

    fn take(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        line
    }
}
