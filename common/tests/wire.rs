//! What outlives a process, held against golden files: an old file must stay readable, and what
//! is written today must be what was promised.
//!
//! `REELMILL_BLESS=1 cargo test -p reelmill-common` writes them anew. A golden file of a released
//! version never changes: a change of the format is a new version with a file of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use reelmill_common::certificate::{
    self, Certificate, CertifiedAudio, CertifiedChunk, CertifiedOutput, CertifiedSource,
    CertifiedVideo,
};
use reelmill_common::job::{END_VERSION, JobEnd, JobError, JobStatus};
use reelmill_common::manifest::{
    self, AudioPlan, ChunkPlan, FrameChanges, LeadIn, Location, Manifest, Proof, Redo, Revision,
    SeamRange, SourceInfo, VideoPlan,
};
use reelmill_common::marker::{
    self, AudioMarker, ChunkMarker, SeamFrame, StoredFile, StoredRendition,
};
use reelmill_common::media_info::{AudioStream, Chapter, Colour, VideoStream};
use reelmill_common::message::{self, Message, MessageError};
use reelmill_common::opening::{Opening, ProbeBounds};
use reelmill_common::profile::{self, Deinterlace, ladder};
use reelmill_common::request::{self, JobOptions, JobRequest};
use reelmill_common::time::Grid;
use reelmill_common::upload::{self, Order, StoredSource, Upload};
use reelmill_common::{
    Checksum, JobId, ObjectKey, Sha256, TaskId, TaskKey, Timebase, Timeline, Window,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn assert_golden<T>(name: &str, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "what is written differs from {}",
        path.display()
    );
    let read: T = serde_json::from_str(&golden).unwrap();
    assert_eq!(&read, value, "{} is read differently", path.display());
}

/// Holds a golden file of an earlier version against what it must be read as today.
fn assert_still_read<T>(name: &str, value: &T)
where
    T: DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden = std::fs::read_to_string(folder.join(name)).unwrap();
    let read: T = serde_json::from_str(&golden).unwrap();
    assert_eq!(&read, value, "{name} is read differently");
}

fn job() -> JobId {
    JobId::new("t-0123456789abcdef").unwrap()
}

/// As of a source with a stream that begins late.
fn opening() -> Opening {
    Opening {
        bounds: Some(ProbeBounds {
            bytes: 64 << 20,
            seconds: 60,
        }),
    }
}

fn timebase() -> Timebase {
    Timebase::new(1, 12_800).unwrap()
}

fn stream() -> VideoStream {
    VideoStream {
        index: 0,
        codec: "h264".to_owned(),
        width: 1920,
        height: 1080,
        sar: Some((1, 1)),
        rotation: 90,
        pixel_format: "yuv420p".to_owned(),
        timebase: timebase(),
        frame_rate: Some((25, 1)),
        interlaced: false,
        colour: Colour {
            primaries: Some("bt709".to_owned()),
            ..Colour::default()
        },
    }
}

fn track() -> AudioStream {
    AudioStream {
        index: 1,
        codec: "aac".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        layout: Some("stereo".to_owned()),
        language: Some("eng".to_owned()),
        title: None,
        default: true,
    }
}

fn chunk() -> ChunkPlan {
    ChunkPlan {
        window: Window {
            start: Some(25_600),
            end: None,
        },
        lead_ins: vec![
            LeadIn {
                seek_us: Some(1_959_999),
                keyframe: Some(25_088),
                packets: 1,
            },
            LeadIn {
                seek_us: None,
                keyframe: None,
                packets: 50,
            },
        ],
        start_seam: Some(SeamRange {
            from: 24_576,
            to: 26_113,
        }),
        end_seam: None,
        first_packet: Some(25_600),
        packets: 50,
        cost_ms: 3500,
    }
}

fn profile() -> profile::Profile {
    profile::builtin("h264-1080p").unwrap().profile().unwrap()
}

