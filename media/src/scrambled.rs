//! Which PIDs of a transport stream are scrambled: one run of ffprobe that reads its packets as they
//! are. ffmpeg's demuxer passes over scrambled packets without a word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::error::MediaError;
use crate::ffprobe;
use crate::input::Input;
use crate::process::{Limits, run};
use crate::tools::Tools;

/// How much of a transport stream is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// 20,000 packets: 3.8 MB, some seconds of a broadcast.
    Beginning,
    /// As far as two minutes of processor time go, about 2 GB.
    Whole,
}

/// Bounds for reading packets.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(600),
    idle: Duration::from_secs(60),
    cpu: Duration::from_secs(120),
    memory: 1 << 30,
    file_size: 0,
};

/// The arguments of a look at a transport stream's packets.
#[must_use]
pub fn args(input: &Input, reach: Reach) -> Vec<OsString> {
    let mut shows = vec![
        "-show_entries",
        "packet=data",
        "-show_data",
        "-of",
        "csv=print_section=0",
        "-f",
        "mpegtsraw",
    ];
    if reach == Reach::Beginning {
        shows.extend(["-read_intervals", "%+#20000"]);
    }
    ffprobe::args(&shows, input.args_of("mpegtsraw"))
}

/// The PIDs that have scrambled packets, as far as was looked.
///
/// # Errors
/// Any [`MediaError`].
pub async fn scrambled_pids(
    tools: &Tools,
    input: &Input,
    reach: Reach,
    dir: &Path,
) -> Result<BTreeSet<u32>, MediaError> {
    let invocation = ffprobe::invocation(
        tools,
        "read the source's transport packets",
        args(input, reach),
        input,
        dir,
        LIMITS,
    );
    let mut pids = BTreeSet::new();
    let ended = run(invocation, &mut |line| pids.extend(scrambled_pid(line))).await;
    match ended {
        Ok(_) | Err(MediaError::TimedOut { .. }) => Ok(pids),
        Err(error) => Err(error),
    }
}

/// The PID of a scrambled packet, from the first line of its dump:
/// `00000000: 4701 0090 …` is a packet of PID 0x100 with scrambling control 2.
fn scrambled_pid(line: &str) -> Option<u32> {
    let dump = line.trim_start_matches('"').strip_prefix("00000000: ")?;
    let (first, second) = (dump.get(..4)?, dump.get(5..9)?);
    let header = u32::from_str_radix(&format!("{first}{second}"), 16).ok()?;
    let is_packet = header >> 24 == 0x47;
    let is_scrambled = (header >> 6) & 3 != 0;
    (is_packet && is_scrambled).then_some((header >> 8) & 0x1fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrambled_packets_are_told_by_their_header() {
        let line = "00000000: 4741 0090 0042 f025 0001  GA...B.%..";
        assert_eq!(scrambled_pid(line), Some(0x100));
        assert_eq!(scrambled_pid("00000000: 4741 0030 0042"), None);
        assert_eq!(scrambled_pid("00000010: 4741 0090 0042"), None);
        assert_eq!(scrambled_pid("00000000: 0041 0090 0042"), None);
        assert_eq!(scrambled_pid("00000000: 47"), None);
        assert_eq!(scrambled_pid(""), None);
    }
}
