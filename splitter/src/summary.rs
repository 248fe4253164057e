//! What planning needs to know of a source's packets, in memory that grows with the cells of the
//! grid that have any, and neither with the packets nor with how far apart they are.

use std::collections::BTreeMap;

use reelmill_common::Timebase;
use reelmill_common::profile::Deinterlace;
use reelmill_common::time::Grid;
use reelmill_media::scan::Packet;

use crate::jumps::Jumps;
use crate::last::{Last, LastFrame};

/// How many packets are looked at before the first PTS is settled: more than any codec reorders.
const SETTLE: usize = 256;

/// How many PTS are kept on each side of a cell, and with that how many frames a seam compares on
/// each of its sides.
pub(crate) const SEAM_FRAMES: usize = 2;

/// Keyframes kept in one cell: the first and the last ones, which are the ones to begin from.
const KEYS: usize = 4;

/// A keyframe to begin decoding from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
}

/// The packets that are presented in one cell of the grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its place on the grid.
    pub(crate) index: i64,
    /// At least one; two for each where its fields become frames.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// The smallest PTS, ascending.
    pub(crate) firsts: Vec<i64>,
    /// The largest PTS, ascending.
    pub(crate) lasts: Vec<i64>,
    /// In the order of the file.
    pub(crate) keys: Vec<Key>,
}

impl Cell {
    fn add(&mut self, pts: i64, packet: &Packet) {
        self.packets += 1;
        self.bytes += u64::from(packet.size);
        insert_sorted(&mut self.firsts, pts);
        self.firsts.truncate(SEAM_FRAMES);
        insert_sorted(&mut self.lasts, pts);
        if self.lasts.len() > SEAM_FRAMES {
            self.lasts.remove(0);
        }
        if packet.key {
            if self.keys.len() == KEYS {
                self.keys.remove(1);
            }
            self.keys.push(Key {
                pts,
                dts: packet.dts.unwrap_or(pts),
            });
        }
    }
}

fn insert_sorted(values: &mut Vec<i64>, value: i64) {
    let at = values.partition_point(|&other| other <= value);
    values.insert(at, value);
}

/// A source's packets on the grid.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) grid: Grid,
    /// The cells that have packets, ascending.
    pub(crate) cells: Vec<Cell>,
    /// Presented packets, counted as in the cells.
    pub(crate) packets: u64,
    /// Packets among them that are marked as keyframes.
    pub(crate) keyframes: u64,
    /// Whether the demuxer seeks by an index of keyframes.
    pub(crate) indexed: bool,
    /// Whether timestamps jump, which ffmpeg mends where it is let.
    pub(crate) jumps: bool,
    /// Why windows cannot be cut by time, where they cannot.
    pub(crate) trouble: Option<String>,
    /// The last frame, where packets have a PTS.
    pub(crate) last: Option<LastFrame>,
}

/// Takes in packets one by one.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// The unit of the summary's times.
    timebase: Timebase,
    /// How many of them are one tick of a packet's times.
    ticks_each: i64,
    /// How many frames a packet is taken for.
    frames_each: u64,
    step_ms: u32,
    indexed: bool,
    early: Vec<(i64, Packet)>,
    grid: Option<Grid>,
    cells: BTreeMap<i64, Cell>,
    packets: u64,
    keyframes: u64,
    without_pts: u64,
    off_the_grid: u64,
    jumps: Jumps,
    last: Last,
}

impl Scanner {
    /// Packets have times in ticks of `timebase`. `format` is the demuxer's name: some formats may
    /// have discontinuous timestamps, which ffmpeg then mends.
    pub(crate) fn new(timebase: Timebase, step_ms: u32, format: &str) -> Self {
        Self {
            timebase,
            ticks_each: 1,
            frames_each: 1,
            step_ms,
            indexed: ["mov", "matroska", "flv", "avi"]
                .iter()
                .any(|name| format.split(',').any(|part| part == *name)),
            early: Vec::new(),
            grid: None,
            cells: BTreeMap::new(),
            packets: 0,
            keyframes: 0,
            without_pts: 0,
            off_the_grid: 0,
            jumps: Jumps::new(timebase, format),
            last: Last::new(timebase, format),
        }
    }

    /// Counts in the ticks that deinterlaced frames need, and two frames for a packet where each of
    /// its fields becomes one.
    pub(crate) fn deinterlaced(mut self, deinterlace: Deinterlace, interlaced: bool) -> Self {
        if let Some(ticks) = deinterlace.ticks(self.timebase) {
            self.timebase = ticks;
            self.ticks_each = deinterlace.ticks_each().into();
        }
        if interlaced {
            self.frames_each = deinterlace.ticks_each().into();
        }
        self
    }

    pub(crate) fn add(&mut self, packet: Packet) {
        self.jumps.add(&packet);
        if packet.discard {
            return;
        }
        self.packets += 1;
        self.keyframes += u64::from(packet.key);
        let Some(pts) = packet.pts else {
            self.without_pts += 1;
            return;
        };
        self.last.add(pts, &packet);
        let ticks = |time: i64| time.saturating_mul(self.ticks_each);
        let pts = ticks(pts);
        let packet = Packet {
            pts: Some(pts),
            dts: packet.dts.map(ticks),
            ..packet
        };
        match self.grid {
            Some(grid) => self.place(grid, pts, &packet),
            None => {
                self.early.push((pts, packet));
                if self.early.len() >= SETTLE {
                    self.settle();
                }
            }
        }
    }

