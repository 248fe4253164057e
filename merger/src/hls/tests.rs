use std::path::Path;

use reelmill_media::mp4::{Continuity, Fragmented, Joined, Joiner, codec_string};
use tempfile::TempDir;

use super::*;

mod rules;

/// Segments of the given bytes and ticks of 1/1000 s.
fn stream(name: &str, codec: &str, segments: &[(u64, u64)]) -> Stream {
    let mut offset = 700;
    let fragments = segments.iter().map(|&(len, duration)| {
        let fragment = Fragment {
            offset,
            len,
            duration,
        };
        offset += len;
        fragment
    });
    Stream {
        uri: format!("{name}.mp4"),
        playlist: format!("{name}.m3u8"),
        codec: codec.to_owned(),
        timescale: 1000,
        init_len: 700,
        fragments: fragments.collect(),
    }
}

fn video(name: &str, segments: &[(u64, u64)]) -> Video {
    Video {
        stream: stream(name, "avc1.64001F", segments),
        width: 1280,
        height: 720,
        frame_rate: Some((30_000, 1001)),
        range: VideoRange::Sdr,
    }
}

fn audio(name: &str, language: Option<&str>, title: Option<&str>) -> Audio {
    Audio {
        stream: stream(name, "mp4a.40.2", &[(32_000, 2000), (30_000, 2000)]),
        language: language.map(str::to_owned),
        title: title.map(str::to_owned),
        channels: 2,
        default: false,
    }
}

#[test]
fn a_master_playlist_names_everything() {
    let renditions = [
        video("720p", &[(500_000, 2000), (250_000, 2000)]),
        Video {
            frame_rate: Some((25, 1)),
            ..video("360p", &[(100_000, 2000), (90_000, 2000)])
        },
    ];
    let tracks = [
        audio("a0", Some("deu"), None),
        Audio {
            default: true,
            ..audio("a1", Some("eng"), None)
        },
    ];
    assert_eq!(
        master(&renditions, &tracks),
        "#EXTM3U\n\
         #EXT-X-VERSION:7\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MEDIA:TYPE=AUDIO,URI=\"a0.m3u8\",GROUP-ID=\"audio\",LANGUAGE=\"de\",\
         NAME=\"deu\",AUTOSELECT=YES,CHANNELS=\"2\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,URI=\"a1.m3u8\",GROUP-ID=\"audio\",LANGUAGE=\"en\",\
         NAME=\"eng\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=2128000,AVERAGE-BANDWIDTH=1624000,\
         CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970,\
         VIDEO-RANGE=SDR,AUDIO=\"audio\"\n\
         720p.m3u8\n\
         #EXT-X-STREAM-INF:BANDWIDTH=528000,AVERAGE-BANDWIDTH=504000,\
         CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=25.000,VIDEO-RANGE=SDR,\
         AUDIO=\"audio\"\n\
         360p.m3u8\n"
    );
}

