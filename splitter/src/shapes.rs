//! What a source's keyframes say beyond its header: a picture that grows, shrinks or is turned.

use reelmill_common::Timebase;
use reelmill_common::manifest::FrameChanges;
use reelmill_common::media_info::VideoStream;
use reelmill_common::opening::Opening;
use reelmill_media::sizes::{self, Keyframe, Looks};
use reelmill_stage::StageError;

use crate::summary::Summary;
use crate::survey::Looker;

/// Keyframes up to which every one is decoded, and how many are decoded of more than that.
const MOST: usize = 200;

/// Sentences about changes; a call whose picture follows the network may have hundreds.
const MOST_NOTES: usize = 5;

/// Which keyframes to decode: all where they are few, else some spread evenly.
///
/// `None` where it is not worth it: a single keyframe is what the header describes.
fn looks(summary: &Summary) -> Option<Looks> {
    let keys: Vec<i64> = summary
        .cells
        .iter()
        .flat_map(|cell| cell.keys.iter().map(|key| key.pts))
        .collect();
    if keys.len() < 2 {
        return None;
    }
    if summary.keyframes <= MOST as u64 {
        return Some(Looks::All);
    }
    let timebase = summary.grid.timebase;
    let spread = (0..MOST).filter_map(|n| keys.get(n * (keys.len() - 1) / (MOST - 1)));
    let mut times: Vec<f64> = spread.map(|&pts| timebase.seconds(pts)).collect();
    times.dedup();
    Some(Looks::At(times))
}

impl Looker<'_> {
    /// Looks at a picture's keyframes, and gives the stream the size of the largest where they differ.
    ///
    /// # Errors
    /// [`StageError`] when the source could not be read.
    pub(crate) async fn shapes(
        &self,
        opening: Opening,
        stream: &mut VideoStream,
        summary: &Summary,
    ) -> Result<(FrameChanges, Vec<String>), StageError> {
        let Some(looks) = looks(summary) else {
            return Ok((FrameChanges::default(), Vec::new()));
        };
        let mut shapes = Shapes::new(summary);
        let mut add = |keyframe| shapes.add(keyframe);
        let input = self.input(opening);
        let looked = sizes::look(self.tools, &input, stream, &looks, self.dir, &mut add).await;
        self.opened.check()?;
        let (changes, mut notes) = shapes.apply(stream);
        // A damaged or slow source: what was found still holds.
        if looked.is_err() {
            let note = "not every keyframe of the picture could be looked at: a change of size may be missed";
            notes.push(note.to_owned());
        }
        Ok((changes, notes))
    }
}

/// What was found in keyframes, one after another.
#[derive(Debug)]
struct Shapes {
    timebase: Timebase,
    /// The first PTS of the source, from which notes count.
    origin: i64,
    largest: Option<Keyframe>,
    last: Option<Keyframe>,
    changes: FrameChanges,
    /// Whether every keyframe states its matrix.
    stated: bool,
    notes: Vec<String>,
    unsaid: usize,
}

impl Shapes {
    fn new(summary: &Summary) -> Self {
        Self {
            timebase: summary.grid.timebase,
            origin: summary.grid.origin,
            largest: None,
            last: None,
            changes: FrameChanges::default(),
            stated: true,
            notes: Vec::new(),
            unsaid: 0,
        }
    }

    fn add(&mut self, keyframe: Keyframe) {
        self.stated &= keyframe.matrix.is_some();
        if let Some(last) = &self.last {
            let size = |frame: &Keyframe| (frame.width, frame.height, frame.sar);
            if size(last) != size(&keyframe) {
                self.changes.shape = true;
                let at = keyframe.pts.map_or_else(String::new, |pts| {
                    let seconds = self.timebase.seconds(pts.saturating_sub(self.origin));
                    format!(" at {seconds:.1} s")
                });
                if self.notes.len() < MOST_NOTES {
                    let (from, to) = (shape(last), shape(&keyframe));
                    self.notes.push(format!(
                        "the picture changes from {from} to {to}{at}: it is scaled, and padded where its shape is another"
                    ));
                } else {
                    self.unsaid += 1;
                }
            }
            self.changes.matrix |= last.matrix != keyframe.matrix;
        }
        let area = |frame: &Keyframe| u64::from(frame.width) * u64::from(frame.height);
        if self
            .largest
            .as_ref()
            .is_none_or(|largest| area(&keyframe) > area(largest))
        {
            self.largest = Some(keyframe.clone());
        }
        self.last = Some(keyframe);
    }

