use std::path::{Path, PathBuf};

use reelmill_common::Sha256;
use reelmill_media::mp4::{
    Continuity, Fragmented, Joined, Joiner, Mp4Error, RetimeError, TrackKind, inspect,
};
use tempfile::TempDir;

use super::tools::{FRAGMENTS, decoded, ffmpeg, packet_times, text};

const TIMESCALE: i64 = 12_800;

/// Two seconds in delivered ticks.
fn cell(pts: i64) -> i64 {
    pts.div_euclid(2 * TIMESCALE)
}

fn from_first(times: &[i64]) -> Vec<i64> {
    times.iter().map(|time| time - times[0]).collect()
}

/// A generated source, the frames chosen from it, and how they are encoded.
struct Source {
    graph: &'static str,
    /// PTS of every frame in ticks of 1/25 s.
    pts: Vec<i64>,
    codec: &'static [&'static str],
}

impl Source {
    /// 25 frames a second, encoded without loss and with B-frames.
    fn steady(frames: i64) -> Self {
        Self {
            graph: "testsrc2=size=160x120:rate=25:duration=60",
            pts: (0..frames).collect(),
            codec: &["libx264", "-preset", "fast", "-bf", "3", "-g", "1000"],
        }
    }

    /// PTS of every frame in delivered ticks.
    fn delivered(&self) -> Vec<i64> {
        self.pts.iter().map(|pts| pts * TIMESCALE / 25).collect()
    }

    /// Encodes frames `from..to` and rewrites them as a worker would.
    fn chunk(&self, folder: &Path, from: usize, to: usize) -> PathBuf {
        let raw = self.encode(folder, from, to);
        let delivered = self.delivered();
        let mut file = Fragmented::read(&raw).unwrap();
        assert_eq!(i64::from(file.timescale), TIMESCALE);
        file.retime_video(&delivered[from..to], delivered.get(to).copied())
            .unwrap();
        let path = raw.with_extension("retimed.mp4");
        let written = file.write(&path, cell).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            (written.bytes, written.sha256),
            (bytes.len() as u64, Sha256::of(&bytes))
        );
        assert_eq!(written.init_sha256, Sha256::of(&bytes[..file.init.len()]));
        assert_eq!(
            file.write(&path, cell).unwrap(),
            written,
            "the same samples, the same bytes"
        );
        path
    }

    fn encode(&self, folder: &Path, from: usize, to: usize) -> PathBuf {
        let path = folder.join(format!("{from}-{to}.mp4"));
        let (first, end) = (
            self.pts[from],
            self.pts.get(to).copied().unwrap_or(i64::MAX >> 8),
        );
        let graph = format!(
            "{},trim=start_pts={first}:end_pts={end},format=yuv420p",
            self.graph
        );
        let input = ["-copyts", "-f", "lavfi", "-i", &graph];
        let frames = (to - from).to_string();
        let output = [
            "-frames:v",
            &frames,
            "-threads",
            "1",
            "-video_track_timescale",
            "12800",
        ];
        let times = ["-fps_mode", "passthrough", "-enc_time_base", "1/25", "-c:v"];
        let arguments = [
            &input[..],
            &times,
            self.codec,
            &output,
            FRAGMENTS,
            &[text(&path)],
        ]
        .concat();
        ffmpeg(&arguments);
        path
    }

    /// The hashes of the frames in the chunks as they were encoded, in order.
    fn chunk_frames(&self, folder: &Path, cuts: &[usize]) -> Vec<String> {
        let ends = cuts.iter().skip(1).copied().chain([self.pts.len()]);
        let chunks = cuts.iter().zip(ends).flat_map(|(from, to)| {
            let raw = folder.join(format!("{from}-{to}.mp4"));
            decoded(&raw, Some("1/12800"))
        });
        chunks.map(|(_, hash)| hash).collect()
    }

    /// Encodes windows that begin at `cuts` and end at the last frame, and joins them.
    fn joined(&self, folder: &Path, cuts: &[usize]) -> (PathBuf, Joined) {
        let ends = cuts.iter().skip(1).copied().chain([self.pts.len()]);
        let out = folder.join("joined.mp4");
        let mut joiner = Joiner::create(&out, 0, Continuity::Exact).unwrap();
        for (from, to) in cuts.iter().zip(ends) {
            joiner.append(&self.chunk(folder, *from, to)).unwrap();
        }
        (out, joiner.finish().unwrap())
    }

    /// Checks a joined file in every way: our own account, ffprobe's packets, ffmpeg's frames,
    /// and the progressive MP4 made from it.
    fn check(&self, folder: &Path, cuts: &[usize]) -> Joined {
        let (path, joined) = self.joined(folder, cuts);
        let expected = self.delivered();
        assert_eq!(joined.frames, expected.len() as u64);
        assert_eq!(joined.first_pts, expected[0]);
        assert_eq!(Some(&joined.last_pts), expected.last());

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            (joined.bytes, joined.sha256),
            (bytes.len() as u64, Sha256::of(&bytes))
        );
        assert_eq!(bytes[..joined.init.len()], joined.init);
        let (mut offset, mut dts) = (joined.init_len, expected[0]);
        for fragment in &joined.fragments {
            assert_eq!(
                (fragment.offset, fragment.dts, fragment.first_pts),
                (offset, dts, dts)
            );
            assert!(fragment.independent);
            offset += fragment.len;
            dts += i64::try_from(fragment.duration).unwrap();
        }
        assert_eq!((offset, dts), (joined.bytes, joined.end));

        // ffmpeg shows tracks with negative composition offsets later, all of it by the same.
        assert_eq!(from_first(&packet_times(&path, "v")), expected);
        let (shown, frames): (Vec<i64>, Vec<String>) =
            decoded(&path, Some("1/12800")).into_iter().unzip();
        assert_eq!(from_first(&shown), expected);
        assert_eq!(
            frames,
            self.chunk_frames(folder, cuts),
            "the chunks' frames, one by one"
        );

        let progressive = folder.join("progressive.mp4");
        let copy = ["-i", text(&path), "-c", "copy", "-movflags", "+faststart"];
        ffmpeg(&[&copy[..], &[text(&progressive)]].concat());
        for path in [&path, &progressive] {
            let [track] = inspect(path).unwrap().try_into().unwrap();
            assert_eq!(track.pts, expected, "{}", path.display());
            assert_eq!(track.kind, TrackKind::Video);
            assert_eq!((track.width, track.height), (160, 120));
            assert_eq!(i64::from(track.timescale), TIMESCALE);
            assert_eq!(track.samples, joined.frames);
            assert_eq!(track.first_pts, Some(joined.first_pts));
            assert_eq!(track.last_pts, Some(joined.last_pts));
            assert_eq!(track.duration, joined.end - joined.first_pts);
        }
        joined
    }
}

