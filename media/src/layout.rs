//! Which speaker layout a track is delivered in, and how the source's channels get there. Pure.
//!
//! Browsers refuse AAC whose channels are listed one by one (channelConfiguration 0), which is what
//! ffmpeg writes for every layout but seven. Opus and FLAC have eight of their own. Any other layout is
//! renamed where only its name differs, put into a larger one with silent channels where that holds
//! all of its channels, and mixed into the nearest otherwise.

use std::fmt::Write as _;

use reelmill_common::media_info::AudioStream;
use reelmill_common::profile::AudioCodec;

/// The layouts that AAC has numbers for: channelConfiguration 1 to 7, smallest first.
const AAC: &[&str] = &["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"];

/// The layouts of Opus (mapping family 1) and FLAC, smallest first.
const XIPH: &[&str] = &["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"];

/// What FLAC holds as well: the same channels under another name.
const FLAC_TOO: &[&str] = &["quad(side)", "5.0(side)", "5.1(side)"];

/// ffmpeg's standard layouts, of all its versions.
#[rustfmt::skip]
const LAYOUTS: &[(&str, &str)] = &[
    ("mono", "FC"),
    ("stereo", "FL+FR"),
    ("downmix", "DL+DR"),
    ("binaural", "BIL+BIR"),
    ("2.1", "FL+FR+LFE"),
    ("3.0", "FL+FR+FC"),
    ("3.0(back)", "FL+FR+BC"),
    ("4.0", "FL+FR+FC+BC"),
    ("quad", "FL+FR+BL+BR"),
    ("quad(side)", "FL+FR+SL+SR"),
    ("3.1", "FL+FR+FC+LFE"),
    ("5.0", "FL+FR+FC+BL+BR"),
    ("5.0(side)", "FL+FR+FC+SL+SR"),
    ("4.1", "FL+FR+FC+LFE+BC"),
    ("5.1", "FL+FR+FC+LFE+BL+BR"),
    ("5.1(side)", "FL+FR+FC+LFE+SL+SR"),
    ("6.0", "FL+FR+FC+BC+SL+SR"),
    ("6.0(front)", "FL+FR+FLC+FRC+SL+SR"),
    ("3.1.2", "FL+FR+FC+LFE+TFL+TFR"),
    ("hexagonal", "FL+FR+FC+BL+BR+BC"),
    ("6.1", "FL+FR+FC+LFE+BC+SL+SR"),
    ("6.1(back)", "FL+FR+FC+LFE+BL+BR+BC"),
    ("6.1(front)", "FL+FR+LFE+FLC+FRC+SL+SR"),
    ("7.0", "FL+FR+FC+BL+BR+SL+SR"),
    ("7.0(front)", "FL+FR+FC+FLC+FRC+SL+SR"),
    ("7.1", "FL+FR+FC+LFE+BL+BR+SL+SR"),
    ("7.1(wide)", "FL+FR+FC+LFE+BL+BR+FLC+FRC"),
    ("7.1(wide-side)", "FL+FR+FC+LFE+FLC+FRC+SL+SR"),
    ("7.1(top)", "FL+FR+FC+LFE+BL+BR+TFL+TFR"),
    ("5.1.2", "FL+FR+FC+LFE+SL+SR+TFL+TFR"),
    ("5.1.2(back)", "FL+FR+FC+LFE+BL+BR+TFL+TFR"),
    ("octagonal", "FL+FR+FC+BL+BR+BC+SL+SR"),
    ("cube", "FL+FR+BL+BR+TFL+TFR+TBL+TBR"),
    ("5.1.4", "FL+FR+FC+LFE+SL+SR+TFL+TFR+TBL+TBR"),
    ("7.1.2", "FL+FR+FC+LFE+BL+BR+SL+SR+TFL+TFR"),
    ("7.1.4", "FL+FR+FC+LFE+BL+BR+SL+SR+TFL+TFR+TBL+TBR"),
    ("7.2.3", "FL+FR+FC+LFE+BL+BR+SL+SR+TFL+TFR+TBC+LFE2"),
    ("9.1.4", "FL+FR+FC+LFE+BL+BR+FLC+FRC+SL+SR+TFL+TFR+TBL+TBR"),
    ("9.1.6", "FL+FR+FC+LFE+BL+BR+FLC+FRC+SL+SR+TFL+TFR+TBL+TBR+TSL+TSR"),
    ("hexadecagonal", "FL+FR+FC+BL+BR+BC+SL+SR+TFL+TFC+TFR+TBL+TBC+TBR+WL+WR"),
    ("22.2", "FL+FR+FC+LFE+BL+BR+FLC+FRC+BC+SL+SR+TC+TFL+TFC+TFR+TBL+TBC+TBR+LFE2+TSL+TSR+BFC+BFL+BFR"),
];

