//! Time as integer ticks of a rational timebase. Plans hold no floating-point seconds.

use serde::{Deserialize, Serialize};

/// The length of one tick as a fraction of a second, `num / den`; both are positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u32; 2]", into = "[u32; 2]")]
pub struct Timebase {
    num: u32,
    den: u32,
}

/// Why two numbers are not a timebase.
#[derive(Debug, thiserror::Error)]
#[error("`{0}/{1}` is not a timebase: both numbers must be positive")]
pub struct InvalidTimebase(u32, u32);

impl Timebase {
    /// One microsecond, ffmpeg's own unit for seeking.
    pub const MICROS: Self = Self {
        num: 1,
        den: 1_000_000,
    };

    /// Makes a timebase of `num / den` seconds per tick.
    ///
    /// # Errors
    /// [`InvalidTimebase`] when either number is zero.
    pub fn new(num: u32, den: u32) -> Result<Self, InvalidTimebase> {
        if num == 0 || den == 0 {
            Err(InvalidTimebase(num, den))
        } else {
            Ok(Self { num, den })
        }
    }

    /// Seconds per tick, the numerator.
    #[must_use]
    pub fn num(self) -> u32 {
        self.num
    }

    /// Seconds per tick, the denominator.
    #[must_use]
    pub fn den(self) -> u32 {
        self.den
    }

    /// Converts ticks of this timebase to `to`, rounding towards minus infinity.
    #[must_use]
    pub fn rescale_floor(self, ticks: i64, to: Self) -> i64 {
        let (value, divisor) = self.ratio(ticks, to);
        saturate(value.div_euclid(divisor))
    }

    /// Converts ticks of this timebase to `to`, rounding to the nearest, halves up.
    #[must_use]
    pub fn rescale_nearest(self, ticks: i64, to: Self) -> i64 {
        let (value, divisor) = self.ratio(ticks, to);
        saturate((2 * value + divisor).div_euclid(2 * divisor))
    }

    fn ratio(self, ticks: i64, to: Self) -> (i128, i128) {
        let value = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        (value, i128::from(self.den) * i128::from(to.num))
    }

    /// Seconds, for people and estimates; never for a decision about a frame.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people and estimates only")]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl TryFrom<[u32; 2]> for Timebase {
    type Error = InvalidTimebase;
    fn try_from([num, den]: [u32; 2]) -> Result<Self, InvalidTimebase> {
        Self::new(num, den)
    }
}

impl From<Timebase> for [u32; 2] {
    fn from(tb: Timebase) -> Self {
        [tb.num, tb.den]
    }
}

impl std::fmt::Display for Timebase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// A half-open range of presentation time, `start..end` in ticks of the source stream.
///
/// `None` is the open side of the first and the last window: whatever the source holds before
/// the first planned tick or after the last one belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first tick inside.
    pub start: Option<i64>,
    /// The first tick after it.
    pub end: Option<i64>,
}

impl Window {
    /// The window that holds the whole source.
    pub const ALL: Self = Self {
        start: None,
        end: None,
    };

    /// Whether a frame presented at `pts` belongs to this window.
    #[must_use]
    pub fn contains(&self, pts: i64) -> bool {
        self.start.is_none_or(|start| pts >= start) && self.end.is_none_or(|end| pts < end)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = |tick: Option<i64>| tick.map_or_else(|| "open".to_owned(), |t| t.to_string());
        write!(f, "{}..{}", side(self.start), side(self.end))
    }
}

/// The grid on which windows and fragments begin: cell `k` starts `k * step_ms` after `origin`.
///
/// A cell's first tick is rounded up, so a frame belongs to cell `k` exactly when it is presented
/// at or after `k * step_ms`, whatever the timebase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// The first frame's PTS, where cell 0 begins.
    pub origin: i64,
    /// The unit of `origin` and of every tick this grid gives.
    pub timebase: Timebase,
    /// A cell's length in milliseconds, positive.
    pub step_ms: u32,
}

impl Grid {
    /// The cell that a tick lies in; negative before the origin.
    #[must_use]
    pub fn cell(&self, pts: i64) -> i64 {
        let value =
            (i128::from(pts) - i128::from(self.origin)) * i128::from(self.timebase.num) * 1000;
        saturate(value.div_euclid(i128::from(self.timebase.den) * i128::from(self.step_ms)))
    }

    /// The first tick of a cell.
    #[must_use]
    pub fn start(&self, cell: i64) -> i64 {
        let value = i128::from(cell) * i128::from(self.step_ms) * i128::from(self.timebase.den);
        let divisor = 1000 * i128::from(self.timebase.num);
        // Rounded up: the negative of the floor of the negative.
        saturate(i128::from(self.origin) - (-value).div_euclid(divisor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_is_half_open() {
        let window = Window {
            start: Some(10),
            end: Some(20),
        };
        assert!(!window.contains(9) && window.contains(10));
        assert!(window.contains(19) && !window.contains(20));
        assert!(Window::ALL.contains(i64::MIN));
    }

    #[test]
    fn rounding_goes_where_the_name_says() {
        let ms = Timebase::new(1, 1000).unwrap();
        let s = Timebase::new(1, 1).unwrap();
        assert_eq!(ms.rescale_floor(-1, s), -1);
        assert_eq!(ms.rescale_floor(1999, s), 1);
        assert_eq!(ms.rescale_nearest(1500, s), 2);
        assert_eq!(ms.rescale_nearest(1499, s), 1);
    }

    proptest! {
        /// Every tick lies in exactly one cell, and that cell's start is its first tick.
        #[test]
        fn cells_tile_the_timeline(
            num in 1_u32..2000, den in 1_u32..1_000_000, origin in -1_000_000_000_i64..1_000_000_000,
            step_ms in 1_u32..20_000, pts in -1_000_000_000_i64..1_000_000_000,
        ) {
            let grid = Grid { origin, timebase: Timebase::new(num, den).unwrap(), step_ms };
            let cell = grid.cell(pts);
            prop_assert!(grid.start(cell) <= pts);
            prop_assert!(grid.start(cell + 1) > pts);
            prop_assert_eq!(grid.start(0), origin);
        }
    }
}
