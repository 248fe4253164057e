//! The comparer calls a faithful output exact and finds every planted flaw: one that cannot fail
//! would prove nothing.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

use reelmill_testing::cases::{all, cache_folder};
use reelmill_testing::compare::{Mark, Verdict, compare};
use reelmill_testing::ffmpeg::Ffmpeg;
use reelmill_testing::oracle::Plain;

/// A source, what plain ffmpeg sees in it, and a folder for an output of it.
struct Bench {
    ffmpeg: Ffmpeg,
    source: PathBuf,
    plain: Plain,
    work: tempfile::TempDir,
}

impl Bench {
    fn new(case: &str) -> Self {
        let ffmpeg = Ffmpeg::new(Path::new("ffmpeg")).unwrap();
        let cases = all();
        let case = cases.iter().find(|other| other.file == case).unwrap();
        let source = case.make(&ffmpeg, &cache_folder()).unwrap();
        let plain = Plain::of(&ffmpeg, &source).unwrap();
        Self {
            ffmpeg,
            source,
            plain,
            work: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes the output that these arguments make of the source, and compares it.
    fn with(&self, args: &str) -> Verdict {
        self.ffmpeg
            .command()
            .arg("-i")
            .arg(&self.source)
            .words(args)
            .args(["-enc_time_base:v", self.ffmpeg.source_timebase])
            .arg(self.work.path().join("output_lossless.mp4"))
            .succeed()
            .unwrap();
        self.compare()
    }

    /// Compares the output that is there.
    fn compare(&self) -> Verdict {
        let certificate = r#"{"chunks": [], "outputs": [], "notes": []}"#;
        std::fs::write(self.work.path().join("certificate.json"), certificate).unwrap();
        compare(&self.ffmpeg, &self.source, &self.plain, self.work.path()).unwrap()
    }
}

/// Without loss, every frame at its own time. FLAC in MP4 counts as an experiment in old versions,
/// and more than 24 bits of it in new ones.
const FAITHFUL: &str = "-fps_mode passthrough -c:v libx264 -qp 0 -preset ultrafast -c:a flac \
                        -strict -2 -bits_per_raw_sample:a 24";

fn found(verdict: &Verdict, words: &str) {
    let all = verdict.deviations.join("; ");
    assert!(
        verdict.deviations.iter().any(|text| text.contains(words)),
        "no `{words}` in `{all}`"
    );
}

#[test]
fn a_faithful_output_is_exact() {
    for case in [
        "h264-closed-gop.mp4",
        "rotated-90-sar.mov",
        "three-tracks.mkv",
        "vfr.mp4",
    ] {
        let bench = Bench::new(case);
        let verdict = bench.with(&format!("-map 0:V:0 -map 0:a? {FAITHFUL}"));
        assert_eq!(verdict.deviations, [""; 0], "{case}");
        assert_eq!(
            (verdict.pts, verdict.pixels),
            (Mark::Exact, Mark::Exact),
            "{case}"
        );
        assert_eq!(verdict.frames_plain, 250, "{case}");
        assert_eq!(verdict.frames_ours, 250, "{case}");
    }
}

#[test]
fn a_full_range_output_needs_no_conversion() {
    // x264 says full range in the stream, so the output reads as `yuvj420p`.
    let bench = Bench::new("full-range-vp9.webm");
    let verdict = bench.with(&format!("-map 0:V:0 {FAITHFUL}"));
    assert_eq!(verdict.deviations, [""; 0]);
    assert_eq!(verdict.pixels, Mark::Exact);
    found(
        &bench.with(&format!("-map 0:V:0 -vf scale=out_range=tv {FAITHFUL}")),
        "differ",
    );
}

#[test]
fn an_even_size_is_held_against_plain_scaling() {
    let bench = Bench::new("odd-size-420.webm");
    let verdict = bench.with(&format!("-map 0:V:0 -vf scale=160:120 {FAITHFUL}"));
    assert_eq!(verdict.deviations, [""; 0]);
    let verdict = bench.with(&format!("-map 0:V:0 -vf crop=160:120:0:0 {FAITHFUL}"));
    assert_eq!(verdict.pixels, Mark::Different);
    found(
        &bench.with(&format!("-map 0:V:0 -vf scale=152:120 {FAITHFUL}")),
        "size is",
    );
}

#[test]
fn flaws_of_the_picture_are_found() {
    let bench = Bench::new("h264-closed-gop.mp4");
    let with = |filter: &str| bench.with(&format!("-map 0:V:0 -map 0:a -vf {filter} {FAITHFUL}"));

    let dropped = with("select=not(eq(n\\,57))");
    assert_eq!((dropped.frames_plain, dropped.frames_ours), (250, 249));
    found(&dropped, "249 frames for 250, the first 57 alike");

    let late = with("setpts=PTS+eq(N\\,57)");
    assert_eq!((late.pts, late.pixels), (Mark::Different, Mark::Exact));
    found(&late, "1 PTS differ, frame 57");

    let dot = with("drawbox=x=10:y=10:w=2:h=2:color=red:t=fill:enable=eq(n\\,57)");
    assert_eq!((dot.pts, dot.pixels), (Mark::Exact, Mark::Different));
    found(&dot, "1 frames differ, from 57 to 57");

    let swapped = with("shuffleframes=0|2|1|3|4");
    assert_eq!(swapped.pixels, Mark::Different);

    found(&with("setsar=4/3"), "displayed");
    found(&with("scale=160:120"), "size is");
    let tagged = bench.with(&format!(
        "-map 0:V:0 -map 0:a {FAITHFUL} -colorspace bt2020nc"
    ));
    found(&tagged, "color_space is bt2020nc, plain nothing");
}

#[test]
fn flaws_of_the_sound_are_found() {
    let bench = Bench::new("three-tracks.mkv");
    let with = |maps: &str| bench.with(&format!("-map 0:V:0 {maps} {FAITHFUL}"));

    let swapped = with("-map 0:a:1 -map 0:a:0 -map 0:a:2");
    assert_eq!(
        (swapped.pixels, swapped.audio),
        (Mark::Exact, Mark::Different)
    );
    found(&swapped, "audio 0: 480768 samples, plain 481280");
    found(&swapped, "audio 0: language");
    found(&swapped, "audio 0: default");

    found(&with("-map 0:a:0 -map 0:a:1"), "2 audio tracks, plain 3");
    found(&with("-map 0:a -af volume=0.99"), "other samples");
    found(
        &with("-map 0:a -af atrim=start_sample=100"),
        "samples, plain",
    );
    found(
        &with("-map 0:a -metadata:s:a:2 language=eng"),
        "audio 2: language",
    );
    found(
        &with("-map 0:a -disposition:a:1 0 -disposition:a:0 default"),
        "default is",
    );
    found(&with("-map 0:a -af asetpts=PTS+0.02/TB"), "start moved");
    found(
        &with("-map 0:a -af asetpts=PTS+gte(T\\,5)*0.02/TB"),
        "end moved",
    );
}

#[test]
fn a_lost_side_of_the_file_is_found() {
    let bench = Bench::new("h264-closed-gop.mp4");
    found(
        &bench.with(&format!("-map 0:a {FAITHFUL}")),
        "no picture could be decoded",
    );
    found(
        &bench.with(&format!("-map 0:V:0 {FAITHFUL}")),
        "0 audio tracks, plain 1",
    );
    let rotated = Bench::new("rotated-90.mp4");
    found(
        &rotated.with(&format!("-map 0:V:0 -vf transpose=clock {FAITHFUL}")),
        "size is",
    );
}

#[test]
fn damaged_frames_are_not_compared() {
    let bench = Bench::new("h264-closed-gop.mp4");
    let mut plain = bench.plain.clone();
    let mut alone = plain.picture.clone().unwrap();
    for frame in &mut alone.frames[50..60] {
        frame.hash.push('x');
    }
    plain.alone = Some(alone);
    let bench = Bench { plain, ..bench };
    let dot = "drawbox=x=10:y=10:w=2:h=2:color=red:t=fill:enable";
    let inside = bench.with(&format!("-map 0 -vf {dot}=eq(n\\,57) {FAITHFUL}"));
    assert_eq!(inside.deviations, [""; 0]);
    assert_eq!(inside.pixels, Mark::Unrepeatable);
    let outside = bench.with(&format!("-map 0 -vf {dot}=eq(n\\,67) {FAITHFUL}"));
    assert_eq!(outside.pixels, Mark::Different);
}
