//! One window into every rendition.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use reelmill_common::Window;
use reelmill_common::digest::Hasher;
use reelmill_common::manifest::{Manifest, PlacedChunk, Proof, SeamRange, VideoPlan};
use reelmill_common::marker::{ChunkMarker, SeamFrame, StoredRendition, VERSION};
use reelmill_common::time::Grid;
use reelmill_media::Input;
use reelmill_media::encode::{EncodeRequest, Encoded, Increasing, limits};
use reelmill_media::mp4::Fragmented;
use reelmill_stage::{StageError, Work, blocking, scratch_folder};

use crate::Worker;
use crate::groups::encode_groups;
use crate::pieces::{Piece, retime};

impl Worker {
    pub(crate) async fn chunk(
        &self,
        work: &Work,
        manifest: &Manifest,
        placed: &PlacedChunk,
    ) -> Result<(), StageError> {
        let marker = match self.encode_chunk(work, manifest, placed).await {
            Ok(marker) => marker,
            Err(error) if may_be_the_window(&error, placed) => {
                self.check_room()?;
                tracing::warn!(
                    job = %work.task.job, chunk = placed.index, code = error.code, %error,
                    "the window cannot be delivered as it is cut"
                );
                // Without frames its seams cannot agree, so it is done again from further back and
                // at last together with its neighbours.
                marker(work, placed, &Encoded::default(), Vec::new(), false)
            }
            Err(error) => return Err(error),
        };
        self.mark(&work.task.job, work.task.key, &marker).await
    }