/// Stereo beside 5.1, in two languages, over a picture in PQ.
#[test]
fn tracks_of_other_channels_are_a_group_of_their_own() {
    let surround = |name, language| Audio {
        channels: 6,
        ..audio(name, Some(language), None)
    };
    let tracks = [
        audio("a0", Some("deu"), None),
        surround("a1", "deu"),
        audio("a2", None, None),
        Audio {
            default: true,
            ..surround("a3", "eng")
        },
    ];
    let pq = Video {
        range: VideoRange::of_transfer(Some("smpte2084")),
        ..video("720p", &[(500_000, 2000), (250_000, 2000)])
    };
    let low = video("360p", &[(100_000, 2000), (90_000, 2000)]);
    let text = master(&[pq, low], &tracks);
    let lines: Vec<&str> = text.lines().collect();
    let group = |line: &str| {
        let (_, rest) = line.split_once("GROUP-ID=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let groups: Vec<String> = lines
        .iter()
        .filter(|line| line.starts_with("#EXT-X-MEDIA:"))
        .map(|line| group(line))
        .collect();
    assert_eq!(groups, ["audio0", "audio0", "audio1", "audio1"]);
    assert_eq!(text.matches("DEFAULT=YES").count(), 2);
    assert!(text.contains("NAME=\"Track 2\""), "{text}");
    let variants: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        variants,
        ["720p.m3u8", "360p.m3u8", "720p.m3u8", "360p.m3u8"]
    );
    assert_eq!(text.matches("VIDEO-RANGE=PQ,AUDIO=\"audio0\"").count(), 1);
    assert_eq!(text.matches("VIDEO-RANGE=SDR,AUDIO=\"audio1\"").count(), 1);
    let streams = [
        stream("720p", "x", &[(500_000, 2000), (250_000, 2000)]),
        stream("360p", "x", &[(100_000, 2000), (90_000, 2000)]),
        tracks[0].stream.clone(),
    ];
    rules::check(&text, &|uri| {
        let same = |stream: &&Stream| stream.playlist == uri;
        let found = streams.iter().find(same).unwrap_or(&streams[2]);
        (media(found), 30_000.0 / 1001.0)
    });
}

#[test]
fn the_range_is_that_of_the_transfer_function() {
    let range = |transfer| VideoRange::of_transfer(transfer).as_str();
    assert_eq!(range(Some("arib-std-b67")), "HLG");
    assert_eq!(range(Some("smpte2084")), "PQ");
    assert_eq!(range(Some("bt2020-10")), "SDR");
    assert_eq!(range(None), "SDR");
}

#[test]
fn a_media_playlist_points_into_one_file() {
    let stream = stream(
        "v/720p",
        "avc1.64001F",
        &[(5000, 2002), (4000, 2502), (300, 40)],
    );
    assert_eq!(
        media(&stream),
        "#EXTM3U\n\
         #EXT-X-VERSION:7\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-TARGETDURATION:3\n\
         #EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-MAP:URI=\"v/720p.mp4\",BYTERANGE=\"700@0\"\n\
         #EXTINF:2.002000,\n\
         #EXT-X-BYTERANGE:5000@700\n\
         v/720p.mp4\n\
         #EXTINF:2.502000,\n\
         #EXT-X-BYTERANGE:4000@5700\n\
         v/720p.mp4\n\
         #EXTINF:0.040000,\n\
         #EXT-X-BYTERANGE:300@9700\n\
         v/720p.mp4\n\
         #EXT-X-ENDLIST\n"
    );
}

#[test]
fn presentations_without_picture() {
    let alone = master(&[], &[audio("a0", Some("deu"), None)]);
    assert_eq!(
        alone,
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-STREAM-INF:BANDWIDTH=128000,AVERAGE-BANDWIDTH=124000,CODECS=\"mp4a.40.2\"\n\
         a0.m3u8\n"
    );
    let both = [audio("a0", None, None), audio("a1", None, None)];
    let both = master(&[], &both);
    assert_eq!(both.matches("#EXT-X-MEDIA:").count(), 2);
    assert_eq!(both.matches("#EXT-X-STREAM-INF:").count(), 1);
    assert!(both.contains(",AUDIO=\"audio\"\na0.m3u8\n"));
    let silent = master(&[video("v", &[(1000, 2000)])], &[]);
    assert!(!silent.contains("AUDIO") && silent.contains("CODECS=\"avc1.64001F\","));
}

/// Both kinds parse, and hold what went in, whatever people write into titles.
#[test]
fn hostile_text_stays_inside_its_quotes() {
    let evil = "x\"\n#EXT-X-ENDLIST\r\u{7}\u{2028}";
    let tracks = [
        audio("a 0\n#", Some(evil), Some(evil)),
        audio("a1", Some("\""), Some(evil)),
        audio("a2", Some("und"), Some(" \n ")),
        audio("a3", Some("de-CH"), Some("x' #EXT-X-ENDLIST (2)")),
    ];
    let master = master(&[video("ü \"v", &[(1000, 2000)])], &tracks);
    assert_eq!(master.lines().count(), 3 + 4 + 2);
    let (_, parsed) = m3u8_rs::parse_master_playlist(master.as_bytes()).unwrap();
    let names: Vec<_> = parsed
        .alternatives
        .iter()
        .map(|media| media.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "x' #EXT-X-ENDLIST",
            "x' #EXT-X-ENDLIST (2)",
            "und",
            "x' #EXT-X-ENDLIST (2) (2)"
        ]
    );
    let languages: Vec<_> = parsed
        .alternatives
        .iter()
        .map(|m| m.language.as_deref())
        .collect();
    assert_eq!(languages, [None, None, None, Some("de-CH")]);
    assert_eq!(
        parsed
            .alternatives
            .iter()
            .filter(|media| media.default)
            .count(),
        1
    );
    assert_eq!(
        parsed.alternatives[0].uri.as_deref(),
        Some("a%200%0A%23.m3u8")
    );
    assert_eq!(parsed.variants[0].uri, "%C3%BC%20%22v.m3u8");

    let media = media(&stream("\"\n#EXT", "x", &[(1000, 2000)]));
    let (_, parsed) = m3u8_rs::parse_media_playlist(media.as_bytes()).unwrap();
    assert_eq!(parsed.segments[0].uri, "%22%0A%23EXT.mp4");
    assert!(parsed.end_list);
}

