//! From what is known of a source to the manifest. Pure.

use std::time::Duration;

use reelmill_common::manifest::{
    AudioPlan, ChunkPlan, FrameChanges, LeadIn, MOST_LEAD_INS, Manifest, SeamRange, SourceInfo,
    VERSION, VideoPlan,
};
use reelmill_common::media_info::{Chapter, MediaInfo, VideoStream};
use reelmill_common::opening::Opening;
use reelmill_common::profile::{Deinterlace, Profile, ladder};
use reelmill_common::request::JobRequest;
use reelmill_common::time::Grid;
use reelmill_common::{JobId, Timebase, Timeline, Window, colour};
use reelmill_media::interlace;

use crate::cost::{FrameCost, open_ms, rendition_ms, whole};
use crate::spread::{shares, spread};
use crate::summary::{Cell, Key, Summary};
use crate::tracks::audio_plans;
use crate::windows::{Costs, MOST_WORK_MS, cut};

/// Everything that a plan follows from.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) request: &'a JobRequest,
    pub(crate) source: SourceInfo,
    pub(crate) ffmpeg: &'a str,
    pub(crate) info: MediaInfo,
    pub(crate) opening: Opening,
    /// How long its header says that it lasts.
    pub(crate) duration: Duration,
    /// When its header says that the picture ends on its timeline.
    pub(crate) track_ends: Option<Duration>,
    /// Whether ffmpeg 5.1 would count from the earliest stream that a run maps, although it is asked
    /// to keep timestamps: in a format whose timestamps may jump, whose first one is 0.
    pub(crate) begins_at_zero: bool,
    /// The source's own time, in microseconds, at which its earliest stream begins.
    pub(crate) start_us: i64,
    /// `None` when there is no picture to encode.
    pub(crate) summary: Option<Summary>,
    /// What changes from frame to frame.
    pub(crate) changes: FrameChanges,
    /// One sentence for each stream that was left out.
    pub(crate) left_out: Vec<String>,
}

/// Plans a job.
pub(crate) fn plan(facts: Facts<'_>) -> Manifest {
    let Facts {
        job,
        request,
        source,
        ffmpeg,
        info,
        opening,
        duration,
        track_ends,
        begins_at_zero,
        start_us,
        summary,
        changes,
        left_out,
    } = facts;
    let profile = &request.profile;
    let mut notes = left_out;
    let copy_timestamps = summary.as_ref().is_some_and(|summary| !summary.jumps);
    let streams = info.video.iter().map(|stream| stream.index);
    let streams = streams.chain(info.audio.iter().map(|stream| stream.index));
    let timeline = Timeline {
        offset_us: u32::from(copy_timestamps && begins_at_zero),
        streams: match copy_timestamps || info.video.is_none() {
            true => Vec::new(),
            false => streams.collect(),
        },
    };
    // What was seen is surer than what was said.
    let seconds = summary
        .as_ref()
        .map_or(duration.as_secs_f64(), length_seconds);
    // What takes the source's own times to those of the runs: where timestamps are not kept, these
    // count from the earliest stream.
    let later_us = match copy_timestamps {
        true => i64::from(timeline.offset_us),
        false => -start_us,
    };
    let picture_us = summary.as_ref().map(|summary| {
        let Grid {
            timebase, origin, ..
        } = summary.grid;
        timebase.rescale_nearest(origin, Timebase::MICROS) + later_us
    });
    let audio: Vec<AudioPlan> = info
        .audio
        .iter()
        .flat_map(|stream| {
            audio_plans(
                profile,
                &info.format,
                stream,
                seconds,
                picture_us,
                &mut notes,
            )
        })
        .collect();
    let video = info.video.zip(summary).map(|(stream, summary)| {
        notes.extend(colour::assumption(&stream));
        if let Some(trouble) = &summary.trouble {
            notes.push(format!("the source is encoded as one chunk: {trouble}"));
        }
        notes.extend(interlace::note(profile.deinterlace, &stream));
        let last = summary.last.map(|last| last.ticks(track_ends));
        let (last_frame_ticks, note) = last.unwrap_or_default();
        // Where fields become frames, the last field is shown for half of that, in half ticks.
        let deinterlace = deinterlaced(profile, &stream, changes);
        let each = match stream.interlaced {
            true => 1,
            false => i64::from(deinterlace.ticks_each()),
        };
        let last_frame_ticks = last_frame_ticks.map(|ticks| ticks * each);
        notes.extend(note);
        let timescale = timescale(summary.grid.timebase);
        // Several ticks of the delivered timescale in one of the source's.
        let is_finer = timescale > summary.grid.timebase.den() || summary.grid.timebase.num() > 1;
        // Mended times no longer overlap.
        let repeats = !summary.jumps && summary.last.is_some_and(|last| last.repeats);
        let video = VideoPlan {
            fine_times: is_finer && repeats,
            last_frame_ticks,
            ..video_plan(request, stream, changes, &summary, &audio)
        };
        if summary.trouble.is_none() {
            notes.extend(one_long_chunk(request, &video));
        }
        video
    });
    Manifest {
        version: VERSION,
        job: job.clone(),
        source,
        ffmpeg: ffmpeg.to_owned(),
        profile: profile.name.clone(),
        profile_digest: profile.digest(),
        options: request.options.clone(),
        proof: request.proof,
        outputs: profile.outputs,
        opening,
        copy_timestamps,
        video,
        audio,
        title: info.title,
        chapters: moved(info.chapters, later_us),
        timeline,
        notes,
    }
}

