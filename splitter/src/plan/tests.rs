use std::time::Instant;

use proptest::prelude::*;
use reelmill_common::Sha256;
use reelmill_common::manifest::{Location, Proof};
use reelmill_common::media_info::{AudioStream, Colour};
use reelmill_common::profile::builtin;
use reelmill_media::scan::Packet;

use super::*;
use crate::summary::Scanner;

const STEP_MS: u32 = 2000;

/// A packet: ticks after the one before it, and whether decoding can begin with it.
type Step = (i64, bool);

/// Ticks of a millisecond, far enough from 0 for every seek to have a place.
const ORIGIN: i64 = 1_000_000;

fn summary(steps: &[Step], format: &str) -> Summary {
    let mut scanner = Scanner::new(Timebase::new(1, 1000).unwrap(), STEP_MS, format);
    let mut pts = ORIGIN;
    for (at, (step, key)) in steps.iter().enumerate() {
        pts += step;
        scanner.add(Packet {
            pts: Some(pts),
            dts: Some(pts - 80),
            duration: Some(40),
            size: 1000,
            key: *key || at == 0,
            ..Packet::default()
        });
    }
    scanner.finish().unwrap()
}

fn planned(
    summary: Option<Summary>,
    slots: u32,
    window_ms: Option<u32>,
    duration: u64,
) -> Manifest {
    let mut profile = builtin("lossless").unwrap().profile().unwrap();
    profile.fragment_ms = STEP_MS;
    let location = Location::Path("/film.mp4".into());
    let request = JobRequest {
        version: 1,
        name: "film.mp4".to_owned(),
        location: location.clone(),
        profile,
        proof: Proof::Seams,
        slots,
        window_ms,
        trusted: false,
        options: reelmill_common::request::JobOptions::default(),
    };
    let video = VideoStream {
        index: 0,
        codec: "h264".to_owned(),
        width: 1920,
        height: 1080,
        sar: None,
        rotation: 0,
        pixel_format: "yuv420p".to_owned(),
        timebase: Timebase::new(1, 1000).unwrap(),
        frame_rate: None,
        interlaced: false,
        colour: Colour::default(),
    };
    let audio = AudioStream {
        index: 1,
        codec: "aac".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        layout: None,
        language: None,
        title: None,
        default: true,
    };
    plan(Facts {
        job: &JobId::new("job").unwrap(),
        request: &request,
        source: SourceInfo {
            name: "film.mp4".to_owned(),
            size: 1,
            sha256: Sha256::of(b""),
            location,
        },
        ffmpeg: "5.1",
        info: MediaInfo {
            format: "mov,mp4".to_owned(),
            video: summary.as_ref().map(|_| video),
            audio: vec![audio],
            title: None,
            chapters: Vec::new(),
        },
        opening: Opening::default(),
        duration: Duration::from_secs(duration),
        track_ends: None,
        begins_at_zero: false,
        start_us: 0,
        summary,
        changes: FrameChanges::default(),
        left_out: Vec::new(),
    })
}

fn chunks(manifest: Manifest) -> (reelmill_common::time::Grid, Vec<ChunkPlan>) {
    let video = manifest.video.unwrap();
    (video.grid, video.chunks)
}

/// Packets as sources have them: steady, or with gaps of seconds and of hours.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => 1_i64..100,
        2 => 1000_i64..10_000,
        1 => 1_000_000_i64..10_000_000,
    ];
    prop::collection::vec((step, prop::bool::weighted(0.1)), 1..800)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What every worker and the merger rely on, whatever the source.
    #[test]
    fn a_plan_holds_every_frame_once_and_can_be_decoded(
        steps in steps(),
        slots in 1_u32..9,
        window_ms in prop::option::of(prop_oneof![Just(STEP_MS), Just(5 * STEP_MS)]),
        indexed: bool,
    ) {
        let format = if indexed { "mov,mp4" } else { "mpegps" };
        let (grid, chunks) = chunks(planned(Some(summary(&steps, format)), slots, window_ms, 0));
        let (first, last) = (chunks.first().unwrap(), chunks.last().unwrap());
        prop_assert_eq!((first.window.start, last.window.end), (None, None));
        prop_assert!(first.lead_ins.is_empty() && first.start_seam.is_none());
        prop_assert!(last.end_seam.is_none());
        let packets: u64 = chunks.iter().map(|chunk| chunk.packets).sum();
        prop_assert_eq!(packets, steps.len() as u64);

        for pair in chunks.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let start = after.window.start.unwrap();
            prop_assert_eq!(before.window.end, Some(start));
            prop_assert_eq!(grid.start(grid.cell(start)), start);
            prop_assert!(before.window.start.is_none_or(|before| before < start));

            let seam = after.start_seam.unwrap();
            prop_assert_eq!(before.end_seam, Some(seam));
            prop_assert!(seam.from < start && start < seam.to);
            let first = after.first_packet.unwrap();
            prop_assert!(after.window.contains(first) && first < seam.to);
            prop_assert!(after.packets > 0);

            let (start_of_source, lead_ins) = after.lead_ins.split_last().unwrap();
            prop_assert_eq!((start_of_source.seek_us, start_of_source.keyframe), (None, None));
            prop_assert!(after.lead_ins.len() <= MOST_LEAD_INS);
            let keyframes: Vec<i64> = lead_ins.iter().map(|l| l.keyframe.unwrap()).collect();
            prop_assert!(keyframes.iter().all(|&keyframe| keyframe <= seam.from));
            prop_assert!(keyframes.windows(2).all(|pair| pair[0] > pair[1]));
            prop_assert!(lead_ins.iter().all(|lead_in| lead_in.seek_us.is_some()));
        }
    }
}

#[test]
fn one_far_off_timestamp_costs_nothing() {
    let mut steps = vec![(40, false); 3000];
    steps.iter_mut().step_by(100).for_each(|step| step.1 = true);
    // Years later.
    steps.push((100_000_000_000, true));
    let began = Instant::now();
    let (_, chunks) = chunks(planned(Some(summary(&steps, "mov,mp4")), 2, None, 0));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(chunks.len() > 2, "{}", chunks.len());
}

#[test]
fn honest_gaps_are_cut_around() {
    let steps: Vec<Step> = (0..600).map(|n| (5000, n % 5 == 0)).collect();
    let (grid, chunks) = chunks(planned(
        Some(summary(&steps, "mov,mp4")),
        2,
        Some(STEP_MS),
        0,
    ));
    // Every still has a window of its own, which begins in the cell that it is in.
    assert_eq!(chunks.len(), 600);
    for chunk in chunks.iter().skip(1) {
        let start = chunk.window.start.unwrap();
        assert_eq!(grid.cell(chunk.first_packet.unwrap()), grid.cell(start));
    }
}

#[test]
fn sound_alone_is_as_much_work_as_it_is_long() {
    let short = planned(None, 2, None, 0).audio[0].cost_ms;
    let long = planned(None, 2, None, 36_000).audio[0].cost_ms;
    assert!(short < 1000 && long > 100_000, "{short} {long}");
    // With a picture that is what was seen of it.
    let seen = planned(Some(summary(&[(40, true); 10], "mov")), 2, None, 36_000);
    assert_eq!(seen.audio[0].cost_ms, 120 + 24);
}
