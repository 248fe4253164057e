//! What becomes of each audio track: its channels, its rate, where it begins. Pure.

use reelmill_common::manifest::AudioPlan;
use reelmill_common::media_info::AudioStream;
use reelmill_common::profile::{AudioCodec, Channels, Profile, audio_kbps};
use reelmill_media::layout::deliverable;

use crate::cost::audio_ms;

/// The layout that every player plays.
const STEREO: &str = "stereo";

/// Whether a format states no times for sound, so that its demuxer counts samples: raw streams, and Ogg,
/// whose positions are counts of samples.
fn counts_times(format: &str) -> bool {
    const COUNTING: [&str; 10] = [
        "aac", "ac3", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "ogg", "truehd",
    ];
    COUNTING.contains(&format)
}

/// The output tracks of one of the source's, the one for every player first. `format` is the demuxer's name,
/// `picture_us` is when the
/// picture begins, where there is one.
pub(crate) fn audio_plans(
    profile: &Profile,
    format: &str,
    stream: &AudioStream,
    seconds: f64,
    picture_us: Option<i64>,
    notes: &mut Vec<String>,
) -> Vec<AudioPlan> {
    let Some(settings) = &profile.audio else {
        return Vec::new();
    };
    let own = deliverable(settings.codec, stream);
    let is_wide = own.channels > 2;
    let plan = |stream: AudioStream, layout: &str, channels| AudioPlan {
        kbps: audio_kbps(settings, channels),
        cost_ms: audio_ms(seconds, stream.channels),
        // Without loss means the source's samples and no others.
        counted_times: counts_times(format),
        begins_us: picture_us.filter(|_| settings.codec != AudioCodec::Flac),
        layout: Some(layout.to_owned()),
        stream,
        settings: settings.clone(),
    };
    match settings.channels {
        Channels::Stereo if is_wide => vec![plan(stream.clone(), STEREO, 2)],
        Channels::StereoAndSource if is_wide => {
            notes.extend(own.note);
            let titled = |name: &str, default| AudioStream {
                title: Some(match &stream.title {
                    Some(title) => format!("{title} ({name})"),
                    None => name.to_owned(),
                }),
                default,
                ..stream.clone()
            };
            vec![
                plan(titled("stereo", stream.default), STEREO, 2),
                plan(titled(own.layout, false), own.layout, own.channels),
            ]
        }
        Channels::Source | Channels::Stereo | Channels::StereoAndSource => {
            notes.extend(own.note);
            vec![plan(stream.clone(), own.layout, own.channels)]
        }
    }
}
