//! Every hostile file of the corpus behaves as its row of the catalog says: a clear sentence and
//! exit 1, or a right result; in a minute and a gibibyte, and nothing outside the job is touched.
#![cfg(test)]

mod common;

use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::*;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;

const A_MINUTE: Duration = Duration::from_secs(60);
const A_GIBIBYTE: u64 = 1 << 30;

/// Where the hostile playlists point to: a web server, and a port for a stream to arrive at.
const WEB: u16 = 18080;
const STREAM: u16 = 18082;

/// The file that several of them want to read. Its place is taken by one of the same length that
/// nobody else reads, so that a look at it is seen.
const SECRET: &[u8] = b"/etc/passwd";

/// What a row of the catalog asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Refused,
    Transcoded,
    Either,
}

/// Reads the catalog's prose. What is not understood fails, so that a new row is not waved through.
fn expected(row: &Value) -> Expected {
    let text = row["expected"].as_str().unwrap();
    let says = |part: &str| text.contains(part);
    let alternative = says("or process") || says("or partial") || says("or audio-only");
    let either = [
        "clean failure, or output",
        "or clear reject",
        "clear reject, or",
        "limit on streams",
    ];
    if either.iter().any(|part| says(part)) || says("process first part or reject") {
        Expected::Either
    } else if text.starts_with("reject") {
        if alternative {
            Expected::Either
        } else {
            Expected::Refused
        }
    } else if text.starts_with("admission limit") {
        Expected::Refused
    } else if text.starts_with("process") {
        if says("or reject") {
            Expected::Either
        } else {
            Expected::Transcoded
        }
    } else if text.starts_with("1 s output") || text.starts_with("output from first keyframe") {
        Expected::Transcoded
    } else {
        panic!("{}: what is expected by `{text}`?", row["file"]);
    }
}

/// Files that nobody has a reason to open, and who opens them.
struct Canaries {
    watch: Inotify,
}

impl Canaries {
    fn new(files: &[&Path]) -> Self {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        for file in files {
            watch.add_watch(*file, AddWatchFlags::IN_OPEN).unwrap();
            std::fs::read(file).unwrap();
            // A watch that sees nothing would prove nothing.
            assert!(
                !Self::events(&watch).is_empty(),
                "a look at {file:?} is not seen"
            );
        }
        Self { watch }
    }

    fn events(watch: &Inotify) -> Vec<String> {
        let events = watch.read_events().unwrap_or_default();
        events.iter().map(|event| format!("{event:?}")).collect()
    }

    fn are_untouched(&self) {
        assert_eq!(
            Self::events(&self.watch),
            Vec::<String>::new(),
            "a foreign file was opened"
        );
    }
}

/// One hostile file in a place of its own, with the neighbours that it may look for.
struct Case {
    dir: tempfile::TempDir,
    input: PathBuf,
    out: PathBuf,
    /// In `/tmp`, since its name must be as long as the one that it stands in for.
    secret: tempfile::NamedTempFile,
    neighbour: PathBuf,
}

impl Case {
    fn new(corpus: &Path, file: &str) -> Self {
        let dir = folder();
        let secret = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(6)
            .tempfile_in("/tmp")
            .unwrap();
        let stand_in = secret.path().as_os_str().as_bytes();
        assert_eq!(stand_in.len(), SECRET.len());
        std::fs::copy(second(), secret.path()).unwrap();
        let original = corpus.join(file);
        let folder = dir.path().join("hostile");
        std::fs::create_dir(&folder).unwrap();
        let input = folder.join(original.file_name().unwrap());
        std::fs::write(&input, replaced(std::fs::read(original).unwrap(), stand_in)).unwrap();
        let neighbour = dir.path().join("good/h264_hlg_720x720p60_ts_5s.ts");
        std::fs::create_dir(dir.path().join("good")).unwrap();
        std::fs::copy(second(), &neighbour).unwrap();
        let out = dir.path().join("out");
        Self {
            dir,
            input,
            out,
            secret,
            neighbour,
        }
    }

    /// Runs and looks on: time, memory of the whole tree, sockets.
    fn watched(&self) -> (Ran, u64) {
        let mut running =
            Running::start(transcode(&self.input, &self.out, "h264-1080p").arg("--json"));
        let began = Instant::now();
        let mut most = 0;
        while !running.has_ended() {
            most = most.max(tree_memory(running.pid()));
            assert!(most < A_GIBIBYTE, "{} MiB of memory are in use", most >> 20);
            assert!(began.elapsed() < A_MINUTE, "it takes longer than a minute");
            assert!(!is_bound(STREAM), "something waits for a stream to arrive");
            pause();
        }
        (running.wait(A_MINUTE), most)
    }
}