#[test]
fn request() {
    let request = JobRequest {
        version: request::VERSION,
        name: "movie.mp4".to_owned(),
        location: Location::Path("/films/movie.mp4".into()),
        profile: profile(),
        proof: Proof::Seams,
        slots: 2,
        window_ms: None,
        trusted: false,
        options: JobOptions::default(),
    };
    assert_golden("request_v1.json", &request);
}

/// Both at once, which no plan has.
fn timeline() -> Timeline {
    Timeline {
        offset_us: 1,
        streams: vec![0, 1],
    }
}

fn manifest() -> Manifest {
    let profile = profile();
    let first = ChunkPlan {
        window: Window {
            start: None,
            end: Some(25_600),
        },
        lead_ins: Vec::new(),
        start_seam: None,
        end_seam: chunk().start_seam,
        ..chunk()
    };
    Manifest {
        version: manifest::VERSION,
        job: job(),
        source: SourceInfo {
            name: "movie.mp4".to_owned(),
            size: 1_000_000,
            sha256: Sha256::of(b"source"),
            location: Location::Path("/films/movie.mp4".into()),
        },
        ffmpeg: "5.1.9".to_owned(),
        profile: profile.name.clone(),
        profile_digest: Sha256::of(b"profile"),
        options: JobOptions::default(),
        proof: Proof::EveryFrame,
        outputs: profile.outputs,
        opening: opening(),
        copy_timestamps: true,
        timeline: timeline(),
        video: Some(VideoPlan {
            renditions: ladder(&profile, &stream()),
            stream: stream(),
            grid: Grid {
                origin: 0,
                timebase: timebase(),
                step_ms: 2000,
            },
            timescale: 12_800,
            changes: FrameChanges::default(),
            deinterlace: Deinterlace::Off,
            threads: 1,
            spread: Vec::new(),
            fine_times: true,
            last_frame_ticks: Some(102_400),
            chunks: vec![first, chunk()],
        }),
        audio: vec![AudioPlan {
            stream: track(),
            settings: profile.audio.clone().unwrap(),
            layout: Some("stereo".to_owned()),
            begins_us: Some(1_400_000),
            counted_times: true,
            kbps: Some(128),
            cost_ms: 144,
        }],
        title: Some("A film".to_owned()),
        chapters: vec![Chapter {
            start_us: 0,
            end_us: 2_000_000,
            title: "One".to_owned(),
        }],
        notes: vec!["audio in stream 2: its codec is unknown to this ffmpeg".to_owned()],
    }
}

#[test]
fn manifest_and_revision() {
    let manifest = manifest();
    assert_golden("manifest_v2.json", &manifest);
    let mut older = Manifest {
        version: 1,
        opening: Opening::default(),
        ..manifest.clone()
    };
    older.timeline = Timeline::default();
    older.audio[0].layout = None;
    older.audio[0].begins_us = None;
    older.audio[0].counted_times = false;
    older.title = None;
    older.chapters.clear();
    if let Some(video) = &mut older.video {
        video.last_frame_ticks = None;
        video.fine_times = false;
        // The first version left colours to ffmpeg.
        for rendition in &mut video.renditions {
            rendition.colour = Colour::default();
        }
    }
    assert_still_read("manifest_v1.json", &older);

    let revision = Revision {
        version: manifest::VERSION,
        number: 1,
        reasons: vec!["seam between chunks 0 and 1: pictures differ at 25600".to_owned()],
        redo: vec![Redo {
            index: 1,
            generation: 1,
            lead_in: 1,
            chunk: chunk(),
        }],
        dropped: Vec::new(),
    };
    assert_golden("revision_v2.json", &revision);
    assert_still_read(
        "revision_v1.json",
        &Revision {
            version: 1,
            ..revision.clone()
        },
    );
    let tasks = manifest.tasks(&[revision]);
    let names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["audio-0", "chunk-000", "chunk-001.g1"]);
}

