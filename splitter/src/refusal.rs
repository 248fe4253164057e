//! What is said of a source that ffprobe refuses.

use reelmill_common::Retryable as _;
use reelmill_common::manifest::SourceInfo;
use reelmill_media::MediaError;
use reelmill_stage::StageError;

/// Bytes of a source's beginning that tell an image from a video, and a whole file from one cut short.
pub(crate) const BEGINNING: u64 = 8192;

/// Demuxers of files that only name other files or addresses.
const PLAYLISTS: [&str; 9] = [
    "hls",
    "dash",
    "concat",
    "imf",
    "sdp",
    "rtsp",
    "webm_dash_manifest",
    "libcdio",
    "vobsub",
];

/// Demuxers of subtitles.
const SUBTITLES: [&str; 22] = [
    "aqtitle",
    "ass",
    "dvbsub",
    "dvbtxt",
    "jacosub",
    "microdvd",
    "mcc",
    "mpl2",
    "mpsub",
    "pjs",
    "realtext",
    "sami",
    "scc",
    "srt",
    "stl",
    "subviewer",
    "subviewer1",
    "sup",
    "tedcaptions",
    "vplayer",
    "webvtt",
    "lrc",
];

/// What image files begin with. Those in MP4's container are known by their brand.
const IMAGES: &[(&[u8], &str)] = &[
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"8BPS", "Photoshop"),
    (b"SDPX", "DPX"),
    (b"XPDS", "DPX"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
];

/// The kind of image that a file is by its first [`BEGINNING`] bytes; `None` for what may be a video.
/// GIF may be one, and so may a sequence in an AVIF file (`avis`).
pub(crate) fn image(beginning: &[u8]) -> Option<&'static str> {
    let brand = match beginning.get(4..8) {
        Some(b"ftyp") => beginning.get(8..12),
        _ => None,
    };
    match brand {
        Some(b"avif") => return Some("AVIF"),
        Some(b"heic" | b"heix" | b"heim" | b"heis" | b"mif1") => return Some("HEIF"),
        _ => {}
    }
    if beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WEBP") {
        return Some("WebP");
    }
    // A PNG whose animation is announced ahead of its first picture.
    let has = |chunk: &[u8; 4]| beginning.windows(4).position(|bytes| bytes == chunk);
    if beginning.starts_with(b"\x89PNG")
        && has(b"acTL").is_some_and(|at| has(b"IDAT").is_none_or(|picture| at < picture))
    {
        return None;
    }
    let known = IMAGES
        .iter()
        .find(|(start, _)| beginning.starts_with(start));
    known.map(|(_, name)| *name)
}

/// Whether a file begins with a box as MP4 and QuickTime files do.
fn is_mp4(beginning: &[u8]) -> bool {
    let boxes: [&[u8]; 7] = [
        b"ftyp", b"mdat", b"moov", b"free", b"skip", b"wide", b"pnot",
    ];
    let kind = beginning.get(4..8);
    kind.is_some_and(|kind| boxes.contains(&kind))
}

/// Refuses an image.
pub(crate) fn is_an_image(source: &SourceInfo, kind: &str) -> StageError {
    let message = format!(
        "`{}` is an image ({kind}): name a file with video or sound",
        source.name
    );
    StageError::permanent("not-media", message)
}