    fn settle(&mut self) {
        let early = std::mem::take(&mut self.early);
        let Some(origin) = early.iter().map(|(pts, _)| *pts).min() else {
            return;
        };
        let grid = Grid {
            origin,
            timebase: self.timebase,
            step_ms: self.step_ms,
        };
        self.grid = Some(grid);
        for (pts, packet) in early {
            self.place(grid, pts, &packet);
        }
    }

    fn place(&mut self, grid: Grid, pts: i64, packet: &Packet) {
        /// More cells than a year of half seconds: timestamps that far apart are no timeline.
        const MOST_CELLS: i64 = 1 << 26;
        let index = grid.cell(pts);
        if !(0..MOST_CELLS).contains(&index) {
            self.off_the_grid += 1;
            return;
        }
        let new = || Cell {
            index,
            ..Cell::default()
        };
        self.cells.entry(index).or_insert_with(new).add(pts, packet);
    }

    /// The summary; `None` when there was no packet to present.
    pub(crate) fn finish(mut self) -> Option<Summary> {
        if self.grid.is_none() {
            self.settle();
        }
        if self.packets == 0 {
            return None;
        }
        let jump = self.jumps.finish();
        let jumps = jump.is_some();
        let trouble = if self.without_pts > 0 {
            Some(format!(
                "{} of {} packets have no timestamp",
                self.without_pts, self.packets
            ))
        } else if self.off_the_grid > 0 {
            Some(format!(
                "{} packets lie outside the timeline",
                self.off_the_grid
            ))
        } else {
            jump
        };
        let origin = Grid {
            origin: 0,
            timebase: self.timebase,
            step_ms: self.step_ms,
        };
        let mut cells: Vec<Cell> = self.cells.into_values().collect();
        for cell in &mut cells {
            cell.packets *= self.frames_each;
        }
        Some(Summary {
            grid: self.grid.unwrap_or(origin),
            cells,
            packets: self.packets * self.frames_each,
            keyframes: self.keyframes,
            indexed: self.indexed,
            jumps,
            trouble,
            last: self.last.finish(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, key: bool) -> Packet {
        Packet {
            pts: Some(pts),
            dts: Some(pts - 80),
            duration: Some(40),
            size: 10,
            key,
            ..Packet::default()
        }
    }

    fn scanner() -> Scanner {
        Scanner::new(Timebase::new(1, 1000).unwrap(), 2000, "mov,mp4")
    }

    #[test]
    fn reordered_packets_land_in_their_cells() {
        let mut scanner = scanner();
        for (index, pts) in [120, 200, 160, 280, 240, 2110, 2150]
            .into_iter()
            .enumerate()
        {
            let mut packet = packet(pts, index == 0 || pts == 2150);
            packet.dts = Some(index as i64 * 40);
            scanner.add(packet);
        }
        let summary = scanner.finish().unwrap();
        assert_eq!(summary.grid.origin, 120);
        assert_eq!(summary.packets, 7);
        assert_eq!(
            summary
                .cells
                .iter()
                .map(|cell| cell.packets)
                .collect::<Vec<_>>(),
            [6, 1]
        );
        assert_eq!(summary.cells[0].lasts, [280, 2110]);
        assert_eq!(
            summary.cells[1].keys,
            [Key {
                pts: 2150,
                dts: 240
            }]
        );
        assert_eq!(summary.trouble, None);
    }

    #[test]
    fn memory_does_not_grow_with_packets() {
        let mut scanner = scanner();
        for n in 0..200_000 {
            scanner.add(packet(n / 100, true));
        }
        let summary = scanner.finish().unwrap();
        let kept: usize = summary
            .cells
            .iter()
            .map(|c| c.keys.len() + c.firsts.len() + c.lasts.len())
            .sum();
        assert!(kept <= summary.cells.len() * (KEYS + 2 * SEAM_FRAMES));
    }

    #[test]
    fn memory_does_not_grow_with_a_gap() {
        let mut scanner = scanner();
        for pts in [0, 40, 80, 100_000_000_000, 100_000_000_040] {
            scanner.add(packet(pts, true));
        }
        let summary = scanner.finish().unwrap();
        let cells = summary.cells.iter().map(|cell| (cell.index, cell.packets));
        assert_eq!(cells.collect::<Vec<_>>(), [(0, 3), (50_000_000, 2)]);
    }

    #[test]
    fn what_cannot_be_cut_by_time_is_said() {
        let mut scanner = scanner();
        scanner.add(packet(0, true));
        scanner.add(Packet {
            pts: None,
            ..packet(40, false)
        });
        assert_eq!(
            scanner.finish().unwrap().trouble.unwrap(),
            "1 of 2 packets have no timestamp"
        );

        let mut scanner = self::scanner();
        for n in 0..100 {
            scanner.add(packet(40 * n, n == 0));
        }
        scanner.add(packet(0, true));
        let trouble = scanner.finish().unwrap().trouble.unwrap();
        assert!(trouble.contains("step back by 2.72"), "{trouble}");
        assert!(self::scanner().finish().is_none());
    }
}