/// −3 dB: a channel shared by two others keeps its power.
const SHARED: f64 = 0.707;

/// How a source's channels come into the layout that is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// ffmpeg's name of the layout that is delivered.
    pub layout: &'static str,
    /// Its number of channels.
    pub channels: u32,
    /// One sentence on what that changes; `None` where the layout is the source's own.
    pub note: Option<String>,
}

/// Chooses the layout in which a codec carries a track without loss of a channel, or the nearest.
#[must_use]
pub fn deliverable(codec: AudioCodec, stream: &AudioStream) -> Mapping {
    let known = match codec {
        AudioCodec::Aac => AAC,
        AudioCodec::Opus | AudioCodec::Flac => XIPH,
    };
    let mapped = |layout: &'static str, how: Option<String>| {
        let note = how.map(|how| {
            format!(
                "the sound in stream {} is delivered as {layout}: {} has no {}, and {how}",
                stream.index,
                codec_name(codec),
                called(stream)
            )
        });
        Mapping {
            layout,
            channels: names(layout).len().try_into().unwrap_or(u32::MAX),
            note,
        }
    };
    let Some(channels) = channels_of(stream) else {
        return match by_count(known, stream.channels) {
            Some(layout) if names(layout).len() == stream.channels as usize => {
                let what = "the source does not say where its channels belong";
                mapped(
                    layout,
                    (stream.channels > 2).then(|| {
                        format!("each channel keeps its place in the order, since {what}")
                    }),
                )
            }
            Some(layout) => mapped(
                layout,
                Some("its channels fill the first places".to_owned()),
            ),
            None => mapped(
                "7.1",
                Some(
                    "the channels after the eighth are mixed into the front left and right"
                        .to_owned(),
                ),
            ),
        };
    };
    if codec == AudioCodec::Flac
        && let Some(layout) = FLAC_TOO
            .iter()
            .find(|layout| same(&names(layout), &channels))
    {
        return mapped(layout, None);
    }
    if let Some(layout) = known.iter().find(|layout| same(&names(layout), &channels)) {
        return mapped(layout, None);
    }
    let names_of = [renamed(&channels), renamed_to_side(&channels)];
    let find = |fits: &dyn Fn(&[&str], &[&str]) -> bool| {
        let fitting = |layout: &&&str| names_of.iter().any(|own| fits(&names(layout), own));
        known.iter().find(fitting)
    };
    if let Some(layout) = find(&same) {
        return mapped(layout, Some("each channel is kept".to_owned()));
    }
    let holds = |layout: &[&str], own: &[&str]| own.iter().all(|name| layout.contains(name));
    if let Some(layout) = find(&holds) {
        return mapped(layout, Some("its other channels are silent".to_owned()));
    }
    let [renamed, _] = names_of;
    mapped(
        nearest(known, &renamed),
        Some("the other channels are mixed into these".to_owned()),
    )
}

/// The layout for a track of which only the number of channels is known, such as the largest part of
/// one that changes.
#[must_use]
pub fn for_count(codec: AudioCodec, channels: u32) -> &'static str {
    let known = match codec {
        AudioCodec::Aac => AAC,
        AudioCodec::Opus | AudioCodec::Flac => XIPH,
    };
    by_count(known, channels).unwrap_or("7.1")
}

/// The number of channels of a layout by ffmpeg's name; 0 for one that is not known.
#[must_use]
pub fn count(layout: &str) -> u32 {
    names(layout).len().try_into().unwrap_or(u32::MAX)
}