/// Moves chapters by `later_us` microseconds.
fn moved(mut chapters: Vec<Chapter>, later_us: i64) -> Vec<Chapter> {
    for chapter in &mut chapters {
        chapter.start_us += later_us;
        chapter.end_us += later_us;
    }
    chapters
}

/// How long the picture lasts, in which a long gap counts as a short one: a timestamp that is far off
/// is no sign of as much sound.
fn length_seconds(summary: &Summary) -> f64 {
    const MOST_GAP: i64 = 15;
    let cells = summary.cells.iter();
    let gaps = cells.clone().zip(cells.skip(1));
    let gaps = gaps.map(|(cell, next)| (next.index - cell.index).min(MOST_GAP));
    f64::from(summary.grid.step_ms) / 1000.0 * (1 + gaps.sum::<i64>()) as f64
}

/// What becomes of interlaced frames. The deinterlacer has every frame scaled to one size, which
/// would stretch those of another shape: it is left out where the header says nothing of fields.
fn deinterlaced(profile: &Profile, stream: &VideoStream, changes: FrameChanges) -> Deinterlace {
    match interlace::deinterlace(profile.deinterlace, stream) {
        Deinterlace::Frames if changes.shape && !stream.interlaced => Deinterlace::Off,
        deinterlace => deinterlace,
    }
}

fn video_plan(
    request: &JobRequest,
    stream: VideoStream,
    changes: FrameChanges,
    summary: &Summary,
    audio: &[AudioPlan],
) -> VideoPlan {
    let renditions = ladder(&request.profile, &stream);
    let frame = FrameCost::of(&stream, &renditions, mean_bytes(summary));
    let deinterlace = deinterlaced(&request.profile, &stream, changes);
    let map = Map::new(summary, deinterlace, stream.interlaced);
    let each: Vec<f64> = rendition_ms(&stream, &renditions).collect();
    let spread = spread(&each, request.slots as usize);
    let costs = Costs {
        audio: audio.iter().map(|track| track.cost_ms as f64).collect(),
        decode: frame.decode_ms,
        open: open_ms(&renditions),
        shares: shares(&spread, &each),
        ..of_cells(summary, &map, frame)
    };
    let longest = request
        .window_ms
        .map(|ms| i64::from(ms / request.profile.fragment_ms.max(1)));
    let repeats = renditions.iter().all(|r| r.settings.repeats_with_threads());
    let cuts = match summary.trouble {
        Some(_) => crate::windows::Cuts {
            starts: vec![0],
            all_cores: request.slots > 1 && repeats,
        },
        None => cut(&costs, request.slots as usize, longest, repeats),
    };
    let ends = cuts.starts.iter().skip(1).copied().map(Some).chain([None]);
    let chunks: Vec<ChunkPlan> = cuts
        .starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| map.chunk(start, end, &costs))
        .collect();
    let threads = if cuts.all_cores && chunks.len() == 1 {
        request.slots
    } else {
        1
    };
    let name = |&index: &usize| renditions.get(index).map(|r| r.name.clone());
    let names = |group: &Vec<usize>| group.iter().filter_map(name).collect();
    VideoPlan {
        grid: summary.grid,
        timescale: timescale(summary.grid.timebase),
        changes,
        deinterlace,
        threads,
        spread: match spread.len() {
            2.. if threads == 1 => spread.iter().map(names).collect(),
            _ => Vec::new(),
        },
        stream,
        renditions,
        fine_times: false,
        last_frame_ticks: None,
        chunks,
    }
}