#[test]
fn rounding_neither_drifts_nor_breaks_the_target() {
    let mut stream = stream("v", "x", &[]);
    stream.timescale = 30_000;
    let fragment = Fragment {
        offset: 0,
        len: 1,
        duration: 60_060,
    };
    stream.fragments = vec![fragment; 10_000];
    assert_eq!(durations(&stream).iter().sum::<u64>(), 20_020_000_000);
    // Thirds of a second: no one of them is exact, three are.
    (stream.timescale, stream.fragments) = (
        3,
        vec![
            Fragment {
                duration: 1,
                ..fragment
            };
            3000
        ],
    );
    assert_eq!(durations(&stream).iter().sum::<u64>(), 1_000_000_000);
    // 2.4999996 s is written as 2.500000, which rounds to 3.
    (stream.timescale, stream.fragments) = (
        10_000_000,
        vec![Fragment {
            duration: 24_999_996,
            ..fragment
        }],
    );
    assert!(media(&stream).contains("#EXT-X-TARGETDURATION:3\n"));
    assert!(media(&stream).contains("#EXTINF:2.500000,\n"));
    (stream.timescale, stream.fragments) = (
        0,
        vec![Fragment {
            duration: u64::MAX,
            ..fragment
        }],
    );
    assert!(media(&stream).ends_with("#EXT-X-ENDLIST\n"));
    stream.fragments.clear();
    assert!(media(&stream).contains("#EXT-X-TARGETDURATION:1\n"));
}

#[test]
fn the_peak_is_that_of_sets_about_as_long_as_the_target() {
    // The last segment is one keyframe long: it counts with the one before it only.
    let short_end = stream("v", "x", &[(1000, 2000), (1500, 2000), (900, 40)]);
    let rates = Rates::of(&short_end);
    assert_eq!(rates.peak, rate((2400, 2_040_000)));
    assert_eq!(rates.average, rate((3400, 4_040_000)));
    // Two half segments in a row are a set too.
    let halves = stream(
        "v",
        "x",
        &[(100, 2000), (900, 500), (1000, 500), (100, 2000)],
    );
    assert_eq!(Rates::of(&halves).peak, rate((1900, 1_000_000)));
    // Nothing lasts half a second: what there is must do.
    let tiny = stream("v", "x", &[(500, 40)]);
    assert_eq!(Rates::of(&tiny).peak, rate((500, 40_000)));
    assert_eq!(Rates::of(&stream("v", "x", &[])), Rates::default());
}

