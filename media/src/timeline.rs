//! The options that put every run over a source on one timeline.

use std::ffi::OsString;

use reelmill_common::Timeline;

/// Options before a source's `-i`. With `copy_timestamps` the source's own timestamps are used as
/// they are; else ffmpeg mends discontinuities.
pub(crate) fn before_input(copy_timestamps: bool, timeline: &Timeline) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    if copy_timestamps {
        args.push("-copyts".into());
        if timeline.offset_us > 0 {
            let offset = format!("{}us", timeline.offset_us);
            args.extend(["-itsoffset".into(), offset.into()]);
        }
    }
    args
}

/// Options before the `-i` of a run that encodes no picture, but may have to read one. ffmpeg 5.1 expects
/// other decoding times of a picture that is copied than of one that is decoded; of a decoder that
/// skips all but keyframes it expects the same, and that costs little.
pub(crate) fn without_picture(copy_timestamps: bool, timeline: &Timeline) -> Vec<OsString> {
    match copy_timestamps || timeline.streams.is_empty() {
        true => Vec::new(),
        false => ["-skip_frame:v", "nokey"].map(OsString::from).to_vec(),
    }
}

/// An output that reads the streams which other runs over the same source encode, and makes nothing
/// of them: `own` is the stream that this run encodes. Copied sound counts like decoded sound when
/// ffmpeg mends timestamps.
pub(crate) fn others(
    copy_timestamps: bool,
    timeline: &Timeline,
    own: Option<u32>,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let others = timeline.streams.iter().filter(|&&index| Some(index) != own);
    for stream in others.filter(|_| !copy_timestamps) {
        args.extend(["-map".into(), format!("0:{stream}").into()]);
    }
    if !args.is_empty() {
        args.extend(["-c:a", "copy", "-f", "null", "-"].map(OsString::from));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_the_same_streams() {
        let timeline = Timeline {
            offset_us: 1,
            streams: vec![0, 1, 3],
        };
        let mended = others(false, &timeline, Some(1));
        let mended: Vec<_> = mended.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(mended.join(" "), "-map 0:0 -map 0:3 -c:a copy -f null -");
        assert!(before_input(false, &timeline).is_empty());
        let copied = before_input(true, &timeline);
        assert_eq!(copied, ["-copyts", "-itsoffset", "1us"]);
        assert!(others(true, &timeline, Some(1)).is_empty());
        assert!(others(false, &Timeline::default(), Some(1)).is_empty());
        assert_eq!(without_picture(false, &timeline).len(), 2);
        assert!(without_picture(true, &timeline).is_empty());
        assert!(without_picture(false, &Timeline::default()).is_empty());
    }
}