/// A note on a single chunk of more work than a killed worker should lose.
fn one_long_chunk(request: &JobRequest, video: &VideoPlan) -> Option<String> {
    let [chunk] = video.chunks.as_slice() else {
        return None;
    };
    let seconds = chunk.cost_ms as f64 / 1000.0;
    let reason = match request.window_ms {
        _ if chunk.cost_ms as f64 <= MOST_WORK_MS => return None,
        Some(ms) => format!("windows of {ms} ms were asked for"),
        None => format!("windows are not shorter than {} ms", video.grid.step_ms),
    };
    Some(format!(
        "the source is encoded as one chunk, which is about {seconds:.0} s of work for one core: {reason}"
    ))
}

/// Ticks per second in which every PTS of the source is a whole number, made fine enough for
/// players by doubling as ffmpeg's own muxer does.
fn timescale(timebase: Timebase) -> u32 {
    let mut timescale = timebase.den();
    while timescale < 10_000 {
        timescale *= 2;
    }
    timescale
}

/// The work in each cell: frames by their number, and by how many bytes the source spends on
/// them, since what is hard to predict for its encoder is for ours.
fn of_cells(summary: &Summary, map: &Map<'_>, frame: FrameCost) -> Costs {
    let mean = mean_bytes(summary);
    let cell_cost = |cell: &Cell| {
        let packets = cell.packets as f64;
        let busy = (cell.bytes as f64 / packets.max(1.0) / mean.max(1.0)).clamp(0.2, 4.0);
        packets * (frame.decode_ms + frame.encode_ms * (0.75 + 0.25 * busy))
    };
    let lead_in = |start: usize| {
        let packets = map
            .lead_ins(start)
            .first()
            .map_or(0, |lead_in| lead_in.packets);
        packets as f64 * frame.decode_ms
    };
    Costs {
        index: summary.cells.iter().map(|cell| cell.index).collect(),
        cells: summary.cells.iter().map(cell_cost).collect(),
        packets: summary.cells.iter().map(|cell| cell.packets).collect(),
        lead_ins: (0..summary.cells.len()).map(lead_in).collect(),
        ..Costs::default()
    }
}

/// Of a packet.
fn mean_bytes(summary: &Summary) -> f64 {
    let bytes: u64 = summary.cells.iter().map(|cell| cell.bytes).sum();
    bytes as f64 / summary.packets.max(1) as f64
}

/// The cells with what makes questions about stretches of them quick. A cell is meant by its place
/// among those that have packets.
#[derive(Debug)]
struct Map<'a> {
    summary: &'a Summary,
    /// Packets in all cells before each.
    before: Vec<u64>,
    /// All keyframes by PTS.
    keys: Vec<Key>,
    deinterlace: Deinterlace,
    /// Whether the header says that the source is interlaced.
    interlaced: bool,
}

impl<'a> Map<'a> {
    fn new(summary: &'a Summary, deinterlace: Deinterlace, interlaced: bool) -> Self {
        let mut before = vec![0];
        let mut sum = 0;
        for cell in &summary.cells {
            sum += cell.packets;
            before.push(sum);
        }
        let mut keys: Vec<Key> = summary
            .cells
            .iter()
            .flat_map(|cell| cell.keys.clone())
            .collect();
        keys.sort_by_key(|key| key.pts);
        Self {
            summary,
            before,
            keys,
            deinterlace,
            interlaced,
        }
    }

    fn packets_before(&self, cell: usize) -> u64 {
        self.before
            .get(cell)
            .or(self.before.last())
            .copied()
            .unwrap_or_default()
    }

    fn chunk(&self, start: usize, end: Option<usize>, costs: &Costs) -> ChunkPlan {
        let tick = |cell| self.tick(cell);
        let last = end.unwrap_or(self.summary.cells.len());
        let work: f64 = costs
            .cells
            .get(start..last)
            .unwrap_or_default()
            .iter()
            .sum();
        let lead_in = costs.lead_ins.get(start).copied().unwrap_or_default();
        ChunkPlan {
            window: Window {
                start: (start > 0).then(|| tick(start)),
                end: end.map(tick),
            },
            lead_ins: if start > 0 {
                self.lead_ins(start)
            } else {
                Vec::new()
            },
            start_seam: (start > 0).then(|| self.seam(start)),
            end_seam: end.map(|end| self.seam(end)),
            first_packet: self.first_frame(start),
            packets: self.packets_before(last) - self.packets_before(start),
            cost_ms: whole(work + lead_in),
        }
    }

    /// Where a cell begins.
    fn tick(&self, cell: usize) -> i64 {
        let index = self.summary.cells.get(cell).map(|cell| cell.index);
        self.summary.grid.start(index.unwrap_or(i64::MAX))
    }

