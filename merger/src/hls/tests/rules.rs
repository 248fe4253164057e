//! The rules of Apple's HLS authoring specification and of RFC 8216 that playlists can be held
//! against without a player.

use std::collections::BTreeMap;

/// The attributes of a line such as `#EXT-X-MEDIA:TYPE=AUDIO,URI="a0.m3u8"`.
fn attributes(line: &str) -> BTreeMap<String, String> {
    let (_, mut rest) = line.split_once(':').unwrap();
    let mut found = BTreeMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        let doubled = found.insert(name.to_owned(), value.to_owned());
        assert_eq!(doubled, None, "{name} is given twice in {line}");
        rest = after.strip_prefix(',').unwrap_or_default();
    }
    found
}

/// Checks a multivariant playlist and every media playlist that it names; `media` gives the text of
/// one, and the frame rate that a picture in it has.
pub(super) fn check(master: &str, media: &dyn Fn(&str) -> (String, f64)) {
    assert!(master.starts_with("#EXTM3U\n"), "{master}");
    assert!(master.contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"));
    let tracks: Vec<_> = master
        .lines()
        .filter(|line| line.starts_with("#EXT-X-MEDIA:"))
        .map(attributes)
        .collect();
    let mut groups: BTreeMap<&str, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
    for track in &tracks {
        groups.entry(&track["GROUP-ID"]).or_default().push(track);
    }
    let mut rates = BTreeMap::new();
    for (id, tracks) in &groups {
        let mut names: Vec<&str> = tracks.iter().map(|t| t["NAME"].as_str()).collect();
        assert!(names.iter().all(|name| !name.is_empty()), "{id}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tracks.len(), "names in {id} are not unique");
        let default = |t: &&&BTreeMap<String, String>| t.get("DEFAULT").is_some_and(|d| d == "YES");
        assert_eq!(tracks.iter().filter(default).count(), 1, "defaults in {id}");
        let channels: Vec<&str> = tracks.iter().map(|t| t["CHANNELS"].as_str()).collect();
        assert!(
            channels.iter().all(|c| *c == channels[0]),
            "{id}: {channels:?}"
        );
        assert!(tracks.iter().all(|t| t["AUTOSELECT"] == "YES"), "{id}");
        let each = tracks.iter().map(|track| playlist(&media(&track["URI"]).0));
        let highest = each.fold((0.0, 0.0), |one: (f64, f64), other| {
            (one.0.max(other.0), one.1.max(other.1))
        });
        rates.insert(*id, highest);
    }
    let lines: Vec<&str> = master.lines().collect();
    let mut variants = 0;
    for pair in lines.windows(2) {
        let [info, uri] = pair else { continue };
        if !info.starts_with("#EXT-X-STREAM-INF:") {
            continue;
        }
        variants += 1;
        let info = attributes(info);
        let (text, frame_rate) = media(uri);
        let own = playlist(&text);
        let sound = info
            .get("AUDIO")
            .map_or((0.0, 0.0), |id| rates[id.as_str()]);
        // Whole bits are rounded up.
        let near = |stated: &str, rate: f64| (stated.parse::<f64>().unwrap() - rate).abs() <= 3.0;
        assert!(
            near(&info["BANDWIDTH"], own.0 + sound.0),
            "{info:?} {own:?} {sound:?}"
        );
        assert!(
            near(&info["AVERAGE-BANDWIDTH"], own.1 + sound.1),
            "{info:?} {own:?}"
        );
        assert!(!info["CODECS"].is_empty());
        assert!(info["RESOLUTION"].split_once('x').is_some());
        assert_eq!(info["FRAME-RATE"], format!("{frame_rate:.3}"));
        assert!(["SDR", "HLG", "PQ"].contains(&info["VIDEO-RANGE"].as_str()));
        let codecs = info["CODECS"].split(',').count();
        assert_eq!(
            codecs,
            1 + usize::from(info.contains_key("AUDIO")),
            "{info:?}"
        );
    }
    assert!(variants > 0);
}

/// Checks a media playlist and gives its peak and average bit rate.
fn playlist(text: &str) -> (f64, f64) {
    for tag in [
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-ENDLIST",
    ] {
        assert!(text.lines().any(|line| line == tag), "{tag} is missing");
    }
    let value = |tag: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(tag)).unwrap()
    };
    let target: f64 = value("#EXT-X-TARGETDURATION:").parse().unwrap();
    assert!(value("#EXT-X-MAP:").contains("URI="));
    let seconds = text
        .lines()
        .filter_map(|line| line.strip_prefix("#EXTINF:"));
    let seconds: Vec<f64> = seconds
        .map(|line| line.trim_end_matches(',').parse().unwrap())
        .collect();
    let bytes = text
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:"));
    let bytes: Vec<f64> = bytes
        .map(|line| line.split('@').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(seconds.len(), bytes.len());
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    assert!(longest.round() <= target, "{longest} of {target}");
    let mut peak = 0.0_f64;
    for begin in 0..seconds.len() {
        for end in begin + 1..=seconds.len() {
            let length: f64 = seconds[begin..end].iter().sum();
            if (target * 0.5..=target * 1.5).contains(&length) {
                peak = peak.max(bytes[begin..end].iter().sum::<f64>() * 8.0 / length);
            }
        }
    }
    let all: f64 = seconds.iter().sum();
    (peak, bytes.iter().sum::<f64>() * 8.0 / all)
}
