//! Cases of what users report, for the comparison with what a viewer of the source sees and hears.

use super::{AAC, Case, PLAIN, X264};

/// A picture that moves everywhere and whose luma is that of half a second of black, then a flash a
/// second, with a beep in each flash.
fn flashes(seconds: u32) -> String {
    format!(
        "-f lavfi -i testsrc2=s=320x240:r=25:d={seconds},eq=brightness=-0.35,\
         drawbox=c=white:t=fill:enable=between(mod(t\\,1)\\,0.499\\,0.581) \
         -f lavfi -i aevalsrc=0.5*sin(2*PI*1000*t)*between(mod(t\\,1)\\,0.5\\,0.58):s=48000:d={seconds}"
    )
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("flashes-and-beeps", "mp4", "a flash and a beep each second")
            .ff(format!("{} {X264} {AAC} {PLAIN} OUT", flashes(8)))
            .check("sound", |f| Ok(f.streams("audio").len() == 1)),
    ]
}
