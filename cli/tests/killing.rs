//! Deaths at any moment: of reelmill, of its ffmpegs, of the machine. What comes out in the end is
//! byte for byte what an undisturbed run makes.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::*;
use nix::sys::signal::Signal;

/// Cells of a second, a window for each: forty chunks.
const SECONDS: &str = "40";
const CHUNKS: usize = 40;

fn profile(dir: &Path) -> PathBuf {
    let text = quick_profile("1", &[240], "[\"mp4\", \"hls\"]");
    profile_file(dir, "quick.toml", &text)
}

/// One job in a folder of its own, on a source of its own, so that its processes can be told from
/// those of other tests.
struct Job {
    dir: tempfile::TempDir,
    out: PathBuf,
    source: PathBuf,
}

impl Job {
    fn new() -> Self {
        let dir = folder();
        let out = dir.path().join("out");
        let source = dir.path().join("source.mp4");
        std::fs::copy(clip("320x240", "25", SECONDS), &source).unwrap();
        Self { dir, out, source }
    }

    fn command_into(&self, out: &Path) -> std::process::Command {
        let mut command = transcode(&self.source, out, profile(self.dir.path()));
        command.args(["--window", "1", "--json"]);
        command
    }

    fn start(&self) -> Running {
        Running::start(&mut self.command_into(&self.out))
    }

    /// Starts and waits until `chunks` chunks are done.
    fn start_until(&self, chunks: usize) -> Running {
        let mut running = self.start();
        until("done chunks", LONG, || {
            chunks_done(&self.out) >= chunks || running.has_ended()
        });
        assert!(!running.has_ended(), "it was over too soon");
        running
    }

    fn nobody_left(&self) {
        nobody_left(&self.out, &self.source);
    }

    /// Runs to the end and insists on the bytes of an undisturbed run and on chunks taken over.
    #[track_caller]
    fn ends_well(&self, out: &Path) -> u64 {
        let ran = run(&mut self.command_into(out)).ended(0);
        assert_eq!(&snapshot(out), undisturbed());
        let report = ran.json();
        assert_eq!(report["chunks"], CHUNKS);
        report["chunks_resumed"].as_u64().unwrap()
    }
}

/// What an undisturbed run leaves.
fn undisturbed() -> &'static BTreeMap<String, String> {
    static FILES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = made_once("undisturbed", |folder| {
            let job = Job::new();
            let ran = run(&mut job.command_into(&folder.join("out"))).ended(0);
            assert_eq!(ran.json()["chunks"], CHUNKS);
            println!("an undisturbed run takes {:?}", ran.took);
        });
        let files = snapshot(&folder.join("out"));
        assert!(!files.contains_key(".reelmill"), "{files:#?}");
        files
    })
}

/// At least this many deaths before the last chunk is done.
const DEATHS: usize = 30;

/// Deaths after that, while the pieces are joined and delivered.
const LATE_DEATHS: usize = 12;

#[test]
fn reelmill_is_killed_thirty_times_in_one_job() {
    undisturbed();
    let job = Job::new();
    let mut dice = Dice::new();
    let mut deaths = 0;
    while deaths < DEATHS {
        let before = chunks_done(&job.out);
        // At random between start and the third chunk that this life finishes; near the end of the
        // chunks early in life, so that there are thirty deaths before the job is done.
        let ahead = before * DEATHS > deaths * CHUNKS || before + 4 > CHUNKS;
        let chunks = if ahead { 1 } else { 1 + dice.below(3) as usize };
        let moment = Instant::now() + dice.millis(if ahead { 700 } else { 2500 });
        let mut running = job.start();
        until("the moment to kill", LONG, || {
            Instant::now() >= moment
                || chunks_done(&job.out) >= before + chunks
                || running.has_ended()
        });
        let ran = running.kill();
        assert_eq!(
            ran.code, None,
            "death {deaths}: it ended by itself: {ran:#?}"
        );
        job.nobody_left();
        assert!(!is_there(&job.out.join("certificate.json")));
        deaths += 1;
    }
    println!(
        "{} of {CHUNKS} chunks are done after {deaths} deaths",
        chunks_done(&job.out)
    );
    let mut resumed = chunks_done(&job.out) as u64;
    for death in 0..LATE_DEATHS {
        let mut running = job.start();
        until("the last chunk", LONG, || {
            chunks_done(&job.out) == CHUNKS || running.has_ended()
        });
        // Every third dies as soon as the first output is in the folder.
        let moment = Instant::now() + dice.millis(500);
        until("the moment to kill", LONG, || match death % 3 {
            2 => is_there(&job.out.join("output_240p.mp4")) || running.has_ended(),
            _ => Instant::now() >= moment || running.has_ended(),
        });
        let ran = running.kill();
        job.nobody_left();
        if ran.code.is_some() {
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            resumed = ran.json()["chunks_resumed"].as_u64().unwrap();
            println!("done after {death} late deaths");
            break;
        }
        deaths += 1;
    }
    let last = job.ends_well(&job.out);
    println!("{deaths} deaths");
    assert!(resumed > 0 && last > 0, "nothing was taken over");
    run(reelmill()
        .arg("verify")
        .arg(&job.out)
        .arg("--source")
        .arg(&job.source))
    .ended(0);
}

