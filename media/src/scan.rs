//! The packets of a source's streams, one after another: one run of ffprobe that reads the whole
//! source once and decodes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::error::MediaError;
use crate::ffprobe;
use crate::input::Input;
use crate::process::{Limits, run};
use crate::tools::Tools;

/// A packet as the demuxer gives it, in the order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The stream's index in the container.
    pub stream: u32,
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
    /// Encrypted, as the container says.
    pub encrypted: bool,
}

/// What a scan tells beside packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// How many streams were known at the end of the source: more than at its start where streams
    /// begin later.
    pub streams: u32,
    /// How often the demuxer complained.
    pub complaints: u64,
}

/// Bounds for reading a whole source: a slow disk and a hundred hours of video fit in.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(6 * 3600),
    idle: Duration::from_secs(60),
    cpu: Duration::from_secs(3600),
    memory: 2 << 30,
    file_size: 0,
};

/// The arguments of a scan.
#[must_use]
pub fn args(input: &Input) -> Vec<OsString> {
    let shows = [
        "-show_entries",
        "packet=stream_index,pts,dts,duration,size,flags:packet_side_data=side_data_type:format=nb_streams",
        "-of",
        "csv=print_section=0",
    ];
    ffprobe::args(&shows, input.args())
}

/// Gives every packet to `on_packet`; memory does not grow with the source.
///
/// # Errors
/// Any [`MediaError`].
pub async fn scan(
    tools: &Tools,
    input: &Input,
    dir: &Path,
    on_packet: &mut (dyn FnMut(Packet) + Send),
) -> Result<Scanned, MediaError> {
    let invocation = ffprobe::invocation(
        tools,
        "read the source's packets",
        args(input),
        input,
        dir,
        LIMITS,
    );
    let mut scanned = Scanned::default();
    let ended = run(invocation, &mut |line| match parse(line) {
        Some(packet) => on_packet(packet),
        None => scanned.streams = line.parse().unwrap_or(scanned.streams),
    })
    .await?;
    scanned.complaints = ended.complaints;
    Ok(scanned)
}

/// Reads a line such as `0,1890,-5310,3600,248952,K_`, behind which side data are named; `N/A`
/// stands for what a packet lacks.
fn parse(line: &str) -> Option<Packet> {
    let mut fields = line.split(',');
    let tick = |field: Option<&str>| field.and_then(|text| text.parse::<i64>().ok());
    let stream = fields.next()?.parse().ok()?;
    let (pts, dts, duration) = (fields.next(), fields.next(), fields.next());
    let size = fields.next()?.parse().ok()?;
    let flags = fields.next()?;
    Some(Packet {
        stream,
        pts: tick(pts),
        dts: tick(dts),
        duration: tick(duration).filter(|&ticks| ticks > 0),
        size,
        key: flags.contains('K'),
        discard: flags.contains('D'),
        encrypted: fields.any(|side_data| side_data == "Encryption info"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_generations() {
        let key = parse("2,1890,-5310,3600,248952,K_").unwrap();
        assert_eq!(
            (key.stream, key.pts, key.dts, key.duration),
            (2, Some(1890), Some(-5310), Some(3600))
        );
        assert_eq!((key.size, key.key, key.encrypted), (248_952, true, false));
        let dropped = parse("0,N/A,N/A,N/A,17,_D_,").unwrap();
        assert_eq!(
            (dropped.pts, dropped.duration, dropped.discard, dropped.key),
            (None, None, true, false)
        );
        let encrypted = parse("0,0,0,1,5,K_,New Extradata,Encryption info").unwrap();
        assert!(encrypted.encrypted && encrypted.key);
        assert_eq!(parse(""), None);
        assert_eq!(parse("side_data,1"), None);
        assert_eq!(parse("3"), None);
    }
}
