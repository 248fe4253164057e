//! What the tables of an MP4 say, held against its certificate.

use reelmill_common::certificate::CertifiedOutput;
use reelmill_media::mp4::{Track, TrackKind};

/// Holds what an output's tables say against its certificate: picture size, number of audio tracks,
/// what each is and how long. Gives what the tables promise of each audio track.
pub(super) fn audio_as_certified(
    tracks: &[Track],
    output: &CertifiedOutput,
) -> Result<Vec<Promised>, String> {
    let name = &output.path;
    let of = |kind| tracks.iter().filter(move |track| track.kind == kind);
    if let Some(video) = &output.video
        && let Some(track) = of(TrackKind::Video).next()
        && (track.width, track.height) != (video.width, video.height)
    {
        return Err(format!(
            "`{name}` is {}x{}, {}x{} is certified",
            track.width, track.height, video.width, video.height
        ));
    }
    let (ours, theirs) = (of(TrackKind::Audio).count(), output.audio.len());
    if ours != theirs {
        return Err(format!(
            "`{name}` has {ours} audio tracks, {theirs} are certified"
        ));
    }
    let mut audio = Vec::new();
    for (track, certified) in of(TrackKind::Audio).zip(&output.audio) {
        let number = certified.track;
        let same =
            track.channels == certified.channels && track.sample_rate == certified.sample_rate;
        let Some(delay) = delay(&track.codec).filter(|_| same) else {
            return Err(format!(
                "audio track {number} of `{name}` is not the one certified"
            ));
        };
        let samples = track.duration - delay;
        if u64::try_from(samples) != Ok(certified.samples) {
            return Err(format!(
                "audio track {number} of `{name}` has {samples} samples, {} are certified",
                certified.samples
            ));
        }
        audio.push(Promised {
            packets: track.samples,
            duration: track.duration,
            delay,
        });
    }
    Ok(audio)
}

/// What the tables of an audio track promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promised {
    pub(super) packets: u64,
    /// In samples, with the encoder's delay.
    pub(super) duration: i64,
    pub(super) delay: i64,
}

impl Promised {
    /// Compares the durations of all packets with what they decode to: a packet that is said to last
    /// longer than its samples is a hole, and what follows is played early.
    pub(super) fn lasts_as_long_as(self, decoded: u64) -> Result<(), String> {
        let decoded = i64::try_from(decoded).unwrap_or(i64::MAX);
        // An edit list may hide the delay, and only a part of the last packet be meant to be heard.
        let packet = self.duration / i64::try_from(self.packets).unwrap_or(1).max(1) + 1;
        let shortest = self.duration - self.delay - 2 * packet;
        let longest = self.duration + 2 * packet;
        if (shortest..=longest).contains(&decoded) {
            return Ok(());
        }
        Err(format!(
            "decodes to {decoded} samples, but its packets are said to last {}",
            self.duration
        ))
    }
}

/// Samples that an encoder puts before the first one; `None` for a codec that reelmill does not make.
/// It is the codec's: what an edit list hides of it depends on when the track begins.
fn delay(codec: &str) -> Option<i64> {
    match codec {
        "fLaC" => Some(0),
        "Opus" => Some(312),
        "mp4a.40.2" => Some(1024),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_last_longer_than_their_samples_are_found() {
        let promised = |duration| Promised {
            packets: 375,
            duration,
            delay: 1024,
        };
        assert!(promised(384_000).lasts_as_long_as(384_000).is_ok());
        // An edit list hides the delay, and the last packet is decoded whole.
        assert!(promised(384_000).lasts_as_long_as(383_488).is_ok());
        let hole = promised(384_000 + 4 * 48_000).lasts_as_long_as(384_000);
        assert!(hole.unwrap_err().contains("said to last 576000"));
        assert!(promised(200_000).lasts_as_long_as(384_000).is_err());
    }
}