/// A plan in which nothing is shared out does not say so, as none did before that was known.
#[test]
fn the_last_chunk_and_one_made_again_are_shared_out() {
    let mut manifest = manifest();
    let names = |groups: &[&[&str]]| -> Vec<Vec<String>> {
        let group = |group: &&[&str]| group.iter().map(ToString::to_string).collect();
        groups.iter().map(group).collect()
    };
    let video = manifest.video.as_mut().unwrap();
    let abr = profile::builtin("h264-abr").unwrap().profile().unwrap();
    video.renditions = ladder(&abr, &stream());
    video.renditions.truncate(3);
    video.spread = names(&[&["1080p"], &["480p", "720p"]]);
    let written = serde_json::to_value(&manifest).unwrap();
    let spread = serde_json::json!([["1080p"], ["480p", "720p"]]);
    assert_eq!(written["video"]["spread"], spread);
    let read: Manifest = serde_json::from_value(written).unwrap();
    assert_eq!(read, manifest);

    let video = manifest.video.as_ref().unwrap();
    let layout = manifest.layout(&[]);
    let groups = |placed| -> Vec<Vec<String>> {
        let groups = video.groups(placed).into_iter();
        let names = groups.map(|group| group.into_iter().map(|r| r.name).collect());
        names.collect()
    };
    let all = names(&[&["1080p", "720p", "480p"]]);
    assert_eq!(groups(&layout[0]), all);
    assert_eq!(groups(&layout[1]), names(&[&["1080p"], &["720p", "480p"]]));
    let mut again = layout[0].clone();
    again.generation = 1;
    assert_eq!(groups(&again).len(), 2);
    let mut plain = video.clone();
    plain.spread.clear();
    assert_eq!(plain.groups(&layout[1]).len(), 1);
}

#[test]
fn markers() {
    let frame = |pts| SeamFrame {
        pts,
        hash: "00ff".repeat(8),
    };
    let key = |text: &str| ObjectKey::new(text).unwrap();
    let chunk = ChunkMarker {
        version: marker::VERSION,
        task: TaskKey::Chunk {
            index: 1,
            generation: 1,
        },
        window: chunk().window,
        lead_in_us: None,
        frames: 50,
        first_pts: Some(25_600),
        last_pts: Some(50_688),
        moved: 0,
        pts_digest: Sha256::of(b"pts"),
        start_seam: vec![frame(25_088), frame(25_600)],
        end_seam: Vec::new(),
        frames_digest: Some(Sha256::of(b"frames")),
        renditions: vec![StoredRendition {
            name: "1080p".to_owned(),
            key: key("transcoded/t-0123456789abcdef/chunk_001.g1/7-local/1080p.mp4"),
            bytes: 500_000,
            sha256: Sha256::of(b"piece"),
            init_sha256: Sha256::of(b"init"),
        }],
        complaints: 2,
        notes: Vec::new(),
    };
    assert_golden("chunk_marker_v1.json", &chunk);
    let audio = AudioMarker {
        version: marker::VERSION,
        task: TaskKey::Audio { track: 0 },
        first_pts: Some(-1024),
        timebase: Timebase::new(1, 48_000).unwrap(),
        samples: 192_000,
        sample_rate: 48_000,
        channels: 2,
        file: Some(StoredFile {
            key: key("transcoded/t-0123456789abcdef/audio_0/7-local/audio.mp4"),
            bytes: 64_000,
            sha256: Sha256::of(b"audio"),
        }),
        complaints: 0,
        notes: Vec::new(),
    };
    assert_golden("audio_marker_v1.json", &audio);
}

