use reelmill_common::Sha256;
use reelmill_common::Timebase;
use reelmill_common::manifest::{Location, Proof};
use reelmill_common::media_info::Colour;
use reelmill_common::profile::builtin;
use reelmill_common::request::JobOptions;
use reelmill_media::scan::Packet;

use super::*;

/// A film of this size, and how many packets it has in how many seconds.
fn film(index: u32, size: (u32, u32), default: bool) -> Found {
    let picture = VideoStream {
        index,
        codec: "h264".to_owned(),
        width: size.0,
        height: size.1,
        sar: None,
        rotation: 0,
        pixel_format: "yuv420p".to_owned(),
        timebase: Timebase::new(1, 1000).unwrap(),
        frame_rate: None,
        interlaced: false,
        colour: Colour::default(),
    };
    Found {
        index,
        kind: Kind::Video,
        codec: Some("h264".to_owned()),
        size,
        timebase: Timebase::new(1, 1000).ok(),
        default,
        picture: Some(picture),
        ..Found::default()
    }
}

fn track(index: u32, language: &str) -> Found {
    let sound = AudioStream {
        index,
        codec: "aac".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        layout: None,
        language: Some(language.to_owned()),
        title: None,
        default: false,
    };
    Found {
        index,
        kind: Kind::Audio,
        codec: Some("aac".to_owned()),
        timebase: Timebase::new(1, 1000).ok(),
        language: Some(language.to_owned()),
        sound: Some(sound),
        ..Found::default()
    }
}

/// Streams with their packets: how many, the first one's second, and how many seconds in all.
struct Source(Vec<(Found, i64, i64, i64)>);

impl Source {
    fn choose(&self, options: JobOptions) -> Result<Chosen, StageError> {
        let mut tallies = Tallies::default();
        let mut probed = Probed {
            format: "mpegts".to_owned(),
            ..Probed::default()
        };
        for (found, packets, first, seconds) in &self.0 {
            for number in 0..*packets {
                tallies.add(&Packet {
                    stream: found.index,
                    pts: Some(first * 1000 + seconds * 1000 * number / packets),
                    duration: Some(seconds * 1000 / packets),
                    ..Packet::default()
                });
            }
            probed.streams.push(found.clone());
        }
        let location = Location::Path("/film.ts".into());
        let request = JobRequest {
            version: 1,
            name: "film.ts".to_owned(),
            location: location.clone(),
            profile: builtin("h264-1080p").unwrap().profile().unwrap(),
            proof: Proof::Seams,
            slots: 1,
            window_ms: None,
            trusted: false,
            options,
        };
        let source = SourceInfo {
            name: "film.ts".to_owned(),
            size: 1,
            sha256: Sha256::of(b""),
            location,
        };
        choose(Streams {
            source: &source,
            request: &request,
            probed: &probed,
            tallies: &tallies,
        })
    }

    fn picture(&self) -> (Option<u32>, Vec<String>) {
        let chosen = self.choose(JobOptions::default()).unwrap();
        (chosen.video.map(|video| video.index), chosen.notes)
    }
}

#[test]
fn the_picture_that_carries_the_film_is_chosen() {
    const HD: (u32, u32) = (1280, 720);
    const SD: (u32, u32) = (320, 240);
    let cases = [
        // A stale PID, a cover, the rest of another programme: all before the film.
        (film(0, HD, true), 0, 0, 6, 1, "it has no packets"),
        (
            film(0, HD, true),
            1,
            0,
            6,
            1,
            "it is a single picture where stream 1 has 150",
        ),
        (
            film(0, HD, true),
            25,
            0,
            1,
            1,
            "it has 25 packets in 1.0 s where stream 1 has 150 in 6.0 s",
        ),
        // Of two films the default one, then the first unless it is much smaller.
        (film(0, SD, false), 150, 0, 6, 0, ""),
        (film(0, HD, false), 150, 0, 6, 0, ""),
        (film(0, SD, true), 150, 0, 6, 0, ""),
    ];
    for (first, packets, begin, seconds, index, why) in cases {
        let source = Source(vec![
            (first, packets, begin, seconds),
            (film(1, SD, false), 150, 0, 6),
        ]);
        let (chosen, notes) = source.picture();
        assert_eq!(chosen, Some(index), "{notes:?}");
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(why), "{notes:?}");
    }
    let larger = Source(vec![
        (film(0, SD, false), 150, 0, 6),
        (film(1, HD, false), 150, 0, 6),
    ]);
    let (chosen, notes) = larger.picture();
    assert_eq!(chosen, Some(1));
    assert!(notes[0].starts_with("video in stream 0 (h264, 320x240) is left out"));
    assert!(notes[0].contains("`video-stream`"), "{notes:?}");
    let only = Source(vec![
        (film(0, SD, false), 1, 0, 1),
        (track(1, "eng"), 40, 0, 4),
    ]);
    assert_eq!(only.picture(), (Some(0), Vec::new()));
}