    /// The first frame at or after the start of a cell: that of the first packet, or of the second
    /// field of the packet before it.
    fn first_frame(&self, cell: usize) -> Option<i64> {
        let (before, after) = self.summary.cells.split_at_checked(cell)?;
        let first = after.iter().flat_map(|cell| &cell.firsts).next().copied()?;
        let last = before.last().and_then(|cell| cell.lasts.last());
        let field = last
            .filter(|_| self.interlaced && self.deinterlace == Deinterlace::Fields)
            .map(|last| last.midpoint(first));
        let field = field.filter(|&field| field >= self.tick(cell));
        Some(field.unwrap_or(first))
    }

    /// The frames around the start of a cell, by the packets that the scan saw there.
    fn seam(&self, cell: usize) -> SeamRange {
        let cells = &self.summary.cells;
        let before = cells.get(..cell).unwrap_or_default().iter().rev();
        let from = before
            .flat_map(|cell| cell.lasts.iter().rev())
            .take(SEAM)
            .last();
        let after = cells.get(cell..).unwrap_or_default().iter();
        let to = after.flat_map(|cell| &cell.firsts).take(SEAM).last();
        let boundary = self.tick(cell);
        SeamRange {
            from: from.copied().unwrap_or(boundary),
            to: to.copied().unwrap_or(boundary).saturating_add(1),
        }
    }

    /// Places to begin decoding for a window that starts with `cell`: the last keyframe before the
    /// seam's frames, then eight times as many keyframes back each time, at last the start of the
    /// source.
    fn lead_ins(&self, cell: usize) -> Vec<LeadIn> {
        let from = self.seam(cell).from;
        // A deinterlacer needs the frame before them as well.
        let latest = match self.deinterlace {
            Deinterlace::Off => from,
            Deinterlace::Frames | Deinterlace::Fields => from.saturating_sub(1),
        };
        let usable = self.keys.partition_point(|key| key.pts <= latest);
        let mut lead_ins = Vec::new();
        let mut back = 1;
        // The first keyframe is the start of the source.
        while back < usable && lead_ins.len() < MOST_LEAD_INS - 1 {
            let Some(key) = self.keys.get(usable - back) else {
                break;
            };
            let next = self.keys.get(usable - back + 1);
            if let Some(seek_us) = seek_us(self.summary, *key, next) {
                let packets = self.packets_from(key.pts, cell);
                lead_ins.push(LeadIn {
                    seek_us: Some(seek_us),
                    keyframe: Some(key.pts),
                    packets,
                });
            }
            back *= 8;
        }
        lead_ins.push(LeadIn {
            seek_us: None,
            keyframe: None,
            packets: self.packets_before(cell),
        });
        lead_ins
    }

    /// About how many packets lie between a PTS and the start of a cell.
    fn packets_from(&self, pts: i64, cell: usize) -> u64 {
        let grid = self.summary.grid;
        let own = grid.cell(pts);
        let place = self.summary.cells.partition_point(|cell| cell.index < own);
        let whole = self
            .packets_before(cell)
            .saturating_sub(self.packets_before(place + 1));
        let (start, end) = (grid.start(own), grid.start(own + 1));
        let share = (end - pts) as f64 / (end - start).max(1) as f64;
        let partial = self.summary.cells.get(place).map_or(0, |cell| cell.packets) as f64 * share;
        whole + crate::cost::whole(partial)
    }
}

/// Frames on each side of a seam.
const SEAM: usize = crate::summary::SEAM_FRAMES;

/// By how much ffmpeg seeks before the time asked for where frames are reordered, in microseconds
/// and rounded up: `3 * AV_TIME_BASE / 23` in its `open_input_file`.
const REORDER_ALLOWANCE_US: i64 = 130_435;

/// Where to seek so that a demuxer begins with this keyframe, in microseconds; `None` for times
/// before 0, which ffmpeg does not seek to.
///
/// Demuxers with an index begin with the last keyframe at or before the time, some by PTS and some
/// by DTS: any time that is late enough for both and before the next keyframe finds it, where the
/// keyframe's own time would find the one before it. The others begin with the packet at that
/// time, so it must not be later than the keyframe.
fn seek_us(summary: &Summary, key: Key, next: Option<&Key>) -> Option<i64> {
    let us = |ticks: i64| summary.grid.timebase.rescale_floor(ticks, Timebase::MICROS);
    let own = us(key.pts.min(key.dts)) - 1;
    let late = us(key.pts).max(us(key.dts) + REORDER_ALLOWANCE_US) + 1;
    let before_next = next.is_some_and(|next| late < us(next.pts.min(next.dts)));
    let at = if summary.indexed && before_next {
        late
    } else {
        own
    };
    (at > 0).then_some(at)
}

#[cfg(test)]
mod tests;
