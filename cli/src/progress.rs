//! What a person sees while a job runs: a bar on a terminal, a line every few seconds elsewhere.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reelmill_common::job::Phase;
use reelmill_ledger::JobRecord;

use crate::report::noted;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The stretch of time over which the present speed is taken.
const RECENT: Duration = Duration::from_secs(20);

/// Shows how far a job is.
#[derive(Debug)]
pub(crate) struct Progress {
    show: Show,
    /// Once known.
    plan: Option<Plan>,
    /// Chunks that are done.
    chunks: usize,
    /// Tasks that are done, audio tracks among them.
    tasks: u32,
    /// When how many frames were done, for the last [`RECENT`].
    recent: VecDeque<(Instant, u64)>,
    last_line: Option<Instant>,
    last_phase: Option<Phase>,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Seconds of video in all frames.
    seconds: f64,
    /// Audio tracks, which are tasks as chunks are; `None` where it is not known which tasks are.
    tracks: Option<usize>,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Lines,
    /// The bar from the first thing that it has to show until [`Progress::finish`]: one that is made
    /// before draws itself empty, and again when it is dropped.
    Terminal(Option<ProgressBar>),
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let show = if quiet {
            Show::Nothing
        } else if std::io::stderr().is_terminal() {
            Show::Terminal(None)
        } else {
            Show::Lines
        };
        Self {
            show,
            plan: None,
            chunks: 0,
            tasks: 0,
            recent: VecDeque::new(),
            last_line: None,
            last_phase: None,
        }
    }

    /// Tells how long the video is, and how many of the tasks are audio tracks; without that the bar
    /// counts tasks instead of chunks.
    pub(crate) fn set_plan(&mut self, seconds: f64, tracks: Option<usize>) {
        self.plan = Some(Plan { seconds, tracks });
    }

    /// Says a sentence without breaking the bar.
    pub(crate) fn say(&self, words: &str) {
        if !matches!(self.show, Show::Nothing) {
            self.print(words);
        }
    }

    /// Prints notes, also where no progress is shown: who hears nothing takes the outputs for the
    /// whole source.
    pub(crate) fn note<'n>(&self, notes: impl IntoIterator<Item = &'n String>) {
        for note in notes {
            self.print(&noted(note));
        }
    }

    fn print(&self, words: &str) {
        // Whoever reads may go away in mid-job; `eprintln!` would panic then.
        let line = || drop(writeln!(std::io::stderr(), "{words}"));
        match &self.show {
            Show::Terminal(Some(bar)) => bar.suspend(line),
            _ => line(),
        }
    }

    /// Shows how far a job is, of whose audio tracks `tracks` are done.
    pub(crate) fn update(&mut self, job: &JobRecord, tracks: usize) {
        let now = Instant::now();
        self.recent.push_back((now, job.completed_frames));
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now - *at > RECENT)
        {
            self.recent.pop_front();
        }
        self.count(job, tracks);
        let words = self.words(job, tracks);
        let (done, all) = measure(job);
        let phase = job.phase.map_or("waiting", Phase::as_str);
        match &mut self.show {
            Show::Nothing => {}
            Show::Terminal(bar) => {
                let bar = bar.get_or_insert_with(bar_on_stderr);
                bar.set_prefix(phase);
                bar.set_length(all);
                bar.set_position(done);
                bar.set_message(words);
            }
            Show::Lines => {
                let due = self.last_line.is_none_or(|at| now - at >= LINE_EVERY);
                if due || job.phase != self.last_phase {
                    self.last_line = Some(now);
                    self.last_phase = job.phase;
                    let percent = done * 100 / all;
                    self.say(format!("{phase}: {percent}%  {words}").trim_end());
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Show::Terminal(bar) = &mut self.show
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }

    /// Chunks that are done. A track may be known a moment before the ledger counts it; the number
    /// goes back only where the ledger's does, when chunks are to be done again.
    fn count(&mut self, job: &JobRecord, tracks: usize) {
        let chunks = (job.completed_chunks as usize).saturating_sub(tracks);
        self.chunks = match job.completed_chunks < self.tasks {
            true => chunks,
            false => chunks.max(self.chunks),
        };
        self.tasks = job.completed_chunks;
    }

    fn words(&self, job: &JobRecord, tracks: usize) -> String {
        let Some(plan) = self.plan else {
            return String::new();
        };
        let total = (job.total_chunks as usize).saturating_sub(plan.tracks.unwrap_or(0));
        let chunks = match plan.tracks {
            Some(all) if total == 0 => return format!("{tracks}/{all} audio tracks"),
            Some(_) => format!("{}/{total} chunks", self.chunks),
            None => format!("{}/{total} tasks", self.chunks),
        };
        if job.phase != Some(Phase::Transcoding) || job.total_frames == 0 {
            return chunks;
        }
        let Some(fps) = self.frames_per_second() else {
            return chunks;
        };
        let mut words = format!("{chunks}  {fps:.1} fps");
        if plan.seconds > 0.0 {
            let speed = fps * plan.seconds / job.total_frames as f64;
            words.push_str(&format!("  {speed:.2}x"));
        }
        let left = job.total_frames.saturating_sub(job.completed_frames) as f64 / fps;
        words.push_str(&format!("  {} left", clock(left)));
        words
    }

    /// Over the last stretch: long enough to settle, short enough to follow.
    fn frames_per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.recent.front()?, self.recent.back()?);
        let seconds = (*to - *from).as_secs_f64();
        let frames = after.saturating_sub(*before) as f64;
        (seconds >= 1.0 && frames > 0.0).then(|| frames / seconds)
    }
}

/// How much of how much is done: frames, or tasks where there is no picture.
fn measure(job: &JobRecord) -> (u64, u64) {
    match job.total_frames {
        0 => (job.completed_chunks.into(), job.total_chunks.max(1).into()),
        frames => (job.completed_frames, frames),
    }
}

fn bar_on_stderr() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix:12} {wide_bar} {percent:>3}%  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn clock(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, 3.6e6) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_reads_as_on_a_clock() {
        assert_eq!(super::clock(59.9), "59 s");
        assert_eq!(super::clock(61.0), "1:01");
        assert_eq!(super::clock(3661.0), "1:01:01");
    }
}