#[test]
fn cover_art_is_no_picture() {
    let cover = Found {
        still: true,
        ..film(1, (600, 600), true)
    };
    let source = Source(vec![(track(0, "eng"), 40, 0, 4), (cover, 1, 0, 4)]);
    let (chosen, notes) = source.picture();
    assert_eq!(chosen, None);
    assert_eq!(
        notes,
        ["video in stream 1 (h264, 600x600) is left out: it is cover art or a still image"]
    );
}

#[test]
fn a_film_that_goes_on_in_another_stream_is_told_with_its_time() {
    let source = Source(vec![
        (film(0, (320, 240), false), 150, 2, 6),
        (film(2, (320, 240), false), 150, 8, 6),
    ]);
    let (chosen, notes) = source.picture();
    assert_eq!(chosen, Some(0));
    assert!(
        notes[0].contains("stream 0, which ends at 6.0 s where this one begins"),
        "{notes:?}"
    );
}

#[test]
fn the_submitter_chooses() {
    let source = Source(vec![
        (film(0, (320, 240), true), 150, 0, 6),
        (film(1, (320, 240), false), 150, 0, 6),
        (track(2, "eng"), 40, 0, 6),
        (track(3, "fra"), 40, 0, 6),
        (film(4, (320, 240), false), 0, 0, 6),
    ]);
    let options = |video: Option<&str>, audio: Option<&str>| JobOptions {
        video_stream: video.map(|text| text.parse().unwrap()),
        audio_streams: audio.map(|text| text.parse().unwrap()),
        ..JobOptions::default()
    };
    let chosen = source.choose(options(Some("1"), Some("3,2"))).unwrap();
    assert_eq!(chosen.video.unwrap().index, 1);
    let tracks: Vec<u32> = chosen.audio.iter().map(|track| track.index).collect();
    assert_eq!((tracks, chosen.notes), (vec![3, 2], Vec::new()));
    let chosen = source.choose(options(Some("none"), Some("none"))).unwrap();
    assert_eq!((chosen.video, chosen.audio.len()), (None, 0));
    for (choice, words) in [
        (
            options(Some("2"), None),
            "has no video in stream 2: choose among what there is (video in stream 0 (h264, 320x240), video in stream 1",
        ),
        (
            options(None, Some("9")),
            "has no audio in stream 9: choose among what there is (audio in stream 2 (aac, eng), audio in stream 3 (aac, fra))",
        ),
        (
            options(Some("4"), None),
            "video in stream 4 (h264, 320x240) of `film.ts` has no packets",
        ),
    ] {
        let error = source.choose(choice).unwrap_err();
        assert_eq!(error.code, "stream-unusable");
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[test]
fn what_is_encrypted_is_refused_unless_it_is_not_wanted() {
    let secret = Found {
        encrypted: true,
        ..track(1, "eng")
    };
    let source = Source(vec![
        (film(0, (320, 240), true), 150, 0, 6),
        (secret, 40, 0, 6),
        (track(2, "fra"), 40, 0, 6),
    ]);
    let error = source.choose(JobOptions::default()).unwrap_err();
    assert_eq!(error.code, "media-encrypted");
    assert_eq!(
        error.message,
        "`film.ts` is encrypted (audio in stream 1 (aac, eng)): get a copy of it without encryption, or choose another stream with the option `audio-streams`"
    );
    let clear = JobOptions {
        audio_streams: Some("2".parse().unwrap()),
        ..JobOptions::default()
    };
    assert_eq!(source.choose(clear).unwrap().audio.len(), 1);
}

#[test]
fn what_no_profile_delivers_is_named() {
    let other = |index, kind, codec: &str| Found {
        index,
        kind,
        codec: Some(codec.to_owned()),
        ..Found::default()
    };
    let source = Source(vec![
        (film(0, (320, 240), true), 150, 0, 6),
        (other(1, Kind::Subtitles, "subrip"), 1, 0, 6),
        (other(2, Kind::Subtitles, "ass"), 1, 0, 6),
        (other(3, Kind::Attachment, "ttf"), 0, 0, 6),
    ]);
    let (_, notes) = source.picture();
    assert_eq!(
        notes,
        [
            "the subtitles are left out, since only picture and sound are delivered: stream 1 (subrip), stream 2 (ass)",
            "the attachment is left out, since only picture and sound are delivered: stream 3 (ttf)",
        ]
    );
}
