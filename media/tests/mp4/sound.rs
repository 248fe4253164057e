//! Sound tracks as workers make them: layouts that players take, and holes that are filled.

use std::path::{Path, PathBuf};

use reelmill_common::Timeline;
use reelmill_common::manifest::AudioPlan;
use reelmill_common::profile::{AudioCodec, AudioSettings, Channels};
use reelmill_media::audio::{AudioRequest, EncodedAudio, TRACK_FILE, encode};
use reelmill_media::layout::deliverable;
use reelmill_media::mp4::{inspect, plain_channel_configuration};
use reelmill_media::probe::probe;
use reelmill_media::{Input, Tools};

use crate::tools::{ffmpeg, run, text};

const RATE: usize = 48_000;

/// The tone of each channel of [`wav`]; the fourth is low enough for a subwoofer.
const TONES: [f64; 12] = [
    300.0, 450.0, 600.0, 80.0, 750.0, 900.0, 1050.0, 1200.0, 1350.0, 1500.0, 1650.0, 1800.0,
];

/// A quarter of a second of PCM in which each channel has its tone; with a mask it has places.
fn wav(path: &Path, channels: usize, mask: Option<u32>) {
    let samples = RATE / 4;
    let block = u16::try_from(2 * channels).unwrap();
    let bytes = u32::try_from(samples * usize::from(block)).unwrap();
    let mut format = Vec::new();
    let tag: u16 = if mask.is_some() { 0xFFFE } else { 1 };
    format.extend(tag.to_le_bytes());
    format.extend(u16::try_from(channels).unwrap().to_le_bytes());
    format.extend(48_000_u32.to_le_bytes());
    format.extend((48_000 * u32::from(block)).to_le_bytes());
    format.extend(block.to_le_bytes());
    format.extend(16_u16.to_le_bytes());
    if let Some(mask) = mask {
        format.extend(22_u16.to_le_bytes());
        format.extend(16_u16.to_le_bytes());
        format.extend(mask.to_le_bytes());
        format.extend(*b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let mut file = b"RIFF".to_vec();
    file.extend((20 + u32::try_from(format.len()).unwrap() + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(u32::try_from(format.len()).unwrap().to_le_bytes());
    file.extend(format);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    for n in 0..samples {
        for channel in 0..channels {
            let phase = std::f64::consts::TAU * TONES[channel % 12] * n as f64 / RATE as f64;
            file.extend(((phase.sin() * 4000.0) as i16).to_le_bytes());
        }
    }
    std::fs::write(path, file).unwrap();
}

/// Encodes the first track of a source as a worker does.
async fn encoded(codec: AudioCodec, source: &Path, dir: &Path) -> (EncodedAudio, Option<String>) {
    let tools = Tools::find(None, dir).await.unwrap();
    let input = Input::file(source);
    let stream = probe(&tools, &input, dir)
        .await
        .unwrap()
        .streams
        .remove(0)
        .sound
        .unwrap();
    let mapping = deliverable(codec, &stream);
    let plan = AudioPlan {
        settings: AudioSettings {
            codec,
            kbps: None,
            channels: Channels::Source,
        },
        layout: Some(mapping.layout.to_owned()),
        begins_us: None,
        counted_times: false,
        kbps: (codec != AudioCodec::Flac).then_some(64 * mapping.channels),
        cost_ms: 1000,
        stream,
    };
    let request = AudioRequest {
        input: &input,
        plan: &plan,
        copy_timestamps: true,
        timeline: &Timeline::default(),
    };
    (encode(&tools, &request, dir).await.unwrap(), mapping.note)
}

/// The samples of a file, channel by channel.
fn samples(path: &Path, channels: usize) -> Vec<Vec<f64>> {
    let raw = path.with_extension("raw");
    ffmpeg(&[
        "-i",
        text(path),
        "-c:a",
        "pcm_s16le",
        "-f",
        "s16le",
        text(&raw),
    ]);
    let bytes = std::fs::read(raw).unwrap();
    let value = |at: usize| f64::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let count = bytes.len() / 2 / channels;
    let of = |channel: usize| (0..count).map(move |n| (n * channels + channel) * 2);
    (0..channels)
        .map(|channel| of(channel).map(value).collect())
        .collect()
}

/// How loud a tone is (Goertzel).
fn loudness(samples: &[f64], tone: f64) -> f64 {
    let factor = 2.0 * (std::f64::consts::TAU * tone / RATE as f64).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for sample in samples {
        (a, b) = (sample + factor * a - b, a);
    }
    let power: f64 = a * a + b * b - factor * a * b;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

fn root_mean_square(samples: &[f64]) -> f64 {
    (samples.iter().map(|x| x * x).sum::<f64>() / samples.len() as f64).sqrt()
}

/// Durations of the packets of a track, but for the last.
fn packet_durations(path: &Path) -> Vec<i64> {
    let arguments = [
        "-v",
        "error",
        "-show_entries",
        "packet=duration",
        "-of",
        "csv=p=0",
    ];
    let listing = run("ffprobe", &[&arguments[..], &[text(path)]].concat());
    let lines = listing
        .lines()
        .filter_map(|line| line.split(',').next()?.parse().ok());
    let mut durations: Vec<i64> = lines.collect();
    durations.pop();
    durations
}

/// Masks of layouts: mono, stereo, 2.1, 3.0, 3.0(back), 4.0, quad, quad(side), 3.1, 5.0, 5.0(side),
/// 4.1, 5.1, 5.1(side), 6.0, 6.0(front), hexagonal, 6.1, 6.1(back), 6.1(front), 7.0, 7.0(front), 7.1,
/// 7.1(wide), 7.1(wide-side), octagonal, 5.1.2, 7.1.4, and one that has no name.
/// One of each kind: as AAC has it, another name of it, more channels than it has names for, mixed, and
/// with places that it does not know.
const MASKS: [u32; 7] = [0x3, 0xB, 0x603, 0x60F, 0x707, 0x63F, 0x2D63F];

#[tokio::test]
async fn every_layout_gets_a_channel_configuration_that_browsers_take() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.wav");
    let masks = MASKS.map(|mask| (mask.count_ones() as usize, Some(mask)));
    let counts = [1, 7, 9, 24].map(|count| (count, None));
    for (channels, mask) in masks.into_iter().chain(counts) {
        wav(&source, channels, mask);
        let (made, note) = encoded(AudioCodec::Aac, &source, dir.path()).await;
        let track = dir.path().join(TRACK_FILE);
        let name = format!("{channels} channels, mask {mask:X?}");
        let configuration = plain_channel_configuration(&track).unwrap();
        assert!(
            matches!(configuration, Some(1..=7)),
            "{name}: {configuration:?}"
        );
        // 1 to 6 are the numbers of channels, 7 stands for eight.
        let delivered = inspect(&track).unwrap()[0].channels;
        assert_eq!(
            delivered,
            configuration
                .map(|c| if c == 7 { 8 } else { u32::from(c) })
                .unwrap(),
            "{name}"
        );
        assert_eq!(made.first_pts, Some(0), "{name}");
        assert!(
            delivered as usize == channels || note.is_some(),
            "{name} changes without a note"
        );
    }
}

#[tokio::test]
async fn opus_and_flac_take_every_layout() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.wav");
    for (channels, mask) in [
        (3, Some(0xB)),
        (4, Some(0x107)),
        (5, Some(0x10F)),
        (5, Some(0x607)),
        (6, Some(0x137)),
        (6, Some(0x60F)),
        (7, Some(0x637)),
        (8, Some(0x63F)),
        (5, None),
        (9, None),
        (12, None),
    ] {
        for codec in [AudioCodec::Opus, AudioCodec::Flac] {
            wav(&source, channels, mask);
            let (made, _) = encoded(codec, &source, dir.path()).await;
            let track = &inspect(&dir.path().join(TRACK_FILE)).unwrap()[0];
            assert!(
                track.channels >= channels.min(8) as u32,
                "{codec:?} of {channels}, {mask:X?}"
            );
            assert_eq!(made.first_pts, Some(0));
        }
    }
}

#[tokio::test]
async fn opus_has_each_channel_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.wav");
    let track = dir.path().join(TRACK_FILE);
    // 3.0, quad, 5.0, 5.1, 6.1, 7.1.
    for mask in [0x7, 0x33, 0x37, 0x3F, 0x70F, 0x63F_u32] {
        let channels = mask.count_ones() as usize;
        wav(&source, channels, Some(mask));
        encoded(AudioCodec::Opus, &source, dir.path()).await;
        let heard = samples(&track, channels);
        for (channel, samples) in heard.iter().enumerate() {
            let level = loudness(&samples[2048..], TONES[channel]);
            assert!(level > 1500.0, "channel {channel}, {mask:X}: {level}");
        }
    }
}

#[tokio::test]
async fn each_channel_arrives_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.wav");
    let track = dir.path().join(TRACK_FILE);
    // Where each channel of the source is heard, by its number in the output.
    let cases: [(usize, Option<u32>, usize, &[usize]); 8] = [
        (6, Some(0x60F), 6, &[0, 1, 2, 3, 4, 5]),
        (5, Some(0x607), 5, &[0, 1, 2, 3, 4]),
        (4, Some(0x603), 5, &[0, 1, 3, 4]),
        // The low one is the third here, and 5.1's is the fourth.
        (7, Some(0x637), 8, &[0, 1, 2, 4, 5, 6, 7]),
        (8, Some(0x63F), 8, &[0, 1, 2, 3, 4, 5, 6, 7]),
        // The back centre is heard on both sides.
        (6, Some(0x707), 8, &[0, 1, 2, 5, 6, 7]),
        (9, None, 8, &[0, 1, 2, 3, 4, 5, 6, 7, 0]),
        (7, Some(0x13F), 6, &[0, 1, 2, 3, 4, 5, 4]),
    ];
    for (channels, mask, delivered, places) in cases {
        wav(&source, channels, mask);
        encoded(AudioCodec::Aac, &source, dir.path()).await;
        plain_channel_configuration(&track).unwrap();
        let heard = samples(&track, delivered);
        for (channel, place) in places.iter().enumerate() {
            let level = loudness(&heard[*place][2048..], TONES[channel]);
            assert!(
                level > 1500.0,
                "channel {channel} of {channels}, {mask:X?}: {level} in {place}"
            );
            let elsewhere = heard
                .iter()
                .enumerate()
                .filter(|(other, _)| !places.contains(other) && mask != Some(0x707));
            for (other, silent) in elsewhere {
                assert!(
                    root_mean_square(&silent[2048..]) < 60.0,
                    "{other} of {mask:X?} is not silent"
                );
            }
        }
    }
}

/// Four seconds of a tone, of which the second is missing.
fn with_a_hole(dir: &Path) -> (PathBuf, PathBuf) {
    let (whole, hole) = (dir.join("whole.nut"), dir.join("hole.nut"));
    let tone = "sine=frequency=440:sample_rate=48000:duration=4";
    ffmpeg(&["-f", "lavfi", "-i", tone, "-c:a", "pcm_s16le", text(&whole)]);
    let missing = "aselect=not(between(t\\,1\\,2))";
    ffmpeg(&[
        "-i",
        text(&whole),
        "-af",
        missing,
        "-c:a",
        "pcm_s16le",
        text(&hole),
    ]);
    (whole, hole)
}

#[tokio::test]
async fn silence_fills_a_hole_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, hole) = with_a_hole(dir.path());
    let track = dir.path().join(TRACK_FILE);
    let (made, _) = encoded(AudioCodec::Flac, &hole, dir.path()).await;
    assert_eq!(made.notes.len(), 1);
    assert!(
        made.notes[0].contains("missing in one place"),
        "{:?}",
        made.notes
    );
    let (ours, theirs) = (samples(&track, 1).remove(0), samples(&whole, 1).remove(0));
    assert_eq!(ours.len(), theirs.len());
    assert!(ours[..RATE - 1024] == theirs[..RATE - 1024]);
    assert!(ours[2 * RATE + 2048..] == theirs[2 * RATE + 2048..]);
    assert!(
        ours[RATE + 1024..2 * RATE - 1024]
            .iter()
            .all(|sample| *sample == 0.0)
    );

    let (made, _) = encoded(AudioCodec::Aac, &hole, dir.path()).await;
    assert_eq!(made.first_pts, Some(0));
    assert!(
        packet_durations(&track)
            .iter()
            .all(|duration| *duration == 1024)
    );
    let heard = samples(&track, 1).remove(0);
    assert!((heard.len() as i64 - 4 * RATE as i64).abs() <= 1024);
    let loud = |second: f64| {
        let at = (second * RATE as f64) as usize;
        root_mean_square(&heard[at..at + RATE / 20])
    };
    assert!(loud(0.9) > 2000.0 && loud(1.5) < 20.0 && loud(2.1) > 2000.0);
}