/// The filter that brings a track's channels into `layout`; `None` where they are in it already.
///
/// Channels are addressed by name, or by number where the source gives them none: a number means the
/// same to every version of ffmpeg, whatever layout that guesses.
#[must_use]
pub fn filter(stream: &AudioStream, layout: &str) -> Option<String> {
    let target = names(layout);
    let gains: Vec<(usize, String, f64)> = match channels_of(stream) {
        Some(channels) if same(&channels, &target) => return None,
        Some(channels) => {
            let gains = channels.iter().enumerate().flat_map(|(place, channel)| {
                // `pan` reads no digits in names.
                let name = match channel.bytes().all(|byte| byte.is_ascii_uppercase()) {
                    true => (*channel).to_owned(),
                    false => format!("c{place}"),
                };
                let sinks = sinks(channel, &channels, &target);
                sinks
                    .into_iter()
                    .map(move |(sink, gain)| (sink, name.clone(), gain))
            });
            gains.collect()
        }
        None if stream.channels == 1 && layout == "mono" => return None,
        None if stream.channels == 2 && layout == "stereo" => return None,
        None => {
            let own = (0..stream.channels as usize).flat_map(|channel| {
                let name = format!("c{channel}");
                match target.len() {
                    places if channel < places => vec![(channel, name, 1.0)],
                    1 => vec![(0, name, SHARED)],
                    _ => vec![(0, name.clone(), SHARED), (1, name, SHARED)],
                }
            });
            own.collect()
        }
    };
    let mut filter = format!("pan={layout}");
    for (place, channel) in target.iter().enumerate() {
        let mut terms = String::new();
        for (_, from, gain) in gains.iter().filter(|(sink, _, _)| *sink == place) {
            if !terms.is_empty() {
                terms.push('+');
            }
            if (gain - 1.0).abs() > 1e-6 {
                write!(terms, "{gain:.3}*").ok();
            }
            terms.push_str(from);
        }
        if !terms.is_empty() {
            write!(filter, "|{channel}={terms}").ok();
        }
    }
    Some(filter)
}

/// Where a channel goes, as places of the target with gains; nothing for low frequencies that the
/// target has no place for, which a downmix leaves out.
fn sinks(channel: &str, source: &[&str], target: &[&str]) -> Vec<(usize, f64)> {
    let mut found = Vec::new();
    send(channel, 1.0, source, target, 0, &mut found);
    found
}

fn send(
    channel: &str,
    gain: f64,
    source: &[&str],
    target: &[&str],
    depth: usize,
    found: &mut Vec<(usize, f64)>,
) {
    if let Some(place) = target.iter().position(|name| *name == channel) {
        found.push((place, gain));
        return;
    }
    // A pair that takes a free pair's place keeps its level, one that joins another gives way.
    let beside = |name: &str| if source.contains(&name) { SHARED } else { 1.0 };
    let (ways, left_out): (&[(&str, f64)], bool) = match channel {
        "LFE" => (&[], true),
        "LFE2" => (&[("LFE", SHARED)], false),
        "FL" | "FR" => (&[("FC", SHARED)], false),
        "FC" => (&[("FL", SHARED), ("FR", SHARED)], false),
        "BL" if target.contains(&"SL") => (&[("SL", beside("SL"))], false),
        "BR" if target.contains(&"SR") => (&[("SR", beside("SR"))], false),
        "BL" | "BR" | "SL" | "SR" if target.contains(&"BC") => (&[("BC", SHARED)], false),
        "SL" if target.contains(&"BL") => (&[("BL", beside("BL"))], false),
        "SR" if target.contains(&"BR") => (&[("BR", beside("BR"))], false),
        "BL" | "SL" => (&[("FL", SHARED)], false),
        "BR" | "SR" => (&[("FR", SHARED)], false),
        "BC" if target.contains(&"BL") => (&[("BL", SHARED), ("BR", SHARED)], false),
        "BC" => (&[("SL", SHARED), ("SR", SHARED)], false),
        "FLC" | "WL" | "TFL" | "BFL" | "TSL" if target.contains(&"FL") => {
            (&[("FL", SHARED)], false)
        }
        "FRC" | "WR" | "TFR" | "BFR" | "TSR" if target.contains(&"FR") => {
            (&[("FR", SHARED)], false)
        }
        "TFC" | "BFC" => (&[("FC", SHARED)], false),
        "TC" => (&[("FL", 0.5), ("FR", 0.5)], false),
        "TBL" | "SDL" => (&[("BL", SHARED)], false),
        "TBR" | "SDR" => (&[("BR", SHARED)], false),
        "TBC" => (&[("BC", SHARED)], false),
        "DL" | "BIL" => (&[("FL", 1.0)], false),
        "DR" | "BIR" => (&[("FR", 1.0)], false),
        _ => (&[("FL", 0.5), ("FR", 0.5)], false),
    };
    // No chain above is longer; a target without any of them is none of ours.
    if left_out || depth > 4 {
        return;
    }
    for (next, share) in ways {
        send(next, gain * share, source, target, depth + 1, found);
    }
}