#[test]
fn ffmpegs_are_killed_at_random() {
    undisturbed();
    let job = Job::new();
    let mut dice = Dice::new();
    let mut running = job.start();
    let pid = running.pid();
    // From the moment on that the job exists: before, nobody would try again.
    until("the ledger", LONG, || {
        is_there(&job.out.join(".reelmill/ledger.sqlite")) || running.has_ended()
    });
    // A task is tried six times. There is one task before the plan and one after the last chunk, so
    // that these are spared after two deaths each.
    let (mut early, mut deaths, mut late) = (0, 0, 0);
    while !running.has_ended() {
        let moment = Instant::now() + Duration::from_millis(40) + dice.millis(250);
        until("the moment to kill", LONG, || {
            Instant::now() >= moment || running.has_ended()
        });
        let (count, most) = match (is_planned(&job.out), chunks_done(&job.out)) {
            (false, _) => (&mut early, 2),
            (true, CHUNKS) => (&mut late, 2),
            (true, _) => (&mut deaths, 15),
        };
        let victims = working_in(&job.out, pid);
        let victim = victims.get(dice.below(victims.len() as u64) as usize);
        if let Some(&victim) = victim.filter(|_| *count < most) {
            let victim = nix::unistd::Pid::from_raw(victim.try_into().unwrap());
            // It may have ended meanwhile.
            *count += usize::from(nix::sys::signal::kill(victim, Signal::SIGKILL).is_ok());
        }
    }
    let ran = running.wait(LONG).ended(0);
    println!(
        "{early} + {deaths} + {late} ffmpegs were killed in {:?}",
        ran.took
    );
    assert!(deaths >= 8, "only {deaths} ffmpegs were killed");
    assert_eq!(&snapshot(&job.out), undisturbed());
}

#[test]
fn a_signal_ends_it_with_a_sentence_and_the_same_command_goes_on() {
    undisturbed();
    let job = Job::new();
    let mut done = 0;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let running = job.start_until(done + 2);
        running.signal(signal);
        let ran = running.wait(Duration::from_secs(10));
        let ran = ran.refused(1, &["interrupted: the same command goes on from here"]);
        assert_eq!(ran.json()["status"], "failed");
        job.nobody_left();
        assert_eq!(names(&job.out), [".reelmill"]);
        assert!(chunks_done(&job.out) >= done + 2);
        done = chunks_done(&job.out);
        if done > 0 && signal != Signal::SIGINT {
            assert!(ran.stderr.contains("going on: "), "{ran:#?}");
        }
    }
    assert!(job.ends_well(&job.out) >= done as u64);
}

/// Also not one that says nothing, so that no closed pipe ends it, and that listens to nobody.
#[test]
fn no_ffmpeg_outlives_its_reelmill() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let job = Job::new();
        let text = format!(
            "#!/bin/sh\nfor word; do case \"$word\" in -version|-encoders) exec '{}' \"$@\";; esac; done\n\
             trap '' HUP INT PIPE TERM\nexec sleep 600\n",
            on_path("ffmpeg").unwrap().display()
        );
        let deaf = executable(job.dir.path(), "ffmpeg-that-hangs", &text);
        let mut command = job.command_into(&job.out);
        let running = Running::start(command.arg("--ffmpeg").arg(deaf));
        until("an ffmpeg that hangs", LONG, || {
            let workers = working_in(&job.out, running.pid());
            is_planned(&job.out) && workers.iter().any(|&pid| program_of(pid) == "sleep")
        });
        running.signal(signal);
        running.wait(Duration::from_secs(10));
        job.nobody_left();
    }
}

/// The machine stops: what the folder is at that moment is what there is.
#[test]
fn a_copy_of_the_folder_taken_at_any_moment_goes_on() {
    undisturbed();
    let job = Job::new();
    let mut dice = Dice::new();
    for number in 0..3 {
        let wanted = (chunks_done(&job.out) + 2 + dice.below(6) as usize).min(CHUNKS - 3);
        let running = job.start_until(wanted);
        running.signal(Signal::SIGSTOP);
        let copy = job.dir.path().join(format!("copy-{number}"));
        copy_folder(&job.out, &copy);
        let done = chunks_done(&copy);
        running.kill();
        job.nobody_left();
        assert!(job.ends_well(&copy) >= done as u64);
    }
}

/// The store is the truth: queue and ledger may be gone altogether.
#[test]
fn an_emptied_queue_and_ledger_lose_nothing() {
    undisturbed();
    let job = Job::new();
    job.start_until(5).kill();
    job.nobody_left();
    let done = chunks_done(&job.out) as u64;
    for name in names(&job.out.join(".reelmill")) {
        if name.contains(".sqlite") {
            std::fs::remove_file(job.out.join(".reelmill").join(name)).unwrap();
        }
    }
    assert_eq!(job.ends_well(&job.out), done);
}
