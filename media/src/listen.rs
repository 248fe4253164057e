//! Decoding sound to count it, not to keep it: what `verify` compares.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::error::MediaError;
use crate::input::Input;
use crate::process::{Invocation, Limits, run};
use crate::tools::Tools;

/// An audio track to decode from its first sample to its last.
#[derive(Clone, Debug)]
pub struct ListenRequest<'a> {
    /// The file.
    pub input: &'a Input,
    /// Which of its audio tracks, from 0.
    pub track: usize,
}

impl ListenRequest<'_> {
    /// The argument vector: a line for each decoded block to standard output.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+warning",
            "-max_error_rate",
            "1",
            "-threads",
            "1",
        ]
        .map(OsString::from)
        .to_vec();
        args.extend(self.input.args());
        args.extend(["-map".into(), format!("0:a:{}", self.track).into()]);
        args.extend(
            ["-c:a", "pcm_s16le", "-f", "framehash", "-hash", "adler32"].map(OsString::from),
        );
        args.push("pipe:1".into());
        args
    }
}

/// What came out of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Blocks of samples: one for each packet, but for those of which an edit list hides all.
    pub blocks: u64,
    /// Samples per channel.
    pub samples: u64,
}

/// Decodes an audio track and counts; memory does not grow with its length.
///
/// # Errors
/// Any [`MediaError`].
pub async fn listen(
    tools: &Tools,
    request: &ListenRequest<'_>,
    dir: &Path,
) -> Result<Heard, MediaError> {
    let invocation = Invocation {
        action: "decode a file",
        program: tools.ffmpeg.clone(),
        args: request.args(),
        dir: dir.to_path_buf(),
        reads: request.input.reads(),
        connects: request.input.connects(),
        limits: Limits {
            wall: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(300),
            cpu: Duration::from_secs(24 * 3600),
            memory: 4 << 30,
            file_size: 0,
        },
    };
    let mut heard = Heard::default();
    run(invocation, &mut |line| {
        if let Some(samples) = block(line) {
            heard.blocks += 1;
            heard.samples = heard.samples.saturating_add(samples);
        }
    })
    .await?;
    Ok(heard)
}

/// The samples of one block: `stream, dts, pts, duration, size, hash`.
fn block(line: &str) -> Option<u64> {
    if line.starts_with('#') {
        return None;
    }
    line.split(',').nth(3)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_told_from_headers() {
        assert_eq!(block("#tb 0: 1/48000"), None);
        assert_eq!(
            block("0,       1024,       1024,     1024,     4096, 1f2e3d4c"),
            Some(1024)
        );
        assert_eq!(block(""), None);
    }
}
