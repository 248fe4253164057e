use std::path::Path;

use reelmill_media::mp4::{
    Continuity, Fragmented, Joiner, Mp4Error, Regrouper, Track, TrackKind, inspect,
};
use tempfile::TempDir;

use super::tools::{FRAGMENTS, decoded, ffmpeg, packet_times, text};

/// Encodes three seconds of stereo in fragments of two seconds, and joins them as they are.
#[test]
fn audio_survives_writing_and_joining() {
    for (codec, rate) in [("aac", 44_100), ("libopus", 48_000), ("flac", 96_000)] {
        let folder = TempDir::new().unwrap();
        let raw = folder.path().join("raw.mp4");
        let graph = format!(
            "sine=frequency=700:sample_rate={rate}:duration=5,aformat=channel_layouts=stereo"
        );
        let input = ["-f", "lavfi", "-i", &graph, "-c:a", codec, "-strict", "-2"];
        let language = ["-metadata:s:a:0", "language=deu"];
        ffmpeg(&[&input[..], FRAGMENTS, &language, &[text(&raw)]].concat());
        let mut file = Fragmented::read(&raw).unwrap();
        assert!(file.samples.iter().all(|sample| sample.sync));

        // The encoder's delay lies before 0, which the format cannot say.
        let delay = -file.samples[0].dts;
        let out = folder.path().join("out.mp4");
        if delay > 0 {
            let error = file.write(&out, |_| 0).unwrap_err();
            assert!(matches!(error, Mp4Error::OutOfRange { .. }), "{error}");
        }
        file.shift(delay).unwrap();
        let timescale = i64::from(file.timescale);
        let written = file
            .write(&out, |pts| pts.div_euclid(2 * timescale))
            .unwrap();
        assert_eq!(written.fragments, 3, "{codec}");

        let joined = folder.path().join("joined.mp4");
        let mut joiner = Joiner::create(&joined, 0, Continuity::GapsAllowed).unwrap();
        joiner.append(&out).unwrap();
        let account = joiner.finish().unwrap();
        assert_eq!(account.fragments.len(), 3);
        assert_eq!(
            account.sha256, written.sha256,
            "a file joined alone stays as it is"
        );
        // The same without ever holding all samples.
        let streamed = folder.path().join("streamed.mp4");
        let regrouper = Regrouper::open(&raw).unwrap();
        assert_eq!(
            (regrouper.first_dts(), i64::from(regrouper.timescale())),
            (-delay, timescale)
        );
        let cells = |pts: i64| pts.div_euclid(2 * timescale);
        let again = regrouper.write(&streamed, delay, cells).unwrap();
        assert_eq!(again, account, "{codec}");

        let times: Vec<i64> = file.samples.iter().map(|sample| sample.pts).collect();
        assert_eq!(packet_times(&joined, "a"), times);

        let hashes = |path| {
            let frames = decoded(path, None);
            frames.into_iter().map(|(_, hash)| hash).collect::<Vec<_>>()
        };
        assert_eq!(hashes(&joined), hashes(&raw), "{codec}: the same sound");

        let [track] = inspect(&joined).unwrap().try_into().unwrap();
        assert_eq!(
            (track.kind, track.channels),
            (TrackKind::Audio, 2),
            "{codec}"
        );
        assert_eq!(track.sample_rate, rate, "{codec}");
        assert_eq!(track.language.as_deref(), Some("deu"));
        spans(&track, &times);
    }
}

/// A pause is kept: the tables inside a fragment cannot say it, so a fragment begins there.
#[test]
fn a_pause_is_kept() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("raw.mp4");
    let input = ["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"];
    ffmpeg(&[&input[..], FRAGMENTS, &[text(&raw)]].concat());
    let mut file = Fragmented::read(&raw).unwrap();
    file.shift(1024).unwrap();
    for sample in file.samples.iter_mut().skip(20) {
        sample.dts += 5000;
        sample.pts += 5000;
    }
    let out = folder.path().join("out.mp4");
    assert_eq!(file.write(&out, |_| 0).unwrap().fragments, 2);
    let again = Fragmented::read(&out).unwrap();
    let times = |file: &Fragmented| {
        file.samples
            .iter()
            .map(|sample| sample.pts)
            .collect::<Vec<_>>()
    };
    assert_eq!(times(&again), times(&file));
    let mut joiner =
        Joiner::create(&folder.path().join("joined.mp4"), 0, Continuity::Exact).unwrap();
    assert!(matches!(
        joiner.append(&out),
        Err(Mp4Error::Discontinuity { fragment: 1, .. })
    ));
}

/// A progressive file's edit list hides the encoder's delay and delays a late track.
#[test]
fn inspect_applies_edit_lists() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("both.mp4");
    let video = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x120:rate=25:duration=2",
    ];
    let audio = [
        "-itsoffset",
        "0.5",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=48000:duration=1",
    ];
    let output = [
        "-c:v",
        "libx264",
        "-c:a",
        "aac",
        "-movflags",
        "+faststart",
        text(&path),
    ];
    // Empty edits are rounded to what the movie counts in, by default milliseconds.
    for (timescale, late) in [("48000", 24_000), ("1000", 23_968)] {
        ffmpeg(
            &[
                &video[..],
                &audio,
                &["-movie_timescale", timescale],
                &output,
            ]
            .concat(),
        );
        check_edits(&path, late);
    }
}

/// Of sound the single times are not kept.
#[track_caller]
fn spans(track: &Track, times: &[i64]) {
    assert_eq!(track.samples, times.len() as u64);
    assert_eq!(track.first_pts, times.first().copied());
    assert_eq!(track.last_pts, times.last().copied());
}

fn check_edits(path: &Path, late: i64) {
    let [video, audio] = inspect(path).unwrap().try_into().unwrap();
    assert_eq!(video.pts, packet_times(path, "v"));
    spans(&audio, &packet_times(path, "a"));
    assert_eq!(video.kind, TrackKind::Video);
    assert_eq!(video.first_pts, Some(0));
    assert_eq!(video.duration, 2 * i64::from(video.timescale));
    assert_eq!(video.pts.len(), 50);
    assert_eq!(
        (video.language, video.channels, video.sample_rate),
        (None, 0, 0)
    );
    assert_eq!(audio.codec, "mp4a.40.2");
    // The encoder's delay of 1024 samples comes before the half second.
    assert_eq!(audio.first_pts, Some(late - 1024));
}