/// The largest layout that no channel group of the source is missing for.
fn nearest(known: &'static [&'static str], channels: &[&str]) -> &'static str {
    let has = |name: &str| channels.contains(&name);
    let rear = has("BL") || has("BC") || has("TBL") || has("TBC");
    let side = has("SL");
    let wanted = match (has("LFE") || has("LFE2"), rear, side) {
        (_, true, true) => "7.1",
        (true, ..) => "5.1",
        (false, false, false) if !has("FC") && !has("FLC") => "stereo",
        (false, ..) => "5.0",
    };
    known
        .iter()
        .find(|layout| **layout == wanted)
        .copied()
        .unwrap_or("stereo")
}

/// The smallest layout with room for that many channels.
fn by_count(known: &'static [&'static str], channels: u32) -> Option<&'static str> {
    let roomy = known
        .iter()
        .find(|layout| names(layout).len() >= channels as usize);
    roomy.copied()
}

/// The channels that a track's layout names; `None` where it names none.
fn channels_of(stream: &AudioStream) -> Option<Vec<&str>> {
    let layout = stream.layout.as_deref()?;
    let standard = names(layout);
    let channels = if standard.is_empty() {
        // "3 channels (FL+FR+LFE2)"
        let (_, listed) = layout.split_once('(')?;
        listed.strip_suffix(')')?.split('+').collect()
    } else {
        standard
    };
    // Names of ambisonic components and unused channels tell no place.
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'2');
    let usable = channels.len() == stream.channels as usize
        && channels.iter().all(is_name)
        && !channels
            .iter()
            .any(|name| name.starts_with("AMBI") || name.starts_with("UN"));
    usable.then_some(channels)
}

fn names(layout: &str) -> Vec<&'static str> {
    let known = LAYOUTS.iter().find(|(name, _)| *name == layout);
    known.map_or_else(Vec::new, |(_, channels)| channels.split('+').collect())
}

fn same(a: &[&str], b: &[&str]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.contains(name))
}

/// Side surrounds called back ones where there are no others, and pairs that mean left and right.
fn renamed<'a>(channels: &[&'a str]) -> Vec<&'a str> {
    let no_back = !channels.contains(&"BL");
    let rename = |name: &&'a str| match *name {
        "SL" if no_back && !channels.contains(&"BC") => "BL",
        "SR" if no_back && !channels.contains(&"BC") => "BR",
        "DL" | "BIL" => "FL",
        "DR" | "BIR" => "FR",
        name => name,
    };
    channels.iter().map(rename).collect()
}

/// Back surrounds called side ones, as 6.1 has them, where a back centre takes their place.
fn renamed_to_side<'a>(channels: &[&'a str]) -> Vec<&'a str> {
    let makes_room = channels.contains(&"BC") && !channels.contains(&"SL");
    let rename = |name: &&'a str| match *name {
        "BL" if makes_room => "SL",
        "BR" if makes_room => "SR",
        name => name,
    };
    channels.iter().map(rename).collect()
}

fn codec_name(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "AAC",
        AudioCodec::Opus => "Opus",
        AudioCodec::Flac => "FLAC",
    }
}