/// B-frames, windows on the grid, one window with a single frame.
#[test]
fn four_chunks_join_frame_for_frame() {
    let folder = TempDir::new().unwrap();
    let source = Source::steady(251);
    let joined = source.check(folder.path(), &[0, 100, 150, 250]);
    let raw = Fragmented::read(&folder.path().join("0-100.mp4")).unwrap();
    assert!(
        !raw.samples.is_sorted_by_key(|sample| sample.pts),
        "nothing was reordered"
    );
    // 0-2 s, 2-4 s, 4-6 s (its own window), 6-8 s and 8-10 s (one keyframe only), 10 s.
    assert_eq!(
        joined
            .fragments
            .iter()
            .map(|fragment| fragment.frames)
            .collect::<Vec<_>>(),
        [100, 50, 100, 1]
    );
}

#[test]
fn scene_cuts_make_no_fragments() {
    let folder = TempDir::new().unwrap();
    // A keyframe every seven frames, which is not where cells begin, and one wherever one begins.
    let codec = ["libx264", "-preset", "fast", "-bf", "2", "-g", "7"];
    let codec = [&codec[..], &["-force_key_frames", "expr:not(mod(n,50))"]].concat();
    let source = Source {
        codec: codec.leak(),
        ..Source::steady(200)
    };
    let joined = source.check(folder.path(), &[0, 50, 150]);
    assert_eq!(
        joined
            .fragments
            .iter()
            .map(|fragment| fragment.frames)
            .collect::<Vec<_>>(),
        [50, 50, 50, 50]
    );
    // Real scene cuts, found by the encoder.
    let source = Source {
        graph: "testsrc2=size=160x120:rate=25:duration=60,negate=enable='gte(mod(n,23),11)'",
        ..Source::steady(120)
    };
    let raw = Fragmented::read(&source.encode(folder.path(), 0, 50)).unwrap();
    assert!(
        raw.samples.iter().filter(|sample| sample.sync).count() > 1,
        "no scene cut was found"
    );
    let joined = source.check(folder.path(), &[0, 50, 100]);
    assert_eq!(joined.fragments.len(), 3);
}