#[test]
fn frame_rates_have_three_decimals() {
    assert_eq!(frame_rate((24_000, 1001)).unwrap(), "23.976");
    assert_eq!(frame_rate((50, 1)).unwrap(), "50.000");
    assert_eq!(frame_rate((1, 3000)).unwrap(), "0.000");
    assert_eq!(frame_rate((25, 0)), None);
    assert_eq!(frame_rate((u32::MAX, 1)).unwrap(), "4294967295.000");
}

#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Encodes a generated source and joins it into `{name}.mp4`, with its playlist beside it.
fn delivered(folder: &Path, name: &str, source: &str, codec: &[&str]) -> (Stream, Joined) {
    let raw = folder.join("raw.mp4");
    let flags = "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+cmaf";
    let output = ["-movflags", flags, raw.to_str().unwrap()];
    let input = ["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source];
    run("ffmpeg", &[&input[..], codec, &output].concat());
    let mut file = Fragmented::read(&raw).unwrap();
    file.shift(-file.samples[0].dts).unwrap();
    let cell = 2 * i64::from(file.timescale);
    let cut = folder.join("cut.mp4");
    file.write(&cut, |pts| pts.div_euclid(cell)).unwrap();
    let mut joiner = Joiner::create(
        &folder.join(format!("{name}.mp4")),
        0,
        Continuity::GapsAllowed,
    )
    .unwrap();
    joiner.append(&cut).unwrap();
    let joined = joiner.finish().unwrap();
    let fragments = joined.fragments.iter().map(|fragment| Fragment {
        offset: fragment.offset,
        len: fragment.len,
        duration: fragment.duration,
    });
    let stream = Stream {
        uri: format!("{name}.mp4"),
        playlist: format!("{name}.m3u8"),
        codec: codec_string(&joined.init).unwrap(),
        timescale: joined.timescale,
        init_len: joined.init_len,
        fragments: fragments.collect(),
    };
    std::fs::write(folder.join(&stream.playlist), media(&stream)).unwrap();
    (stream, joined)
}

/// ffmpeg's HLS reader finds every frame and packet behind the playlists.
#[test]
fn ffmpeg_plays_what_the_playlists_name() {
    let folder = TempDir::new().unwrap();
    let sound = |name: &str, pitch: u32| {
        let source = format!("sine=frequency={pitch}:sample_rate=48000:duration=7");
        delivered(folder.path(), name, &source, &["-c:a", "aac"])
    };
    let encoder = [
        "-c:v",
        "libx264",
        "-preset",
        "fast",
        "-g",
        "50",
        "-sc_threshold",
        "0",
    ];
    let source = "testsrc2=size=160x120:rate=25:duration=7";
    let (picture, frames) = delivered(folder.path(), "v", source, &encoder);
    assert_eq!((frames.frames, frames.fragments.len()), (175, 4));
    let ((low, packets), (high, _)) = (sound("a0", 300), sound("a1", 900));
    let track = |stream, language: &str| Audio {
        stream,
        language: Some(language.to_owned()),
        title: None,
        channels: 1,
        default: false,
    };
    let rendition = Video {
        stream: picture,
        width: 160,
        height: 120,
        frame_rate: Some((25, 1)),
        range: VideoRange::Sdr,
    };
    let text = master(&[rendition], &[track(low, "deu"), track(high, "eng")]);
    rules::check(&text, &|uri| {
        let path = folder.path().join(uri);
        (std::fs::read_to_string(&path).unwrap(), 25.0)
    });
    let path = folder.path().join("master.m3u8");
    std::fs::write(&path, text).unwrap();
    let arguments = [
        "-v",
        "error",
        "-count_packets",
        "-show_entries",
        "stream=nb_read_packets",
    ];
    let output = ["-of", "csv=p=0", path.to_str().unwrap()];
    let counts = run("ffprobe", &[&arguments[..], &output].concat());
    // The streams are listed once for the variant and once for the whole.
    let mut counts: Vec<u64> = counts
        .split_whitespace()
        .map(|count| count.trim_end_matches(',').parse().unwrap())
        .collect();
    counts.truncate(3);
    counts.sort_unstable();
    assert_eq!(counts, [175, packets.frames, packets.frames]);
}
