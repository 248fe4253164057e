//! Compares the frames of a rendition with those of its source, one by one.
//!
//! Lossy encoders change every sample, so that equality proves nothing here. A frame passes when it
//! is close enough to the source frame of its time ([`Floor`]), closer to it than to the frames
//! before and after it (else it is doubled, torn or too late), closest where it lies (else it is
//! shifted), shows no more combs than it, and has its colours where the source is flat.

use std::collections::VecDeque;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::frames::Frame;

/// Tiles in a row and in a column, in which motion is compared.
const TILES: usize = 8;
/// Tiles in a row and in a column, in which colours are compared.
const PATCHES: usize = 24;
/// A tile moves when two source frames differ in it by more than this mean square.
const MOVING: f64 = 50.0;
/// How much closer, as a share of the squared error, another source frame must be to be the one
/// that is shown.
const CLOSER: f64 = 0.5;
/// The share of the moving tiles that must show another frame.
const TORN_SHARE: f64 = 0.1;
/// By how much a line must differ from both its neighbours to be the tooth of a comb.
const TOOTH: i32 = 12;
/// The share of pixels in combs that a frame may have beyond twice that of its source.
const COMBED_SHARE: f64 = 0.004;
/// A patch is flat when no colour in it varies by more than this mean square.
const FLAT: f64 = 6.0;
/// How far a colour of a flat patch may be from the source's.
const COLOUR_TOLERANCE: f64 = 4.5;
/// The share of flat patches that may be further off: encoders ring beside edges.
const COLOUR_SHARE: f64 = 0.01;
/// Mean square error below which a frame cannot be shifted in a way that is seen.
const UNSEEN: f64 = 4.0;

/// What a profile promises of the picture.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// The least PSNR of the luma of any frame, in decibels.
    pub psnr_db: f64,
}

/// A frame that a viewer would notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaw {
    /// The number of the delivered frame.
    pub frame: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A delivered frame and the source's of the same time.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The number of the delivered frame.
    pub frame: usize,
    /// The delivered frame.
    pub ours: Frame,
    /// The source's.
    pub truth: Frame,
}

/// What was seen of a rendition.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Frames compared.
    pub frames: usize,
    /// The least PSNR of the luma, in decibels.
    pub least_psnr_db: f64,
    /// The worst frame: the first flawed one, else the one of the least PSNR.
    pub worst: Option<Pair>,
    /// Flawed frames.
    pub flaws: Vec<Flaw>,
    /// What is wrong with the colours.
    pub colour: Option<String>,
    /// The mean luma of each delivered frame.
    pub luma: Vec<f64>,
    /// The mean luma of each source frame that was read.
    pub source_luma: Vec<f64>,
}

/// Compares every delivered frame with the source frame whose number `partner` gives for it; the
/// numbers never decrease.
///
/// # Errors
/// When a frame cannot be read.
pub fn compare(
    mut source: impl FnMut() -> Result<Option<Frame>>,
    mut ours: impl FnMut() -> Result<Option<Frame>>,
    partner: &[usize],
    floor: Floor,
) -> Result<Seen> {
    let mut seen = Seen {
        least_psnr_db: f64::INFINITY,
        ..Seen::default()
    };
    let mut colours = Colours::default();
    // The source frames before, at and after the present one, and the number of the first.
    let (mut window, mut first, mut ended) = (VecDeque::<Frame>::new(), 0, false);
    for (number, wanted) in partner.iter().enumerate() {
        let Some(frame) = ours()? else { break };
        while !ended && first + window.len() <= wanted + 1 {
            match source()? {
                Some(frame) => {
                    seen.source_luma.push(frame.mean_luma());
                    window.push_back(frame);
                }
                None => ended = true,
            }
            while window.len() > 3 || (first + 1 < *wanted && window.len() > 1) {
                window.pop_front();
                first += 1;
            }
        }
        while first + 1 < *wanted && window.len() > 1 {
            window.pop_front();
            first += 1;
        }
        let Some(truth) = wanted.checked_sub(first).and_then(|at| window.get(at)) else {
            break;
        };
        let around = [wanted.wrapping_sub(first + 1), wanted + 1 - first];
        let others: Vec<&Frame> = around.iter().filter_map(|at| window.get(*at)).collect();
        seen.luma.push(frame.mean_luma());
        seen.frames += 1;
        let psnr_db = psnr_db(&frame, truth);
        colours.add(number, &frame, truth);
        let what = if psnr_db < floor.psnr_db {
            Some(format!(
                "PSNR is {psnr_db:.1} dB, {:.0} asked for",
                floor.psnr_db
            ))
        } else if others.iter().any(|other| shows(&frame, truth, other)) {
            Some("it shows the frame before or after it, in part or whole".to_owned())
        } else if is_shifted(&frame, truth) {
            Some("it is shifted".to_owned())
        } else if combed_share(&frame) > 2.0 * combed_share(truth) + COMBED_SHARE {
            let share = 100.0 * combed_share(&frame);
            Some(format!("{share:.1} % of it are combs"))
        } else {
            None
        };
        let worse = match &what {
            Some(_) => seen.flaws.is_empty(),
            None => seen.flaws.is_empty() && psnr_db < seen.least_psnr_db,
        };
        seen.least_psnr_db = seen.least_psnr_db.min(psnr_db);
        if let Some(what) = what {
            let frame = number;
            seen.flaws.push(Flaw { frame, what });
        }
        if worse {
            seen.worst = Some(Pair {
                frame: number,
                truth: truth.clone(),
                ours: frame,
            });
        }
    }
    while let Some(frame) = source()? {
        seen.source_luma.push(frame.mean_luma());
    }
    seen.colour = colours.judge();
    Ok(seen)
}

