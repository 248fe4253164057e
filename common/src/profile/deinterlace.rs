//! The `deinterlace` setting.

use serde::{Deserialize, Serialize};

use crate::time::Timebase;

/// What becomes of interlaced frames; progressive ones are left as they are in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Deinterlace {
    /// They are delivered with both of their fields, combs and all.
    Off,
    /// Each becomes one progressive frame at its own time.
    Frames,
    /// Each becomes two progressive frames, one for each field, half a frame apart.
    Fields,
}

impl Deinterlace {
    /// The word that profile files use for [`Fields`](Self::Fields).
    pub const FIELD_RATE: &str = "field-rate";

    /// The unit in which every time of a picture with `timebase` is a whole number: half of it
    /// where fields become frames.
    ///
    /// `None` where half of it cannot be written.
    #[must_use]
    pub fn ticks(self, timebase: Timebase) -> Option<Timebase> {
        match self {
            Self::Off | Self::Frames => Some(timebase),
            Self::Fields => Timebase::new(timebase.num(), timebase.den().checked_mul(2)?).ok(),
        }
    }

    /// How many of those ticks are one of the picture's own.
    #[must_use]
    pub fn ticks_each(self) -> u32 {
        match self {
            Self::Off | Self::Frames => 1,
            Self::Fields => 2,
        }
    }
}

/// As it is written in JSON: version 1 knew the flag only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Flag(bool),
    Rate(Rate),
}

#[derive(Serialize, Deserialize)]
enum Rate {
    #[serde(rename = "field-rate")]
    Field,
}

impl From<Written> for Deinterlace {
    fn from(written: Written) -> Self {
        match written {
            Written::Flag(false) => Self::Off,
            Written::Flag(true) => Self::Frames,
            Written::Rate(Rate::Field) => Self::Fields,
        }
    }
}

impl From<Deinterlace> for Written {
    fn from(deinterlace: Deinterlace) -> Self {
        match deinterlace {
            Deinterlace::Off => Self::Flag(false),
            Deinterlace::Frames => Self::Flag(true),
            Deinterlace::Fields => Self::Rate(Rate::Field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_version_1_is_read_and_written() {
        for (deinterlace, json) in [
            (Deinterlace::Off, "false"),
            (Deinterlace::Frames, "true"),
            (Deinterlace::Fields, "\"field-rate\""),
        ] {
            assert_eq!(serde_json::to_string(&deinterlace).unwrap(), json);
            assert_eq!(
                serde_json::from_str::<Deinterlace>(json).unwrap(),
                deinterlace
            );
        }
        assert!(serde_json::from_str::<Deinterlace>("\"fields\"").is_err());
    }

    #[test]
    fn fields_need_half_ticks() {
        let pal = Timebase::new(1, 25).unwrap();
        assert_eq!(Deinterlace::Frames.ticks(pal), Some(pal));
        assert_eq!(Deinterlace::Fields.ticks(pal), Timebase::new(1, 50).ok());
        let fine = Timebase::new(1, u32::MAX).unwrap();
        assert_eq!(Deinterlace::Fields.ticks(fine), None);
    }
}