#[tokio::test]
async fn times_that_are_rounded_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // 1024 samples at 44.1 kHz are 23.22 ms, in a container that counts milliseconds.
    let source = dir.path().join("rounded.mkv");
    let tone = "sine=frequency=440:sample_rate=44100:duration=5";
    ffmpeg(&["-f", "lavfi", "-i", tone, "-c:a", "aac", text(&source)]);
    let (made, _) = encoded(AudioCodec::Flac, &source, dir.path()).await;
    assert_eq!(made.notes, Vec::<String>::new());
    let track = dir.path().join(TRACK_FILE);
    let (ours, theirs) = (samples(&track, 1).remove(0), samples(&source, 1).remove(0));
    assert_eq!(ours.len(), theirs.len());
    // FLAC has 24 bits of what AAC decodes to, rounded once more here.
    let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0, f64::max) <= 1.0);
}

#[tokio::test]
async fn sound_goes_on_through_changes_of_its_format() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let part = |name: &str, tone: &str, layout: &str, rate: &str, codec: &str, offset: &str| {
        let source = format!(
            "sine=frequency={tone}:sample_rate={rate}:duration=2,aformat=channel_layouts={layout}"
        );
        let file = at(name);
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &source,
            "-c:a",
            codec,
            "-output_ts_offset",
            offset,
            "-f",
            "mpegts",
            text(&file),
        ]);
        std::fs::read(file).unwrap()
    };
    let channels = [
        part("a", "300", "stereo", "48000", "ac3", "0"),
        part("b", "600", "5.1", "48000", "ac3", "2.016"),
        part("c", "900", "stereo", "48000", "ac3", "4.032"),
    ];
    let rates = [
        part("a", "300", "stereo", "44100", "aac", "0"),
        part("b", "600", "mono", "48000", "aac", "2.0434"),
    ];
    let cases: [(&[Vec<u8>], usize, f64); 2] = [(&channels, 6, 6.0), (&rates, 2, 4.0)];
    for (parts, delivered, seconds) in cases {
        let source = at("joined.ts");
        std::fs::write(&source, parts.concat()).unwrap();
        let (made, _) = encoded(AudioCodec::Aac, &source, dir.path()).await;
        assert!(
            made.notes
                .iter()
                .any(|note| note.contains("changes its format")),
            "{:?}",
            made.notes
        );
        let track = at(TRACK_FILE);
        assert!(
            packet_durations(&track)
                .iter()
                .all(|duration| *duration == 1024)
        );
        let heard = samples(&track, delivered);
        let length = heard[0].len() as f64 / RATE as f64;
        assert!((length - seconds).abs() < 0.1, "{length} s of {seconds}");
        for (part, tone) in [300.0, 600.0, 900.0]
            .into_iter()
            .take(parts.len())
            .enumerate()
        {
            let at = (part as f64 * 2.0 + 0.5) as usize * RATE + RATE / 2;
            // A mono part is in both of a stereo track, 5.1's first part has no centre.
            let all: Vec<f64> = (0..RATE / 2)
                .map(|n| heard.iter().map(|channel| channel[at + n]).sum())
                .collect();
            assert!(loudness(&all, tone) > 1000.0, "{tone} Hz in part {part}");
        }
    }
}
