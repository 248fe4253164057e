//! Watching the times and lengths of decoded blocks while a graph runs.

use std::collections::VecDeque;

use crate::encode::parse_pts;
use crate::placement::{Placed, Placement};

/// Filters that print each block's time, then its number of samples in place of its time. Expects a
/// timebase of one sample, and leaves the block without its time.
pub(crate) const OBSERVE: &str = "ametadata=mode=add:key=t:value=1,ametadata=mode=print:key=t:file=-:direct=1,asetpts=S,ametadata=mode=add:key=n:value=1,ametadata=mode=print:key=n:file=-:direct=1";

/// What was seen of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Where its blocks belong; of a track whose format changes, those before the change.
    pub(crate) placed: Placed,
    /// Whether ffmpeg began its graph again, as it does for another sample rate, layout or format.
    pub(crate) format_changed: bool,
}

/// Reads what [`OBSERVE`] prints.
#[derive(Debug)]
pub(crate) struct Observer {
    placement: Placement,
    /// The block that the next key belongs to: its number in the graph, and the printed time.
    block: (bool, Option<i64>),
    times: VecDeque<Option<i64>>,
    lengths: VecDeque<i64>,
    began: bool,
    format_changed: bool,
    /// Whether blocks after a change count: they do where the graph makes one format of all.
    through_changes: bool,
}

impl Observer {
    /// For a graph whose blocks have the source's format.
    pub(crate) fn new(codec: &str, rate: u32) -> Self {
        Self {
            placement: Placement::new(codec, rate),
            block: (false, None),
            times: VecDeque::new(),
            lengths: VecDeque::new(),
            began: false,
            format_changed: false,
            through_changes: false,
        }
    }

    /// For a graph that converts every block to one format.
    pub(crate) fn of_one_format(codec: &str, rate: u32) -> Self {
        Self {
            through_changes: true,
            ..Self::new(codec, rate)
        }
    }

    /// Takes a line of standard output.
    pub(crate) fn line(&mut self, line: &str) {
        match line {
            "t=1" => {
                let (is_first, pts) = self.block;
                self.format_changed |= is_first && std::mem::replace(&mut self.began, true);
                self.times.push_back(pts);
            }
            // Printed in place of the time.
            "n=1" => self.lengths.push_back(self.block.1.unwrap_or(0)),
            _ if line.starts_with("frame:") => {
                let is_first = line.starts_with("frame:0 ");
                self.block = (is_first, parse_pts(line));
            }
            _ => {}
        }
        if self.format_changed && !self.through_changes {
            self.times.clear();
            self.lengths.clear();
        }
        while let (Some(pts), Some(samples)) = (self.times.front(), self.lengths.front()) {
            self.placement.push(*pts, *samples);
            self.times.pop_front();
            self.lengths.pop_front();
        }
    }

    pub(crate) fn finish(self) -> Observed {
        Observed {
            placed: self.placement.finish(),
            format_changed: self.format_changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Edit;

    fn block(number: usize, pts: &str, samples: i64) -> Vec<String> {
        vec![
            format!("frame:{number}    pts:{pts}   pts_time:1.4"),
            "t=1".to_owned(),
            format!("frame:{number}    pts:{samples}    pts_time:0.03"),
            "n=1".to_owned(),
        ]
    }

    #[test]
    fn times_and_lengths_are_paired() {
        let mut observer = Observer::new("aac", 1000);
        let lines = [
            block(0, "500", 20),
            block(1, "520", 20),
            block(2, "1540", 20),
            block(3, "NOPTS", 20),
        ];
        lines.concat().iter().for_each(|line| observer.line(line));
        let observed = observer.finish();
        assert_eq!(observed.placed.first, Some(500));
        assert_eq!(
            observed.placed.edits,
            [Edit {
                at: 40,
                change: 1000
            }]
        );
        assert!(!observed.format_changed);
    }

    #[test]
    fn a_graph_that_begins_again_is_a_change() {
        let lines = [block(0, "0", 20), block(1, "20", 20), block(0, "140", 20)].concat();
        let mut observer = Observer::new("aac", 1000);
        let mut through = Observer::of_one_format("aac", 1000);
        for line in &lines {
            observer.line(line);
            through.line(line);
        }
        let (observed, through) = (observer.finish(), through.finish());
        assert!(observed.format_changed && observed.placed.edits.is_empty());
        assert_eq!(
            through.placed.edits,
            [Edit {
                at: 40,
                change: 100
            }]
        );
    }
}