    async fn encode_chunk(
        &self,
        work: &Work,
        manifest: &Manifest,
        placed: &PlacedChunk,
    ) -> Result<ChunkMarker, StageError> {
        let Some(video) = &manifest.video else {
            return Err(StageError::permanent(
                "plan-broken",
                "the plan has chunks but no picture",
            ));
        };
        let source = self.sources.open(&manifest.source).await?;
        let input = Input::at(source.place()).opened(manifest.opening);
        let dir = scratch_folder(&self.scratch, &work.task.key.to_string())?;
        let chunk = &placed.chunk;
        let every_frame = manifest.proof == Proof::EveryFrame;
        let zero = chunk.window.start.unwrap_or(video.grid.origin);
        let request = EncodeRequest {
            input: &input,
            stream: video.stream.index,
            timebase: video.grid.timebase,
            copy_timestamps: manifest.copy_timestamps,
            timeline: &manifest.timeline,
            lead_in_us: placed.lead_in().and_then(|lead_in| lead_in.seek_us),
            window: chunk.window,
            zero,
            first_frame_offset: chunk.first_packet.map_or(0, |pts| pts - zero),
            frame_rate: video.frame_rate(),
            fragment_ms: video.grid.step_ms,
            deinterlace: video.deinterlace,
            source: &video.stream,
            changes: video.changes,
            renditions: &video.renditions,
            timescale: video.timescale,
            fine_times: video.fine_times,
            threads: video.threads,
            start_seam: chunk.start_seam,
            end_seam: chunk.end_seam,
            every_frame,
        };
        let pixels = u64::from(video.stream.width) * u64::from(video.stream.height);
        let bounds = limits(Duration::from_millis(cost_ms(placed)), pixels);
        let groups = match self.tools.encodes_side_by_side() {
            true => vec![video.renditions.clone()],
            false => video.groups(placed),
        };
        let made = encode_groups(&self.tools, &request, &groups, dir.path(), bounds, work).await;
        let made = self.checked(manifest, &source, made).await?;
        let encoded = &made.encoded;
        if let Some(first) = video.renditions.first().filter(|_| encoded.pts.is_empty()) {
            self.check_list(made.file(first)?)?;
        }
        check_window(times(video, encoded), placed).map_err(|error| {
            match encoded.pts.is_empty() {
                true => error.with_detail(&encoded.ended.tail),
                false => error,
            }
        })?;

        let timeline = Timeline::new(video, encoded);
        let end = match chunk.end_seam {
            Some(seam) => Some(next_frame(&encoded.frames, seam, chunk.window)),
            None => last_end(video, encoded),
        };
        let end = end.map(|end| timeline.tick(end)).transpose()?;
        let mut increasing = Increasing::default();
        let pts = times(video, encoded)
            .iter()
            .map(|&pts| timeline.tick(pts).map(|tick| increasing.next(tick)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut renditions = Vec::new();
        for rendition in &video.renditions {
            let piece = Piece {
                made: made.file(rendition)?.to_owned(),
                pts: pts.clone(),
                end,
                grid: timeline.grid,
                folder: dir.path().join("retimed"),
            };
            let written = blocking(move || retime(&piece)).await?.or_else(|error| {
                // The frames that were encoded and those listed are the same by construction.
                self.check_room()?;
                Err(StageError {
                    retryable: true,
                    blames_input: true,
                    ..error
                })
            })?;
            let key = self.keep(work, &written.path).await?;
            renditions.push(StoredRendition {
                name: rendition.name.clone(),
                key,
                bytes: written.bytes,
                sha256: written.sha256,
                init_sha256: written.init_sha256,
            });
        }
        Ok(marker(work, placed, encoded, renditions, every_frame))
    }

    /// A full disk may look like anything, since ffmpeg's filters write their lists without a word
    /// when they cannot: the error that says so, where it is that.
    fn check_room(&self) -> Result<(), StageError> {
        tempfile::tempfile_in(&self.scratch)
            .and_then(|mut file| {
                file.write_all(&vec![1; 1 << 20])
                    .and_then(|()| file.sync_all())
            })
            .map_err(|error| StageError::scratch("cannot work in", &self.scratch, &error))
    }

    /// Where no frame is listed none may be encoded: else the list was torn.
    fn check_list(&self, made: &Path) -> Result<(), StageError> {
        let encoded = Fragmented::read(made).map_or(0, |made| made.samples.len());
        if encoded == 0 {
            return Ok(());
        }
        self.check_room()?;
        Err(StageError::of_the_input(
            "frames-unlisted",
            "ffmpeg lost its list of frames",
        ))
    }
}

/// The estimate for a chunk with the lead-in that it has now: the plan's is for the first one. A
/// frame that is only decoded is taken to cost as much as any.
fn cost_ms(placed: &PlacedChunk) -> u64 {
    let chunk = &placed.chunk;
    let planned = chunk.lead_ins.first().map_or(0, |lead_in| lead_in.packets);
    let now = placed.lead_in().map_or(0, |lead_in| lead_in.packets);
    let each = u128::from(chunk.cost_ms) / u128::from((chunk.packets + planned).max(1)) + 1;
    let more = each * u128::from(now.saturating_sub(planned));
    chunk
        .cost_ms
        .saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
}

/// Whether a failure may come from where the source was cut, and not from the source or the
/// profile. The whole source in one chunk has no cuts; the first chunk begins where plain ffmpeg
/// does, so that an encoder which refuses its options is seen there.
fn may_be_the_window(error: &StageError, placed: &PlacedChunk) -> bool {
    match error.code.as_str() {
        "no-frames" | "timestamps-broken" | "mp4-out-of-range" => {
            placed.chunk.window != Window::ALL
        }
        "ffmpeg-failed" => placed.chunk.window.start.is_some(),
        _ => false,
    }
}

/// The first decoded frame at or after the window's end, which the seam holds by plan. Where
/// nothing was decoded the chunk lasts until its window ends, and the seam will not agree.
fn next_frame(frames: &[SeamFrame], seam: SeamRange, window: Window) -> i64 {
    let end = window.end.unwrap_or(seam.to);
    let mut times = frames.iter().map(|frame| frame.pts);
    times
        .find(|&pts| pts >= end && pts < seam.to)
        .unwrap_or(end)
}

/// The frames' times in source ticks: those that the encoders counted from.
fn times<'a>(video: &VideoPlan, encoded: &'a Encoded) -> &'a [i64] {
    match video.fine_times {
        true => &encoded.decoded,
        false => &encoded.pts,
    }
}

/// When the source's last frame ends, where that is known.
fn last_end(video: &VideoPlan, encoded: &Encoded) -> Option<i64> {
    let last = times(video, encoded).iter().max()?;
    last.checked_add(video.last_frame_ticks.filter(|&ticks| ticks > 0)?)
}