fn replaced(mut bytes: Vec<u8>, by: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = bytes
        .windows(SECRET.len())
        .enumerate()
        .filter_map(|(at, part)| (part == SECRET).then_some(at))
        .collect();
    for at in places {
        bytes[at..at + by.len()].copy_from_slice(by);
    }
    bytes
}

/// Whether anybody has a UDP port of this machine.
fn is_bound(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let port = format!(":{port:04X}");
    let mut local = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    local.any(|address| address.ends_with(&port))
}

/// Every output is what the report says, and can be decoded.
fn is_right(ran: &Ran, file: &str) {
    let report = ran.json();
    let outputs = report["outputs"].as_array().unwrap();
    assert!(!outputs.is_empty());
    for output in outputs {
        let path = Path::new(output["path"].as_str().unwrap());
        assert_eq!(output["sha256"], digest(path));
        if path.extension().is_none_or(|extension| extension != "mp4") {
            continue;
        }
        let probed = ffprobe(path);
        let seconds: f64 = probed["format"]["duration"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let video = streams(&probed, "video");
        if let Some(video) = video.first() {
            assert_eq!(
                video["nb_read_frames"].as_str().unwrap(),
                output["frames"].to_string()
            );
            assert!(output["frames"].as_u64().unwrap() > 0);
            assert_eq!(
                (&video["width"], &video["height"]),
                (&output["width"], &output["height"])
            );
        } else {
            assert!(
                !streams(&probed, "audio").is_empty(),
                "an output of nothing"
            );
        }
        match file {
            "hostile/real_fragmented_header_says_143165s.mp4" => {
                assert!((0.5..2.0).contains(&seconds), "{seconds} s");
            }
            "hostile/mp4_header_65535x65535.mp4" => {
                assert_eq!(
                    (&output["width"], &output["height"]),
                    (&640.into(), &360.into())
                );
            }
            _ => assert!(seconds < 100.0, "{seconds} s"),
        }
    }
}

fn check(corpus: &Path, row: &Value) -> String {
    let file = row["file"].as_str().unwrap();
    let expected = expected(row);
    let case = Case::new(corpus, file);
    let canaries = Canaries::new(&[case.secret.path(), &case.neighbour]);
    let before = snapshot(case.dir.path());
    let canaries_again = Canaries::new(&[case.secret.path(), &case.neighbour]);
    Canaries::events(&canaries.watch);
    let (ran, memory) = case.watched();
    canaries_again.are_untouched();
    let verdict = match (ran.code, expected) {
        (Some(0), Expected::Transcoded | Expected::Either) => {
            is_right(&ran, file);
            std::fs::remove_dir_all(&case.out).unwrap();
            format!(
                "{} output(s)",
                ran.json()["outputs"].as_array().unwrap().len()
            )
        }
        (Some(1), Expected::Refused | Expected::Either) => {
            let sentence = ran.sentence();
            let name = case
                .input
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            assert!(
                sentence.contains(&name),
                "the file is not named in `{sentence}`"
            );
            assert_eq!(ran.json()["message"], sentence);
            sentence
        }
        _ => panic!("{expected:?} is expected: {ran:#?}"),
    };
    // Beside the outputs nothing has come, gone or changed, above all not the folder for them.
    assert_eq!(snapshot(case.dir.path()), before, "something is left");
    format!(
        "{:5.1} s {:4} MiB  {verdict}",
        ran.took.as_secs_f64(),
        memory >> 20
    )
}

#[test]
#[ignore = "needs CORPUS_DIR"]
fn every_hostile_file_behaves_as_the_catalog_says() {
    let corpus = corpus();
    let catalog = std::fs::read(corpus.join("catalog.json")).unwrap();
    let catalog: Vec<Value> = serde_json::from_slice(&catalog).unwrap();
    let is_hostile = |row: &&Value| row["file"].as_str().unwrap().starts_with("hostile/");
    let rows: Vec<&Value> = catalog.iter().filter(is_hostile).collect();
    assert!(rows.len() >= 50, "only {} hostile files", rows.len());
    let web = TcpListener::bind(("127.0.0.1", WEB)).expect("a free port for the web server");
    web.set_nonblocking(true).unwrap();
    assert!(!is_bound(STREAM), "UDP port {STREAM} is taken");
    let mut failed = Vec::new();
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let checked = std::panic::catch_unwind(|| check(&corpus, row));
        match checked {
            Ok(line) => println!("{file}: {line}"),
            Err(_) => failed.push(file),
        }
        if let Ok((_, from)) = web.accept() {
            println!("{file}: a connection was made from {from}");
            failed.push(file);
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}
