//! Damaged files end in an error or in values, never in a panic or a loop.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use reelmill_media::mp4::{Continuity, Fragmented, Joiner, Regrouper, codec_string, inspect};
use tempfile::TempDir;

use super::tools::{FRAGMENTS, ffmpeg, text};

/// Small files of every kind that is read: fragmented, progressive, and one per codec.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.mp4");
    let video = "testsrc2=size=64x64:rate=25:duration=0.4";
    let audio = "sine=duration=0.4";
    let make = |source: &str, codec: &[&str], flags: &[&str]| {
        ffmpeg(&[&["-f", "lavfi", "-i", source], codec, flags, &[text(&path)]].concat());
        std::fs::read(&path).unwrap()
    };
    vec![
        make(video, &["-c:v", "libx264", "-g", "5"], FRAGMENTS),
        make(
            video,
            &["-c:v", "libx264", "-g", "5"],
            &["-movflags", "+faststart"],
        ),
        make(
            video,
            &["-c:v", "libx265", "-x265-params", "log-level=none"],
            FRAGMENTS,
        ),
        make(video, &["-c:v", "libsvtav1", "-preset", "12"], FRAGMENTS),
        make(video, &["-c:v", "libvpx-vp9", "-cpu-used", "8"], FRAGMENTS),
        make(audio, &["-c:a", "aac"], FRAGMENTS),
        make(audio, &["-c:a", "aac"], &["-movflags", "+faststart"]),
        make(audio, &["-c:a", "libopus"], FRAGMENTS),
        make(audio, &["-c:a", "flac", "-strict", "-2"], FRAGMENTS),
    ]
});

/// Reads a file in every way there is.
fn exercise(folder: &Path, bytes: &[u8]) -> bool {
    let path = folder.join("damaged.mp4");
    let out = folder.join("out.mp4");
    std::fs::write(&path, bytes).unwrap();
    let inspected = inspect(&path).is_ok();
    let whole = Fragmented::read(&path).is_ok();
    let streamed = Regrouper::open(&path).and_then(|r| r.write(&out, 1024, |pts| pts / 1000));
    assert!(whole || streamed.is_err(), "read in pieces and not as one");
    let read = match Fragmented::read(&path) {
        Ok(mut file) => {
            let codec = codec_string(&file.init);
            let mut pts: Vec<i64> = file.samples.iter().map(|sample| sample.pts).collect();
            pts.sort_unstable();
            let retimed = file.retime_video(&pts, None);
            let shifted = file.shift(1024);
            let written = file.write(&out, |pts| pts.div_euclid(1000));
            let mut joiner = Joiner::create(&out, 1024, Continuity::GapsAllowed).unwrap();
            let joined = joiner.append(&path).and_then(|()| joiner.finish());
            codec.is_ok() && retimed.is_ok() && shifted.is_ok() && written.is_ok() && joined.is_ok()
        }
        Err(_) => false,
    };
    inspected || read
}

#[test]
fn undamaged_files_are_read() {
    let folder = TempDir::new().unwrap();
    for bytes in FILES.iter() {
        assert!(exercise(folder.path(), bytes));
    }
}

/// A file cut off inside its tables or its media is damaged, at whatever byte.
#[test]
fn truncated_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut.mp4");
    for bytes in [&FILES[0], &FILES[5]] {
        std::fs::write(&path, bytes).unwrap();
        let whole = Fragmented::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            if let Ok(file) = Fragmented::read(&path) {
                // Only between boxes can a cut go unseen, and then whole fragments are gone.
                assert!(file.samples.len() <= whole.samples.len());
                assert_eq!(file.samples, whole.samples[..file.samples.len()]);
            }
        }
    }
}

/// Where damage hurts most: sizes, counts and codes in the tables. Media is passed over.
fn table_bytes(bytes: &[u8]) -> Vec<usize> {
    let boxes: Vec<usize> = [b"moov", b"moof"]
        .iter()
        .flat_map(|kind| {
            bytes
                .windows(4)
                .enumerate()
                .filter(|(_, window)| window == *kind)
        })
        .map(|(at, _)| at - 4)
        .collect();
    boxes
        .into_iter()
        .flat_map(|start| {
            let size = u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap());
            start..(start + usize::try_from(size).unwrap()).min(bytes.len())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn damaged_tables_do_not_panic(
        file in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u32..3), 1..6),
    ) {
        let mut bytes = FILES[file.index(FILES.len())].clone();
        let places = table_bytes(&bytes);
        for (at, value, how) in damage {
            let at = places[at.index(places.len())];
            match how {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                // Four bytes that count or measure something become an extreme.
                _ => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill(if value % 2 == 0 { 0xFF } else { 0 });
                }
            }
        }
        let folder = TempDir::new().unwrap();
        exercise(folder.path(), &bytes);
    }

    #[test]
    fn removed_and_repeated_bytes_do_not_panic(
        file in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(),
        len in 1_usize..200, repeat in any::<bool>(),
    ) {
        let bytes = &FILES[file.index(FILES.len())];
        let from = from.index(bytes.len());
        let to = (from + len).min(bytes.len());
        let rest = if repeat { &bytes[from..] } else { &bytes[to..] };
        let damaged = [&bytes[..to.min(from + if repeat { len } else { 0 })], rest].concat();
        let folder = TempDir::new().unwrap();
        exercise(folder.path(), &damaged);
    }
}
