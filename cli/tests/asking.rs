//! The commands that ask a service, against a service that runs.
#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "a-secret-that-nobody-may-see";

/// A service with a key and a profile that is quick, and how to ask it.
struct Asked {
    service: Running,
    url: String,
    dir: TempDir,
}

impl Asked {
    fn start() -> Self {
        let dir = folder();
        let profiles = dir.path().join("profiles");
        std::fs::create_dir(&profiles).unwrap();
        let text = quick_profile("1", &[240], "[\"mp4\", \"hls\"]");
        profile_file(&profiles, "quick.toml", &text);
        let (service, url) = started(&mut Self::serve(dir.path()));
        Self { service, url, dir }
    }

    fn serve(dir: &Path) -> Command {
        let mut command = serve(&dir.join("data"));
        command.arg("--profiles-dir").arg(dir.join("profiles"));
        command.args(["--default-profile", "quick"]);
        command.args(["--log", "debug"]);
        command.env("REELMILL_API_KEY", KEY);
        command
    }

    /// Starts another service where this one was.
    fn again(&mut self) {
        (self.service, self.url) = started(&mut Self::serve(self.dir.path()));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = reelmill();
        command.args(args);
        command.env("REELMILL_SERVER", &self.url);
        command.env("REELMILL_API_KEY", KEY);
        command
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        run(self.command(args).arg("--json")).ended(0).json()
    }

    /// Submits a file and waits for the job's end.
    #[track_caller]
    fn completed(&self, file: &Path) -> String {
        let file = file.display().to_string();
        let job = self.json(&["jobs", "submit", &file, "--watch", "--quiet"]);
        assert_eq!(job["status"], "completed", "{job:#}");
        job["id"].as_str().unwrap().to_owned()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ends the service; what it logged.
    fn end(self) -> Vec<Value> {
        self.service.signal(Signal::SIGTERM);
        let ran = self.service.wait(Duration::from_secs(30)).ended(0);
        let lines = ran.stderr.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }
}

#[test]
fn a_job_from_submit_to_its_files() {
    let asked = Asked::start();
    let source = second().display().to_string();
    let submitted = asked.json(&[
        "jobs",
        "submit",
        &source,
        "--profile",
        "quick",
        "--name",
        "mine",
        "--priority",
        "high",
        "--metadata",
        "customer=7",
        "--time-limit",
        "10m",
    ]);
    let id = submitted["id"].as_str().unwrap();
    let watched = run(&mut asked.command(&["jobs", "watch", id])).ended(0);
    assert!(watched.stdout.contains("output_240p.mp4"), "{watched:#?}");

    let job = asked.json(&["jobs", "status", id]);
    assert_eq!(job["status"], "completed");
    assert_eq!(job["name"], "mine");
    assert_eq!(job["priority"], "high");
    assert_eq!(job["metadata"], json!({ "customer": "7" }));
    assert_eq!(job["time_limit_s"], 600);
    let words = run(&mut asked.command(&["jobs", "status", id])).ended(0);
    for word in [id, "mine", "quick", "completed", "output_240p.mp4"] {
        assert!(words.stdout.contains(word), "no `{word}`: {words:#?}");
    }
    let list = run(&mut asked.command(&["jobs", "list"])).ended(0);
    let rows: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(rows.len(), 2, "{list:#?}");
    assert!(
        rows[0].starts_with("ID ") && rows[1].starts_with(id),
        "{list:#?}"
    );
    assert_eq!(
        asked.json(&["jobs", "list", "--status", "failed"])["jobs"],
        json!([])
    );
    assert_eq!(asked.json(&["jobs", "stats"])["jobs"]["completed"], 1);
    assert_eq!(asked.json(&["workers", "status"])["workers"][0]["slots"], 1);

    let out = asked.out("out");
    let mut get = asked.command(&["outputs", "get", id, "-o"]);
    let got = run(get.arg(&out)).ended(0);
    let last = got.stdout.lines().last().unwrap_or_default();
    assert_eq!(Path::new(last), out.join("certificate.json"));
    run(reelmill()
        .arg("verify")
        .arg(&out)
        .arg("--source")
        .arg(&source))
    .ended(0);

    // Every line of the job has its id. None has the key, nor the address by which ffmpeg reads a
    // source, also where everything is logged.
    let url = asked.url.clone();
    let log = asked.end();
    for line in &log {
        let says_where = line["message"] == format!("listening on {url}");
        let line = line.to_string();
        assert!(!line.contains(KEY), "{line}");
        assert!(says_where || !line.contains("http://127.0.0.1"), "{line}");
    }
    for step in ["accepted", "planned", "completed"] {
        let of_job = |line: &&Value| {
            let mut spans = line["spans"].as_array().into_iter().flatten();
            line["message"] == step && (line["job"] == id || spans.any(|span| span["job"] == id))
        };
        assert_eq!(log.iter().filter(of_job).count(), 1, "{step}: {log:#?}");
    }
}

#[test]
fn what_was_begun_is_gone_on_with() {
    let asked = Asked::start();
    let id = asked.completed(&second());
    let out = asked.out("out");
    let get = |args: &[&str]| {
        let mut command = asked.command(&["outputs", "get", &id, "-o"]);
        command.arg(&out).args(args);
        run(&mut command)
    };
    get(&["output_240p.mp4"]).ended(0);
    assert_eq!(names(&out), ["output_240p.mp4"]);
    let whole = digest(&out.join("output_240p.mp4"));

    // Cut off half-way, then with a beginning that is not the file's.
    let bytes = std::fs::read(out.join("output_240p.mp4")).unwrap();
    let half = &bytes[..bytes.len() / 2];
    let part = out.join("output_240p.mp4.part");
    for begun in [half.to_vec(), vec![b'x'; half.len()]] {
        std::fs::remove_file(out.join("output_240p.mp4")).unwrap();
        std::fs::write(&part, &begun).unwrap();
        get(&["output_240p.mp4"]).ended(0);
        assert_eq!(digest(&out.join("output_240p.mp4")), whole);
        assert!(!is_there(&part));
    }
    get(&["output_1080p.mp4"]).refused(2, &["output_1080p.mp4", "output_240p.mp4"]);
    let list = run(&mut asked.command(&["outputs", "list", &id])).ended(0);
    assert!(list.stdout.contains("hls/master.m3u8"), "{list:#?}");
}

#[test]
fn what_goes_wrong_is_one_sentence() {
    let asked = Asked::start();
    let words = ["no job", "(request "];
    run(&mut asked.command(&["jobs", "status", "nobody"])).refused(1, &words);
    run(&mut asked.command(&["jobs", "cancel", "../etc"])).refused(1, &words);
    let mut command = asked.command(&["jobs", "list"]);
    command.env("REELMILL_API_KEY", "a-key-that-is-not-known");
    run(&mut command).refused(1, &["key", "REELMILL_API_KEY", "(request "]);

    let source = second().display().to_string();
    let mut command = asked.command(&["jobs", "submit", &source, "--profile", "h264-360p"]);
    run(&mut command).refused(1, &["h264-360p"]);
    let mut command = asked.command(&["jobs", "submit", "/nowhere.mp4"]);
    run(&mut command).refused(2, &["/nowhere.mp4"]);

    // What is no media is a job that failed, in its own words.
    let text = asked.out("text.mp4");
    std::fs::write(&text, "this is no video\n".repeat(1000)).unwrap();
    let text = text.display().to_string();
    let ran = run(&mut asked.command(&["jobs", "submit", &text, "--watch", "--quiet"])).ended(1);
    assert!(ran.sentence().contains("text.mp4"), "{ran:#?}");
    let failed = asked.json(&["jobs", "list", "--status", "failed"]);
    let id = failed["jobs"][0]["id"].as_str().unwrap();
    run(&mut asked.command(&["jobs", "cancel", id])).refused(1, &[id, "failed"]);
}

/// Told to end or killed in the middle of an encode, the service leaves no process behind, and the
/// next one goes on.
#[test]
fn an_end_in_mid_encode_loses_nothing() {
    let mut asked = Asked::start();
    let source = clip("640x360", "25", "30").display().to_string();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let job = asked.json(&["jobs", "submit", &source]);
        let id = job["id"].as_str().unwrap().to_owned();
        until("encoding", LONG, || {
            let job = asked.json(&["jobs", "status", &id]);
            assert_ne!(job["status"], "failed", "{job:#}");
            job["frames"]["done"].as_u64() > Some(0) || job["status"] == "completed"
        });
        asked.service.signal(signal);
        let code = (signal == Signal::SIGTERM).then_some(0);
        until("the service's end", Duration::from_secs(15), || {
            asked.service.has_ended()
        });
        assert_eq!(asked.service.child.wait().unwrap().code(), code);
        let data = asked.out("data");
        until("the end of its processes", Duration::from_secs(2), || {
            working_in(&data, 0).is_empty()
        });
        asked.again();
        let job = asked.json(&["jobs", "watch", &id, "--quiet"]);
        assert_eq!(job["status"], "completed", "{job:#}");
    }
}