/// The sum of the squared differences of two rows.
fn squares(a: &[u8], b: &[u8]) -> u64 {
    let square = |(a, b): (&u8, &u8)| {
        let by = i32::from(*a) - i32::from(*b);
        (by * by).unsigned_abs()
    };
    a.chunks(4096)
        .zip(b.chunks(4096))
        .map(|(a, b)| u64::from(a.iter().zip(b).map(square).sum::<u32>()))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "a mean of bytes")]
fn mean(sum: u64, count: usize) -> f64 {
    sum as f64 / count.max(1) as f64
}

/// How close the luma of two frames is; 99 dB where it is equal.
fn psnr_db(a: &Frame, b: &Frame) -> f64 {
    let error = mean(squares(&a.luma, &b.luma), a.luma.len());
    if error <= 0.0 {
        return 99.0;
    }
    (10.0 * (255.0 * 255.0 / error).log10()).min(99.0)
}

/// The bounds of a part of a length that is divided into so many.
fn part(length: usize, of: usize, index: usize) -> std::ops::Range<usize> {
    length * index / of..length * (index + 1) / of
}

/// Whether a frame shows `other` instead of `truth` in a good part of what differs between them.
fn shows(frame: &Frame, truth: &Frame, other: &Frame) -> bool {
    let (width, height) = (frame.size.0 as usize, frame.size.1 as usize);
    let (mut moving, mut wrong) = (0_u32, 0_u32);
    for tile in 0..TILES * TILES {
        let columns = part(width, TILES, tile % TILES);
        let rows = part(height, TILES, tile / TILES);
        let pixels = columns.len() * rows.len();
        let (mut energy, mut to_truth, mut to_other) = (0, 0, 0);
        for y in rows {
            let row = y * width + columns.start..y * width + columns.end;
            let [ours, truth, other] = [frame, truth, other].map(|frame| &frame.luma[row.clone()]);
            energy += squares(truth, other);
            to_truth += squares(ours, truth);
            to_other += squares(ours, other);
        }
        if mean(energy, pixels) < MOVING {
            continue;
        }
        moving += 1;
        wrong += u32::from(mean(to_other, pixels) < CLOSER * mean(to_truth, pixels));
    }
    wrong > 0 && f64::from(wrong) >= TORN_SHARE * f64::from(moving)
}

/// Whether a frame lies a pixel or two beside its source.
fn is_shifted(frame: &Frame, truth: &Frame) -> bool {
    let (width, height) = (frame.size.0 as usize, frame.size.1 as usize);
    if width < 16 || height < 16 {
        return false;
    }
    let error = |right: usize, down: usize| {
        // Compares without the border, so that every shift has as many pixels.
        let mut sum = 0;
        for y in 2..height - 2 {
            let ours = y * width + 2..(y + 1) * width - 2;
            let from = (y + down - 2) * width + right;
            sum += squares(
                &frame.luma[ours.clone()],
                &truth.luma[from..from + ours.len()],
            );
        }
        mean(sum, (width - 4) * (height - 4))
    };
    let in_place = error(2, 2);
    if in_place < UNSEEN {
        return false;
    }
    let shifts = [
        (1, 2),
        (3, 2),
        (2, 1),
        (2, 3),
        (0, 2),
        (4, 2),
        (2, 0),
        (2, 4),
    ];
    shifts
        .iter()
        .any(|(right, down)| error(*right, *down) < CLOSER * in_place)
}