/// Turns ffprobe's refusal into a sentence for the uploader.
pub(crate) fn not_media(source: &SourceInfo, error: &MediaError, beginning: &[u8]) -> StageError {
    let name = &source.name;
    let refuse = |message: String| {
        StageError::permanent("not-media", message)
            .with_detail(error.detail())
            .with_command(error.command())
    };
    match error {
        // ffmpeg looks for the index in whatever has MP4's ending.
        MediaError::Failed { words, .. }
            if is_mp4(beginning) && words.tail.contains("moov atom not found") =>
        {
            refuse(format!(
                "`{name}` is probably an incomplete download: its index (`moov`) is missing: get the whole file"
            ))
        }
        MediaError::Failed { words, .. } if demuxer(&words.tail).is_some() => {
            // ffprobe's own words are the list of what may be opened, and say nothing of the file.
            let demuxer = demuxer(&words.tail).unwrap_or_default();
            StageError::permanent("not-media", of_a_format(name, demuxer))
        }
        MediaError::Failed { words, .. } if words.tail.contains("encryption info") => {
            let message = format!("`{name}` is encrypted: get a copy of it without encryption");
            StageError::permanent("media-encrypted", message).with_detail(&words.tail)
        }
        MediaError::Failed { .. } => refuse(format!(
            "`{name}` is not a media file that can be opened: check what it is"
        )),
        // Time alone says nothing of the source: a disk may have been slow.
        MediaError::OutOfMemory { .. }
        | MediaError::TooMuchCpu { .. }
        | MediaError::TooMuchOutput { .. } => refuse(format!(
            "`{name}` is refused: reading its header takes more than it may ({error})"
        )),
        other => StageError::of(other),
    }
}

/// The demuxer that ffprobe chose and may not use.
fn demuxer(tail: &str) -> Option<&str> {
    let mut lines = tail.lines();
    let line = lines.find(|line| line.contains("Format not on whitelist"))?;
    let (name, _) = line.strip_prefix('[')?.split_once(']')?;
    (!name.is_empty()).then_some(name)
}

/// What a file is that only a demuxer opens which may not be used.
fn of_a_format(name: &str, demuxer: &str) -> String {
    // Several names of one demuxer have commas between.
    let first = demuxer.split(',').next().unwrap_or(demuxer);
    let shown = first.to_ascii_uppercase();
    if PLAYLISTS.contains(&first) {
        format!("`{name}` is a playlist ({shown}), not a media file: send the media that it names")
    } else if SUBTITLES.contains(&first) {
        format!("`{name}` is a file of subtitles ({shown}): name a file with video or sound")
    } else if let Some(image) = first.strip_suffix("_pipe") {
        let image = image.to_ascii_uppercase();
        format!("`{name}` is an image ({image}): name a file with video or sound")
    } else {
        format!(
            "`{name}` is a file of the format {shown}, which reelmill does not open: convert it to MP4 or Matroska first"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_not_opened_is_named() {
        let says = |demuxer: &str| {
            let tail =
                format!("[{demuxer}] [error] Format not on whitelist 'mov'\nInvalid argument");
            of_a_format("x.mp4", super::demuxer(&tail).unwrap())
        };
        for (demuxer, sentence) in [
            (
                "hls",
                "`x.mp4` is a playlist (HLS), not a media file: send the media that it names",
            ),
            (
                "srt",
                "`x.mp4` is a file of subtitles (SRT): name a file with video or sound",
            ),
            (
                "qoi_pipe",
                "`x.mp4` is an image (QOI): name a file with video or sound",
            ),
            (
                "bfi",
                "`x.mp4` is a file of the format BFI, which reelmill does not open: convert it to MP4 or Matroska first",
            ),
        ] {
            assert_eq!(says(demuxer), sentence);
        }
        assert_eq!(super::demuxer("[mov] [error] moov atom not found"), None);
    }

    #[test]
    fn images_are_known_by_their_first_bytes() {
        let cases: [(&[u8], Option<&str>); 11] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08acTL\0\0IDAT", None),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0IDATacTL", Some("PNG")),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0", Some("JPEG")),
            (b"\0\0\0\x1cftypheic\0\0\0\0", Some("HEIF")),
            (b"\0\0\0\x1cftypavif\0\0\0\0", Some("AVIF")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some("WebP")),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"\0\0\0\x1cftypisom\0\0\0\0", None),
            (b"\0\0\0\x1cftypavis\0\0\0\0", None),
            (b"GIF89a", None),
            (b"", None),
        ];
        for (beginning, kind) in cases {
            assert_eq!(image(beginning), kind, "{beginning:?}");
        }
    }
}