#[test]
fn variable_frame_rate_keeps_every_time() {
    let folder = TempDir::new().unwrap();
    let kept = |n: &i64| n % 3 == 0 || n % 7 == 0 || n % 50 == 0;
    let source = Source {
        graph: "testsrc2=size=160x120:rate=25:duration=60,\
                select='not(mod(n,3))+not(mod(n,7))+not(mod(n,50))'",
        pts: (0..400).filter(kept).collect(),
        ..Source::steady(0)
    };
    let at = |pts| source.pts.iter().position(|other| *other == pts).unwrap();
    let cuts = [0, at(100), at(150), at(350)];
    source.check(folder.path(), &cuts);
}

#[test]
fn other_codecs_reorder_too() {
    let folder = TempDir::new().unwrap();
    for codec in [
        &[
            "libx265",
            "-x265-params",
            "log-level=none:bframes=4:open-gop=0",
        ][..],
        &["libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"],
        &["libsvtav1", "-preset", "12"],
    ] {
        Source {
            codec,
            ..Source::steady(70)
        }
        .check(folder.path(), &[0, 50]);
    }
}

/// With a lead no composition offset is negative, and ffmpeg shows every frame when it should.
#[test]
fn a_decode_lead_pleases_ffmpeg() {
    let folder = TempDir::new().unwrap();
    let source = Source::steady(100);
    let chunks = [(0, 50), (50, 100)].map(|(from, to)| source.chunk(folder.path(), from, to));
    let lead = chunks
        .iter()
        .map(|chunk| Fragmented::read(chunk).unwrap().reorder_ticks())
        .max();
    let lead = u32::try_from(lead.unwrap()).unwrap();
    assert!(lead > 0);
    let path = folder.path().join("joined.mp4");
    let shift = i64::from(lead) + 77;
    let joiner = Joiner::create(&path, shift, Continuity::Exact).unwrap();
    let mut joiner = joiner.with_decode_lead(lead);
    for chunk in &chunks {
        joiner.append(chunk).unwrap();
    }
    let joined = joiner.finish().unwrap();
    assert_eq!(joined.fragments[0].dts, 77);
    assert_eq!(joined.first_pts, shift);
    let expected: Vec<i64> = source.delivered().iter().map(|pts| pts + shift).collect();
    assert_eq!(packet_times(&path, "v"), expected);
    assert_eq!(Fragmented::read(&path).unwrap().reorder_ticks(), 0);
    let [track] = inspect(&path).unwrap().try_into().unwrap();
    assert_eq!(track.pts, expected);
}

#[test]
fn a_window_without_frames_is_an_empty_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("empty.mp4");
    let input = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x120,trim=start=5:end=5",
        "-t",
        "9",
    ];
    let codec = ["-c:v", "libx264", "-video_track_timescale", "12800"];
    ffmpeg(&[&input[..], &codec, FRAGMENTS, &[text(&path)]].concat());
    let mut file = Fragmented::read(&path).unwrap();
    assert_eq!(file.samples, []);
    file.retime_video(&[], None).unwrap();
    let out = folder.path().join("out.mp4");
    let written = file.write(&out, cell).unwrap();
    assert_eq!(
        (written.fragments, written.sha256),
        (0, written.init_sha256)
    );
    let mut joiner =
        Joiner::create(&folder.path().join("joined.mp4"), 0, Continuity::Exact).unwrap();
    joiner.append(&out).unwrap();
    assert!(matches!(joiner.finish(), Err(Mp4Error::NoSamples { .. })));
    let [track] = inspect(&out).unwrap().try_into().unwrap();
    assert_eq!(
        (track.samples, track.first_pts, track.duration),
        (0, None, 0)
    );
}