/// The share of pixels whose line differs from those above and below it, which are alike.
fn combed_share(frame: &Frame) -> f64 {
    let (width, height) = (frame.size.0 as usize, frame.size.1 as usize);
    let mut combed = 0_u64;
    for y in 1..height.saturating_sub(1) {
        let row = |y: usize| &frame.luma[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        for x in 0..width {
            let [a, b, c] = [above[x], here[x], below[x]].map(i32::from);
            let tooth = (b - a > TOOTH && b - c > TOOTH) || (a - b > TOOTH && c - b > TOOTH);
            combed += u64::from(tooth && (a - c).abs() < TOOTH);
        }
    }
    mean(combed, width * height)
}

/// What is found of colours over all frames.
#[derive(Debug, Default)]
struct Colours {
    patches: u64,
    off: u64,
    worst: f64,
    example: String,
}

impl Colours {
    /// Compares the flat patches of a frame.
    fn add(&mut self, number: usize, ours: &Frame, truth: &Frame) {
        let (width, height) = (ours.size.0 as usize, ours.size.1 as usize);
        for patch in 0..PATCHES * PATCHES {
            let columns = part(width, PATCHES, patch % PATCHES);
            let rows = part(height, PATCHES, patch / PATCHES);
            if columns.len() < 8 || rows.len() < 8 || !is_flat(truth, &columns, &rows) {
                continue;
            }
            // Chroma bleeds over edges: the middle of the patch counts.
            let inner = |whole: &std::ops::Range<usize>| {
                whole.start + whole.len() / 4..whole.end - whole.len() / 4
            };
            let (columns, rows) = (inner(&columns), inner(&rows));
            let (a, b) = (
                colour(ours, &columns, &rows),
                colour(truth, &columns, &rows),
            );
            let off = (0..3).map(|i| (a[i] - b[i]).abs()).fold(0.0, f64::max);
            self.patches += 1;
            self.off += u64::from(off > COLOUR_TOLERANCE);
            if off > self.worst {
                let say = |c: [f64; 3]| format!("({:.0},{:.0},{:.0})", c[0], c[1], c[2]);
                self.worst = off;
                self.example = format!(
                    "{} is shown as {} at {},{} of frame {number}",
                    say(b),
                    say(a),
                    columns.start,
                    rows.start
                );
            }
        }
    }

    fn judge(self) -> Option<String> {
        let share = mean(self.off, usize::try_from(self.patches).unwrap_or(1));
        (share > COLOUR_SHARE).then(|| {
            format!(
                "{:.1} % of the flat patches have another colour: {}",
                share * 100.0,
                self.example
            )
        })
    }
}

/// The mean colour of a part of a frame.
fn colour(
    frame: &Frame,
    columns: &std::ops::Range<usize>,
    rows: &std::ops::Range<usize>,
) -> [f64; 3] {
    let width = frame.size.0 as usize;
    let mut sums = [0_u64; 3];
    for y in rows.clone() {
        for pixel in frame.rgb[3 * (y * width + columns.start)..3 * (y * width + columns.end)]
            .chunks_exact(3)
        {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(*value);
            }
        }
    }
    sums.map(|sum| mean(sum, columns.len() * rows.len()))
}

/// Whether all pixels of a part of a frame have nearly one colour.
fn is_flat(frame: &Frame, columns: &std::ops::Range<usize>, rows: &std::ops::Range<usize>) -> bool {
    let width = frame.size.0 as usize;
    let means = colour(frame, columns, rows);
    let mut sums = [0.0; 3];
    for y in rows.clone() {
        for pixel in frame.rgb[3 * (y * width + columns.start)..3 * (y * width + columns.end)]
            .chunks_exact(3)
        {
            for ((sum, mean), value) in sums.iter_mut().zip(means).zip(pixel) {
                *sum += (f64::from(*value) - mean).powi(2);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    let pixels = (columns.len() * rows.len()) as f64;
    sums.iter().all(|sum| sum / pixels < FLAT)
}