/// Every frame must lie in the window.
fn check_window(times: &[i64], placed: &PlacedChunk) -> Result<(), StageError> {
    let window = placed.chunk.window;
    if times.is_empty() {
        return Err(StageError::permanent(
            "no-frames",
            format!(
                "no frame could be decoded in {}: the source is damaged or not a video",
                describe(placed)
            ),
        ));
    }
    match times.iter().find(|&&pts| !window.contains(pts)) {
        None => Ok(()),
        Some(pts) => {
            let trouble = format!("a frame at {pts} lies outside {}", describe(placed));
            Err(StageError::permanent("timestamps-broken", trouble))
        }
    }
}

fn describe(placed: &PlacedChunk) -> String {
    format!("chunk {} ({})", placed.index, placed.chunk.window)
}

/// From source ticks to ticks of the delivered timeline.
struct Timeline<'a> {
    video: &'a VideoPlan,
    /// The tick that is 0 on the delivered timeline.
    origin: i64,
    /// The grid on the delivered timeline.
    grid: Grid,
}

impl<'a> Timeline<'a> {
    fn new(video: &'a VideoPlan, encoded: &Encoded) -> Self {
        let first = encoded.pts.first().copied().unwrap_or(video.grid.origin);
        let origin = if video.begins_with_first_frame() {
            first
        } else {
            video.grid.origin
        };
        let timebase = reelmill_common::Timebase::new(1, video.timescale)
            .unwrap_or(reelmill_common::Timebase::MICROS);
        let grid = Grid {
            origin: 0,
            timebase,
            step_ms: video.grid.step_ms,
        };
        Self {
            video,
            origin,
            grid,
        }
    }

    fn tick(&self, pts: i64) -> Result<i64, StageError> {
        let ticks = pts
            .checked_sub(self.origin)
            .and_then(|span| self.video.delivered_ticks(span));
        ticks.ok_or_else(|| {
            StageError::permanent(
                "timestamps-broken",
                format!(
                    "the frame at {pts} has no exact place on a timeline of {} ticks per second",
                    self.video.timescale
                ),
            )
        })
    }
}

fn marker(
    work: &Work,
    placed: &PlacedChunk,
    encoded: &Encoded,
    renditions: Vec<StoredRendition>,
    every_frame: bool,
) -> ChunkMarker {
    let chunk = &placed.chunk;
    let near = |seam: Option<SeamRange>| -> Vec<SeamFrame> {
        let Some(seam) = seam else { return Vec::new() };
        let in_seam = |frame: &&SeamFrame| frame.pts >= seam.from && frame.pts < seam.to;
        encoded.frames.iter().filter(in_seam).cloned().collect()
    };
    let mut pts_digest = Hasher::default();
    for pts in &encoded.pts {
        pts_digest.update(format!("{pts}\n").as_bytes());
    }
    let frames_digest = every_frame.then(|| {
        let mut hasher = Hasher::default();
        for frame in encoded
            .frames
            .iter()
            .filter(|frame| chunk.window.contains(frame.pts))
        {
            hasher.update(format!("{} {}\n", frame.pts, frame.hash).as_bytes());
        }
        hasher.finish().0
    });
    ChunkMarker {
        version: VERSION,
        task: work.task.key,
        window: chunk.window,
        lead_in_us: placed.lead_in().and_then(|lead_in| lead_in.seek_us),
        frames: encoded.pts.len() as u64,
        first_pts: encoded.pts.first().copied(),
        last_pts: encoded.pts.last().copied(),
        moved: encoded.moved,
        pts_digest: pts_digest.finish().0,
        start_seam: near(chunk.start_seam),
        end_seam: near(chunk.end_seam),
        frames_digest,
        renditions,
        complaints: encoded.ended.complaints,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::manifest::{ChunkPlan, LeadIn};

    #[test]
    fn a_longer_lead_in_may_take_longer() {
        let lead_in = |packets| LeadIn {
            seek_us: None,
            keyframe: None,
            packets,
        };
        let mut placed = PlacedChunk {
            index: 3,
            generation: 0,
            lead_in: 0,
            chunk: ChunkPlan {
                window: Window::ALL,
                lead_ins: vec![lead_in(50), lead_in(1_000_000)],
                start_seam: None,
                end_seam: None,
                first_packet: None,
                packets: 100,
                cost_ms: 3000,
            },
        };
        assert_eq!(cost_ms(&placed), 3000);
        placed.lead_in = 1;
        assert!(cost_ms(&placed) > 10_000_000);
        placed.chunk.lead_ins.clear();
        assert_eq!(cost_ms(&placed), 3000);
    }
}