#[test]
fn frames_that_are_not_the_windows_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut file = Fragmented::read(&Source::steady(20).encode(folder.path(), 0, 20)).unwrap();
    let mut wanted: Vec<i64> = (0..20).map(|n| n * 512).collect();
    wanted[7] += 1;
    let error = file.retime_video(&wanted, None).unwrap_err();
    let Mp4Error::Retime { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        *source,
        RetimeError::FrameTime {
            index: 7,
            expected: 513,
            found: 512
        }
    );
    assert_eq!(error.to_string().matches("0-20.mp4").count(), 1);
    let error = file.retime_video(&wanted[1..], None).unwrap_err();
    let Mp4Error::Retime { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        *source,
        RetimeError::FrameCount {
            expected: 19,
            found: 20
        }
    );
}

#[test]
fn joining_refuses_strangers_and_gaps() {
    let folder = TempDir::new().unwrap();
    let source = Source::steady(60);
    let [first, second, third] =
        [(0, 20), (20, 40), (40, 60)].map(|(from, to)| source.chunk(folder.path(), from, to));
    let out = folder.path().join("joined.mp4");

    let mut joiner = Joiner::create(&out, 0, Continuity::Exact).unwrap();
    joiner.append(&first).unwrap();
    match joiner.append(&third).unwrap_err() {
        Mp4Error::Discontinuity {
            path,
            fragment,
            previous,
            expected,
            found,
        } => {
            assert_eq!(
                (path, fragment, previous),
                (third.clone(), 0, first.clone())
            );
            assert_eq!((expected, found), (20 * 512, 40 * 512));
        }
        error => panic!("{error}"),
    }

    let mut joiner = Joiner::create(&out, 1000, Continuity::GapsAllowed).unwrap();
    joiner.append(&first).unwrap();
    joiner.append(&third).unwrap();
    assert!(matches!(
        joiner.append(&second),
        Err(Mp4Error::Discontinuity { .. })
    ));
    let joined = joiner.finish().unwrap();
    assert_eq!((joined.first_pts, joined.end), (1000, 60 * 512 + 1000));
    let starts: Vec<i64> = joined
        .fragments
        .iter()
        .map(|fragment| fragment.dts)
        .collect();
    assert_eq!(starts, [1000, 40 * 512 + 1000]);

    let mut joiner = Joiner::create(&out, -1, Continuity::Exact).unwrap();
    assert!(matches!(
        joiner.append(&first),
        Err(Mp4Error::OutOfRange { .. })
    ));

    let codec = &["libx264", "-preset", "fast", "-crf", "30", "-bf", "0"];
    let other = Source {
        codec,
        ..Source::steady(60)
    };
    let elsewhere = TempDir::new().unwrap();
    let stranger = other.chunk(elsewhere.path(), 20, 40);
    let mut joiner = Joiner::create(&out, 0, Continuity::Exact).unwrap();
    joiner.append(&first).unwrap();
    let error = joiner.append(&stranger).unwrap_err();
    assert!(
        matches!(&error, Mp4Error::InitDiffers { path, .. } if *path == stranger),
        "{error}"
    );
}

/// Media bytes are copied as they are, wherever the new tables cut.
#[test]
fn rewriting_keeps_the_media() {
    let folder = TempDir::new().unwrap();
    let raw = Source::steady(60).encode(folder.path(), 0, 60);
    let file = Fragmented::read(&raw).unwrap();
    let out = folder.path().join("out.mp4");
    file.write(&out, |_| 0).unwrap();
    let again = Fragmented::read(&out).unwrap();
    assert_eq!(again.init, file.init);
    let (before, after) = (std::fs::read(&raw).unwrap(), std::fs::read(&out).unwrap());
    assert_eq!(file.samples.len(), again.samples.len());
    for (old, new) in file.samples.iter().zip(&again.samples) {
        let range = |offset: u64, size: u32| {
            let offset = usize::try_from(offset).unwrap();
            offset..offset + usize::try_from(size).unwrap()
        };
        assert_eq!(
            before[range(old.offset, old.size)],
            after[range(new.offset, new.size)]
        );
        assert_eq!((old.dts, old.pts, old.flags), (new.dts, new.pts, new.flags));
    }
}