/// `/metrics` has what the golden list has, and nothing else.
#[test]
fn metrics_are_those_of_the_list() {
    let asked = Asked::start();
    asked.completed(&second());
    let golden: BTreeSet<&str> = include_str!("golden/metrics.txt")
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut missing = Vec::new();
    until("all metrics", Duration::from_secs(20), || {
        let text = fetch(&asked.url, "/metrics", KEY);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let present: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        let unknown: Vec<_> = present.difference(&golden).collect();
        assert!(unknown.is_empty(), "not in the list: {unknown:?}");
        missing = golden
            .difference(&present)
            .map(ToString::to_string)
            .collect();
        missing.is_empty()
    });
    assert!(missing.is_empty(), "{missing:?}");
    // Gauges are read every two seconds.
    for line in [
        "reelmill_jobs{status=\"completed\"} 1",
        "reelmill_slots{stage=\"chunks\"} 1",
        "reelmill_slots_busy{stage=\"chunks\"} 0",
        "reelmill_tasks_total{task=\"finalize\",outcome=\"yielded\"} 1",
        "reelmill_frames_encoded_total 25",
        "reelmill_workers_active 1",
    ] {
        until(line, Duration::from_secs(10), || {
            let text = fetch(&asked.url, "/metrics", KEY);
            text.lines().any(|have| have == line)
        });
    }
}

#[test]
fn a_certificate_of_ones_own_is_trusted_where_it_is_named() {
    let dir = folder();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut command = serve(&file("data"));
    command.arg("--tls-cert").arg(file("cert.pem"));
    command.arg("--tls-key").arg(file("key.pem"));
    let (_service, url) = started(&mut command);
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");

    let ask = |cacert: Option<&str>| {
        let mut command = reelmill();
        command.args(["jobs", "list", "--server", &url, "--json"]);
        if let Some(name) = cacert {
            command.arg("--cacert").arg(file(name));
        }
        run(&mut command)
    };
    assert_eq!(ask(Some("cert.pem")).ended(0).json()["jobs"], json!([]));
    ask(None).refused(3, &["certificate", &url]);
    ask(Some("key.pem")).refused(2, &["key.pem", "--cacert"]);
    ask(Some("none.pem")).refused(2, &["none.pem", "--cacert"]);
}
