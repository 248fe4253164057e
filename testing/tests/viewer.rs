//! The judge passes a good transcode and finds every planted flaw.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

use reelmill_testing::ffmpeg::Ffmpeg;
use reelmill_testing::viewer::decode::{Decoded, main_picture, streams};
use reelmill_testing::viewer::frames::{Frames, Matrix, View};
use reelmill_testing::viewer::picture::{Floor, Seen, compare};
use reelmill_testing::viewer::sound;
use reelmill_testing::viewer::time::{self, Packets};

/// A source, and a folder for what is made of it.
struct Bench {
    ffmpeg: Ffmpeg,
    work: tempfile::TempDir,
    source: PathBuf,
}

/// The quality of a usual profile.
const LOSSY: &str = "-fps_mode passthrough -enc_time_base 1/90000 -c:v libx264 -crf 23 \
                     -preset veryfast -pix_fmt yuv420p";

impl Bench {
    /// Makes a source of an ffmpeg call's arguments.
    fn new(name: &str, args: &str) -> Self {
        let ffmpeg = Ffmpeg::new(Path::new("ffmpeg")).unwrap();
        let work = tempfile::tempdir().unwrap();
        let source = work.path().join(name);
        let command = ffmpeg.command().words(args).arg(&source);
        command.succeed().unwrap();
        Self {
            ffmpeg,
            work,
            source,
        }
    }

    /// A picture that moves everywhere.
    fn moving() -> Self {
        let lavfi = "-f lavfi -i testsrc2=s=320x240:r=25:d=2,rotate=PI*t/4";
        Self::new("moving.mp4", &format!("{lavfi} -c:v libx264 -crf 10 -bf 2"))
    }

    /// Makes an output of the source with more arguments.
    fn output(&self, args: &str) -> PathBuf {
        let output = self.work.path().join("output.mp4");
        let command = self.ffmpeg.command().arg("-i").arg(&self.source);
        command.words(args).arg(&output).succeed().unwrap();
        output
    }

    fn view(&self, file: &Path) -> View {
        let streams = streams(&self.ffmpeg, file).unwrap();
        let picture = main_picture(&streams).unwrap();
        let number = |key| u32::try_from(picture.number(key).unwrap()).unwrap();
        let matrix = Matrix::displayed(
            picture.text("color_space"),
            picture.text("pix_fmt").unwrap(),
            number("height"),
        );
        View {
            stream: picture.index,
            matrix,
            luma: matrix,
            deinterlace: false,
            size: (number("width"), number("height")),
            sar: picture.sar(),
            alone: true,
        }
    }

    /// Compares an output as a usual profile's, the source optionally deinterlaced.
    fn see(&self, output: &Path, deinterlace: bool) -> Seen {
        let times = |file| Decoded::of(&self.ffmpeg, file, true).unwrap().times_ns;
        let partners = time::partners(&times(&self.source), &times(output));
        let own = self.view(output);
        let truth = View {
            stream: own.stream,
            matrix: self.view(&self.source).matrix,
            deinterlace,
            ..own.clone()
        };
        let mut truth = Frames::open(&self.ffmpeg, &self.source, &truth).unwrap();
        let mut ours = Frames::open(&self.ffmpeg, output, &own).unwrap();
        let floor = Floor { psnr_db: 26.0 };
        compare(
            || truth.next_frame(),
            || ours.next_frame(),
            &partners,
            floor,
        )
        .unwrap()
    }

    /// What is wrong with the output that a filter and the usual encoder make.
    fn flaws(&self, filter: &str) -> Vec<(usize, String)> {
        let output = self.output(&format!("-vf {filter} {LOSSY}"));
        let seen = self.see(&output, false);
        assert_eq!(seen.frames, 50, "{filter}");
        let flaws = seen.flaws.into_iter();
        flaws.map(|flaw| (flaw.frame, flaw.what)).collect()
    }
}

#[test]
fn a_good_rendition_passes_at_every_size() {
    let bench = Bench::moving();
    for filter in [
        "null",
        "scale=160:120:flags=bicubic",
        "scale=240:-2:flags=bicubic",
    ] {
        assert_eq!(bench.flaws(filter), [], "{filter}");
    }
}

#[test]
fn a_doubled_frame_is_found() {
    let flaws = Bench::moving().flaws("shuffleframes=0|0|2|3|4|5|6|7|8|9");
    let frames: Vec<usize> = flaws.iter().map(|(frame, _)| *frame).collect();
    assert_eq!(frames, [1, 11, 21, 31, 41], "{flaws:?}");
}

#[test]
fn swapped_frames_are_found() {
    let flaws = Bench::moving().flaws("shuffleframes=0|1|2|4|3|5|6|7|8|9");
    assert!(flaws.len() >= 10, "{flaws:?}");
}

#[test]
fn a_torn_frame_is_found() {
    // The upper half of every frame is one frame late.
    let torn = "split[a][b];[a]crop=iw:ih/2:0:0,tpad=start=1:start_mode=clone[late];\
                [b][late]overlay=0:0:shortest=0:eof_action=pass";
    let flaws = Bench::moving().flaws(&torn.replace(' ', ""));
    assert!(flaws.len() >= 45, "{flaws:?}");
}

#[test]
fn a_shifted_frame_is_found() {
    let shifted = "crop=iw-2:ih:2:0,pad=iw+2:ih:0:0";
    let flaws = Bench::moving().flaws(shifted);
    assert_eq!(flaws.len(), 50, "{flaws:?}");
    // Down by one line, which a scaler with other ideas of siting does.
    let down = "format=yuv444p,crop=iw:ih-1:0:0,pad=iw:ih+1:0:1";
    assert_eq!(Bench::moving().flaws(down).len(), 50);
}