#[test]
fn certificate() {
    let sound = CertifiedAudio {
        track: 0,
        language: Some("eng".to_owned()),
        channels: 2,
        sample_rate: 48_000,
        samples: 192_000,
    };
    let picture = CertifiedVideo {
        rendition: "1080p".to_owned(),
        width: 1080,
        height: 1920,
        frames: 100,
        timebase: timebase(),
        first_pts: 0,
        last_pts: 50_688,
        duration: 51_200,
        lossless: None,
    };
    let certificate = Certificate {
        version: certificate::VERSION,
        job: job(),
        reelmill: "0.1.0".to_owned(),
        ffmpeg: "5.1.9".to_owned(),
        profile: "h264-1080p".to_owned(),
        profile_digest: Sha256::of(b"profile"),
        plan_digest: Sha256::of(b"plan"),
        proof: Proof::Seams,
        source: CertifiedSource {
            name: "movie.mp4".to_owned(),
            size: 1_000_000,
            sha256: Sha256::of(b"source"),
            video: Some(stream()),
            audio: vec![track()],
        },
        opening: opening(),
        copy_timestamps: true,
        timeline: timeline(),
        deinterlaced: Deinterlace::Off,
        changes: FrameChanges::default(),
        chunks: vec![CertifiedChunk {
            index: 0,
            generation: 0,
            window: Window::ALL,
            lead_in_us: None,
            frames: 100,
            first_pts: Some(0),
            last_pts: Some(50_688),
            pts_digest: Sha256::of(b"pts"),
            start_seam: Vec::new(),
            end_seam: Vec::new(),
            frames_digest: None,
        }],
        outputs: vec![CertifiedOutput {
            path: "output_1080p.mp4".to_owned(),
            bytes: 900_000,
            sha256: Sha256::of(b"output"),
            video: Some(picture),
            audio: vec![sound],
        }],
        complaints: 0,
        notes: Vec::new(),
    };
    assert_golden("certificate_v2.json", &certificate);
    assert_still_read(
        "certificate_v1.json",
        &Certificate {
            version: 1,
            timeline: Timeline::default(),
            opening: Opening::default(),
            ..certificate
        },
    );
}

#[test]
fn messages_are_small_and_a_newer_one_is_refused() {
    let task = TaskId {
        job: job(),
        key: TaskKey::Chunk {
            index: 17,
            generation: 0,
        },
    };
    let message = Message {
        window: Some(Window {
            start: Some(25_600),
            end: Some(51_200),
        }),
        profile: "h264-abr".to_owned(),
        cost_ms: 42_000,
        ..Message::new(task)
    };
    assert_golden("message_v1.json", &message);
    let bytes = message.encode().unwrap();
    assert!(bytes.len() < 1024);
    assert_eq!(Message::decode(&bytes).unwrap(), message);

    let newer = String::from_utf8(bytes)
        .unwrap()
        .replace("\"v\":1", "\"v\":2");
    let refused = Message::decode(newer.as_bytes());
    assert!(matches!(refused, Err(MessageError::Version(2))));
    assert_eq!(message::VERSION, 1);
    assert!(Message::decode(b"\xff\x00").is_err());
}

#[test]
fn uploads_on_their_way_and_whole_ones() {
    let upload = Upload {
        version: upload::VERSION,
        job: job(),
        size: Some(33_554_433),
        created_at: 1_790_000_000_000,
        expires_at: 1_790_086_400_000,
        said: [("filename".to_owned(), "movie.mp4".to_owned())].into(),
        order: Order {
            name: "movie.mp4".to_owned(),
            profile: profile(),
            proof: Proof::Seams,
            window_ms: None,
            options: JobOptions::default(),
        },
    };
    assert_golden("upload_v1.json", &upload);

    let source = StoredSource {
        version: upload::SOURCE_VERSION,
        name: "movie.mp4".to_owned(),
        size: 33_554_433,
        sha256: Sha256::of(b"all"),
        segment_bytes: upload::SEGMENT_BYTES,
        segments: [b"a", b"b", b"c"].map(|part| Checksum::of(part)).to_vec(),
    };
    assert_golden("source_v2.json", &source);
}

#[test]
fn job_end() {
    let end = JobEnd {
        version: END_VERSION,
        status: JobStatus::Failed,
        error: Some(JobError {
            code: "not-media".to_owned(),
            message: "`film.mp4` is not media".to_owned(),
            retryable: false,
            detail: "Invalid data found when processing input".to_owned(),
            task: Some(TaskKey::Ingest),
        }),
    };
    assert_golden("ended_v1.json", &end);
}
