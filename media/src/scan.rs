//! The packets of a source's picture, one after another: one run of ffprobe that reads the whole
//! source once and decodes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::error::MediaError;
use crate::input::Input;
use crate::process::{Invocation, Limits, run};
use crate::tools::Tools;

/// A packet as the demuxer gives it, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Presentation time in ticks of the stream, where it has one.
    pub pts: Option<i64>,
    /// Decoding time in ticks of the stream, where it has one.
    pub dts: Option<i64>,
    /// Ticks of the stream that it is presented for, where the container says so or ffprobe can
    /// work it out.
    pub duration: Option<i64>,
    /// Bytes.
    pub size: u32,
    /// Marked as a keyframe.
    pub key: bool,
    /// Decoded but not presented, as by an edit list.
    pub discard: bool,
}

/// Bounds for reading a whole source: a slow disk and a hundred hours of video fit in.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(6 * 3600),
    idle: Duration::from_secs(60),
    cpu: Duration::from_secs(3600),
    memory: 2 << 30,
    file_size: 0,
};

/// The arguments of a scan of the picture that `-map 0:V:0` chooses.
#[must_use]
pub fn args(input: &Input) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "-hide_banner",
        "-loglevel",
        "repeat+level+error",
        "-select_streams",
        "V:0",
        "-show_entries",
        "packet=pts,dts,duration,size,flags",
        "-of",
        "csv=print_section=0",
    ]
    .map(OsString::from)
    .to_vec();
    args.extend(input.args());
    args
}

/// Gives every packet of the picture to `on_packet`; memory does not grow with the source.
///
/// # Errors
/// Any [`MediaError`].
pub async fn scan(
    tools: &Tools,
    input: &Input,
    dir: &Path,
    on_packet: &mut (dyn FnMut(Packet) + Send),
) -> Result<(), MediaError> {
    let invocation = Invocation {
        action: "read the source's packets",
        program: tools.ffprobe.clone(),
        args: args(input),
        dir: dir.to_path_buf(),
        reads: input.reads(),
        connects: input.connects(),
        limits: LIMITS,
    };
    run(invocation, &mut |line| {
        if let Some(packet) = parse(line) {
            on_packet(packet);
        }
    })
    .await?;
    Ok(())
}

/// Reads a line such as `1890,-5310,3600,248952,K_`; `N/A` stands for what a packet lacks.
fn parse(line: &str) -> Option<Packet> {
    let mut fields = line.split(',');
    let tick = |field: Option<&str>| field.and_then(|text| text.parse::<i64>().ok());
    let (pts, dts, duration) = (fields.next(), fields.next(), fields.next());
    let size = fields.next()?.parse().ok()?;
    let flags = fields.next()?;
    Some(Packet {
        pts: tick(pts),
        dts: tick(dts),
        duration: tick(duration).filter(|&ticks| ticks > 0),
        size,
        key: flags.contains('K'),
        discard: flags.contains('D'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_generations() {
        let key = parse("1890,-5310,3600,248952,K_").unwrap();
        assert_eq!(
            (key.pts, key.dts, key.size, key.key),
            (Some(1890), Some(-5310), 248_952, true)
        );
        assert_eq!(key.duration, Some(3600));
        let dropped = parse("N/A,N/A,N/A,17,_D_").unwrap();
        assert_eq!(
            (dropped.pts, dropped.duration, dropped.discard, dropped.key),
            (None, None, true, false)
        );
        assert_eq!(parse(""), None);
        assert_eq!(parse("side_data,1"), None);
    }
}