#[test]
fn a_stretched_picture_is_found() {
    let flaws = Bench::moving().flaws("crop=iw-32:ih:16:0,scale=320:240");
    assert!(flaws.len() >= 45, "{flaws:?}");
}

#[test]
fn combs_are_found() {
    let interlaced = "-f lavfi -i testsrc2=s=320x240:r=50:d=2,rotate=PI*t/4,\
                      interlace=lowpass=off -c:v libx264 -crf 10 -flags +ildct+ilme";
    let bench = Bench::new("interlaced.mp4", interlaced);
    let right = bench.output(&format!(
        "-vf bwdif=mode=send_frame:deint=interlaced {LOSSY}"
    ));
    assert_eq!(bench.see(&right, true).flaws, []);
    let combed = bench.see(&bench.output(LOSSY), true);
    assert!(combed.flaws.len() >= 45, "{:?}", combed.flaws);
    // A judge that is not told of the fields sees nothing wrong: so profiles without
    // deinterlacing are judged.
    assert_eq!(bench.see(&bench.output(LOSSY), false).flaws, []);
}

#[test]
fn other_colours_are_found() {
    let bars = "-f lavfi -i smptebars=s=1280x720:r=25:d=0.4 -pix_fmt yuv420p -c:v libx264 -qp 0";
    let bench = Bench::new("bars.mp4", bars);
    // Untagged HD is BT.709, untagged SD is BT.601.
    let right = "-vf scale=640:360:in_color_matrix=bt709:out_color_matrix=bt601";
    let seen = bench.see(&bench.output(&format!("{right} {LOSSY}")), false);
    // Luma is compared by one matrix, whatever the matrices of both sides.
    assert_eq!((seen.colour, seen.flaws), (None, vec![]));
    let seen = bench.see(&bench.output(&format!("-vf scale=640:360 {LOSSY}")), false);
    assert!(seen.colour.unwrap().contains("is shown as"));
    let tagged = "-vf scale=640:360 -colorspace bt709";
    assert_eq!(
        bench
            .see(&bench.output(&format!("{tagged} {LOSSY}")), false)
            .colour,
        None
    );
}

#[test]
fn lost_and_late_frames_are_found() {
    let bench = Bench::moving();
    let source = Decoded::of(&bench.ffmpeg, &bench.source, true).unwrap();
    let with = |filter: &str| {
        let output = bench.output(&format!("-vf {filter} {LOSSY}"));
        let decoded = Decoded::of(&bench.ffmpeg, &output, false).unwrap();
        time::compare(&source.times_ns, &decoded.times_ns)
    };
    assert_eq!(with("null"), [""; 0]);
    assert_eq!(with("select=not(eq(n\\,20))"), ["49 frames for 50"]);
    let late = with("setpts=PTS+0.01/TB*eq(N\\,20)");
    assert!(late.join("").contains("frame 20, +10."), "{late:?}");
}

#[test]
fn the_last_frame_lasts_as_long_as_the_source_says() {
    let bench = Bench::moving();
    let last = |file: &Path| {
        Packets::of(&bench.ffmpeg, file, 0)
            .unwrap()
            .last_s()
            .unwrap()
    };
    assert!((last(&bench.source) - 0.04).abs() < 0.001);
    let slow = "-f lavfi -i testsrc2=s=64x48:r=1/3:d=9 -c:v gif";
    let slow = Bench::new("slow.gif", slow);
    assert!(
        (last(&slow.source) - 3.0).abs() < 0.02,
        "{}",
        last(&slow.source)
    );
}

#[test]
fn a_picture_that_begins_late_keeps_its_last_duration() {
    let late = "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -f lavfi -i sine=d=1.5 \
                -vf setpts=PTS+0.023/TB -enc_time_base 1/16000 -fps_mode passthrough";
    let bench = Bench::new("late.mp4", &format!("{late} -c:v libx264 -bf 0 -c:a aac"));
    let last = Packets::of_media(&bench.ffmpeg, &bench.source, 0).unwrap();
    assert!((last.last_s().unwrap() - 0.04).abs() < 0.001, "{last:?}");
}

#[test]
fn sound_is_heard_where_it_is() {
    let beeps = "-f lavfi -i aevalsrc=0.5*sin(2*PI*700*t)*lt(mod(t\\,1)\\,0.3)|\
                 0.5*sin(2*PI*300*t)*lt(mod(t\\,1)\\,0.3):s=48000:d=4 -c:a pcm_s16le";
    let bench = Bench::new("beeps.mov", &beeps.replace("|                 ", "|"));
    let heard = |file: &Path| {
        let mut decoded = Decoded::of(&bench.ffmpeg, file, false).unwrap();
        decoded.tracks.remove(0).1
    };
    let source = heard(&bench.source);
    let with = |args: &str| {
        let ours = heard(&bench.output(&format!("{args} -c:a aac -b:a 128k")));
        sound::compare(&source, &ours, 1024.0 / 48_000.0)
    };
    assert_eq!(with(""), []);
    for flaw in [
        "-af channelmap=1|0",
        "-af atrim=end=3.9",
        "-af volume=0:enable=between(t\\,2\\,2.1)",
        "-af adelay=60:all=1",
        "-ac 1",
    ] {
        assert_ne!(with(flaw), [], "{flaw}");
    }
}
