//! What is said of a source that ffprobe refuses.

use reelmill_common::Retryable as _;
use reelmill_common::manifest::SourceInfo;
use reelmill_media::MediaError;
use reelmill_stage::StageError;

/// Bytes of a source's beginning that tell an image from a video.
pub(crate) const BEGINNING: u64 = 16;

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

/// ffprobe's refusal in words for whoever sent the source.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_first_bytes() {
        let cases: [(&[u8], Option<&str>); 9] = [
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