    /// Gives a stream the size of its largest keyframe, where they differ, and says what changes.
    fn apply(mut self, stream: &mut VideoStream) -> (FrameChanges, Vec<String>) {
        self.changes.matrix &= self.stated;
        if let Some(largest) = self.largest.filter(|_| self.changes.shape) {
            (stream.width, stream.height) = (largest.width, largest.height);
            stream.sar = largest.sar;
        }
        if self.unsaid > 0 {
            let count = self.unsaid;
            self.notes
                .push(format!("the picture changes its size {count} more times"));
        }
        if self.changes.matrix {
            let matrix = stream.colour.matrix.as_deref().unwrap_or("the first");
            self.notes.push(format!(
                "the picture changes the matrix of its colours: all of it is converted to {matrix}"
            ));
        }
        (self.changes, self.notes)
    }
}

fn shape(frame: &Keyframe) -> String {
    match frame.sar {
        Some((x, y)) if x != y => format!("{}x{} (pixels {x}:{y})", frame.width, frame.height),
        _ => format!("{}x{}", frame.width, frame.height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::time::Grid;

    fn summary() -> Summary {
        let timebase = Timebase::new(1, 1000).unwrap();
        Summary {
            grid: Grid {
                origin: 1400,
                timebase,
                step_ms: 2000,
            },
            cells: Vec::new(),
            packets: 0,
            keyframes: 0,
            indexed: false,
            jumps: false,
            trouble: None,
            last: None,
        }
    }

    fn stream() -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".to_owned(),
            width: 320,
            height: 180,
            sar: None,
            rotation: 0,
            pixel_format: "yuv420p".to_owned(),
            timebase: Timebase::new(1, 1000).unwrap(),
            frame_rate: None,
            interlaced: false,
            colour: reelmill_common::media_info::Colour::default(),
        }
    }

    fn keyframe(pts: i64, width: u32, height: u32, matrix: Option<&str>) -> Keyframe {
        Keyframe {
            pts: Some(pts),
            width,
            height,
            sar: None,
            matrix: matrix.map(str::to_owned),
        }
    }

    #[test]
    fn the_largest_size_counts_and_changes_are_said_with_their_times() {
        let mut shapes = Shapes::new(&summary());
        let mut picture = stream();
        for found in [
            keyframe(1400, 320, 180, None),
            keyframe(5400, 1280, 720, None),
            keyframe(9400, 720, 1280, None),
        ] {
            shapes.add(found);
        }
        let (changes, notes) = shapes.apply(&mut picture);
        assert!(changes.shape && !changes.matrix);
        assert_eq!((picture.width, picture.height), (1280, 720));
        assert_eq!(
            notes[0],
            "the picture changes from 320x180 to 1280x720 at 4.0 s: it is scaled, and padded where its shape is another"
        );
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn a_source_of_one_size_stays_as_its_header_describes_it() {
        let mut shapes = Shapes::new(&summary());
        let mut picture = stream();
        for n in 0..10 {
            shapes.add(keyframe(n * 1000, 640, 360, Some("bt709")));
        }
        let (changes, notes) = shapes.apply(&mut picture);
        assert!(changes.is_none() && notes.is_empty());
        assert_eq!((picture.width, picture.height), (320, 180));
    }

    #[test]
    fn notes_are_few_however_often_the_size_changes() {
        let mut shapes = Shapes::new(&summary());
        for n in 0..100 {
            shapes.add(keyframe(n, 320 + 2 * (n as u32 % 2), 180, None));
        }
        let (_, notes) = shapes.apply(&mut stream());
        assert_eq!(notes.len(), MOST_NOTES + 1);
        assert_eq!(
            notes[MOST_NOTES],
            "the picture changes its size 94 more times"
        );
    }

    #[test]
    fn a_matrix_that_every_keyframe_states_may_change() {
        let mut shapes = Shapes::new(&summary());
        shapes.add(keyframe(0, 720, 576, Some("bt470bg")));
        shapes.add(keyframe(1, 720, 576, Some("bt709")));
        assert!(shapes.apply(&mut stream()).0.matrix);
        let mut shapes = Shapes::new(&summary());
        shapes.add(keyframe(0, 720, 576, None));
        shapes.add(keyframe(1, 720, 576, Some("bt709")));
        assert!(!shapes.apply(&mut stream()).0.matrix);
    }
}