/// The layout as a sentence names it.
fn called(stream: &AudioStream) -> String {
    match &stream.layout {
        Some(layout) => layout.clone(),
        None => format!("layout of {} channels without places", stream.channels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(channels: u32, layout: Option<&str>) -> AudioStream {
        AudioStream {
            index: 1,
            codec: "pcm_s16le".to_owned(),
            sample_rate: 48_000,
            channels,
            layout: layout.map(str::to_owned),
            language: None,
            title: None,
            default: true,
        }
    }

    fn mapped(codec: AudioCodec, layout: &str) -> &'static str {
        deliverable(codec, &stream(count(layout), Some(layout))).layout
    }

    #[test]
    fn layouts_go_where_their_channels_have_room() {
        for (layout, aac, opus, flac) in [
            ("mono", "mono", "mono", "mono"),
            ("downmix", "stereo", "stereo", "stereo"),
            ("2.1", "5.1", "5.1", "5.1"),
            ("3.0(back)", "4.0", "6.1", "6.1"),
            ("4.0", "4.0", "6.1", "6.1"),
            ("quad", "5.0", "quad", "quad"),
            ("quad(side)", "5.0", "quad", "quad(side)"),
            ("5.0(side)", "5.0", "5.0", "5.0(side)"),
            ("5.1(side)", "5.1", "5.1", "5.1(side)"),
            ("hexagonal", "5.0", "6.1", "6.1"),
            ("6.0", "7.1", "6.1", "6.1"),
            ("6.1", "7.1", "6.1", "6.1"),
            ("6.1(back)", "5.1", "6.1", "6.1"),
            ("6.1(front)", "5.1", "5.1", "5.1"),
            ("7.0", "7.1", "7.1", "7.1"),
            ("7.1", "7.1", "7.1", "7.1"),
            ("7.1(wide)", "5.1", "5.1", "5.1"),
            ("octagonal", "7.1", "7.1", "7.1"),
            ("22.2", "7.1", "7.1", "7.1"),
        ] {
            assert_eq!(mapped(AudioCodec::Aac, layout), aac, "{layout}");
            assert_eq!(mapped(AudioCodec::Opus, layout), opus, "{layout}");
            assert_eq!(mapped(AudioCodec::Flac, layout), flac, "{layout}");
        }
    }

    #[test]
    fn only_a_change_is_noted() {
        for layout in AAC {
            let own = deliverable(AudioCodec::Aac, &stream(count(layout), Some(layout)));
            assert_eq!((own.layout, own.note), (*layout, None));
        }
        let side = deliverable(AudioCodec::Aac, &stream(6, Some("5.1(side)")));
        let note = "the sound in stream 1 is delivered as 5.1: AAC has no 5.1(side), and each channel is kept";
        assert_eq!(side.note.as_deref(), Some(note));
        assert_eq!(deliverable(AudioCodec::Aac, &stream(2, None)).note, None);
    }

    #[test]
    fn filters_name_what_they_move() {
        let of = |channels, layout, target| filter(&stream(channels, layout), target);
        assert_eq!(of(6, Some("5.1"), "5.1"), None);
        assert_eq!(of(2, None, "stereo"), None);
        assert_eq!(
            of(6, Some("5.1(side)"), "5.1").unwrap(),
            "pan=5.1|FL=FL|FR=FR|FC=FC|LFE=LFE|BL=SL|BR=SR"
        );
        assert_eq!(
            of(7, Some("6.1(back)"), "5.1").unwrap(),
            "pan=5.1|FL=FL|FR=FR|FC=FC|LFE=LFE|BL=BL+0.707*BC|BR=BR+0.707*BC"
        );
        assert_eq!(
            of(6, Some("5.1(side)"), "stereo").unwrap(),
            "pan=stereo|FL=FL+0.707*FC+0.707*SL|FR=FR+0.707*FC+0.707*SR"
        );
        assert_eq!(of(3, None, "3.0").unwrap(), "pan=3.0|FL=c0|FR=c1|FC=c2");
        assert_eq!(
            of(3, Some("3 channels (FL+FR+LFE2)"), "5.1").unwrap(),
            "pan=5.1|FL=FL|FR=FR|LFE=0.707*c2"
        );
    }

    /// No channel of a standard layout is lost, but for low frequencies in a stereo mix.
    #[test]
    fn every_channel_is_heard_somewhere() {
        for (layout, channels) in LAYOUTS {
            for target in AAC.iter().chain(XIPH).filter(|target| **target != "mono") {
                let source: Vec<&str> = channels.split('+').collect();
                for channel in &source {
                    let is_low = channel.starts_with("LFE");
                    let heard = sinks(channel, &source, &names(target));
                    assert!(
                        is_low || !heard.is_empty(),
                        "{channel} of {layout} in {target}"
                    );
                }
            }
        }
    }
}
