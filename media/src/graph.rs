//! The filter graphs of an encode: what happens to a picture between the decoder and the encoders.

use reelmill_common::manifest::RenditionPlan;
use reelmill_common::profile::Deinterlace;

use crate::encode::{EncodeRequest, PTS_FILE};
use crate::interlace::filters;
use crate::scale;
use crate::tools::Tools;

impl EncodeRequest<'_> {
    /// The filter graphs. One does for all, except that ffmpeg 8 and later tell only the output that
    /// gets a graph's first frame what the source says of its light (HDR10). There each output has its
    /// own graph over the same decoder, so that all are told, and in every window.
    pub(crate) fn graphs(&self, tools: &Tools) -> Vec<String> {
        if !tools.tells_once_of_light() || self.is_costly() {
            return vec![self.graph()];
        }
        let rendition = |(index, rendition): (usize, &RenditionPlan)| {
            let frames = self.frames(index == 0);
            let scale = self.scale(rendition);
            format!("{},{frames},{scale}[v{index}]", self.source())
        };
        let mut graphs: Vec<String> = self.renditions.iter().enumerate().map(rendition).collect();
        if self.hashes() {
            graphs.push(format!("{},{}[hashed]", self.source(), self.hash_filters()));
        }
        graphs
    }

    /// All that is made of the source, in one graph.
    fn graph(&self) -> String {
        let mut graph = self.source();
        if self.hashes() {
            graph.push_str(",split=2[all][near];[near]");
            graph.push_str(&self.hash_filters());
            graph.push_str("[hashed];[all]");
        } else {
            graph.push(',');
        }
        graph.push_str(&self.frames(true));
        graph.push_str(&format!(",split={}", self.renditions.len()));
        for index in 0..self.renditions.len() {
            graph.push_str(&format!("[w{index}]"));
        }
        for (index, rendition) in self.renditions.iter().enumerate() {
            graph.push_str(&format!(";[w{index}]{}[v{index}]", self.scale(rendition)));
        }
        graph
    }

    /// Whether there is work before the picture is shared out, which is to be done once.
    fn is_costly(&self) -> bool {
        self.source.interlaced && self.deinterlace != Deinterlace::Off
    }

    /// The decoded picture, progressive.
    fn source(&self) -> String {
        let filters = filters(self.timebase, self.deinterlace, self.source);
        format!("[0:{}]{filters}", self.stream)
    }

    /// The window's frames at their times; `listed` in a file as well. They are chosen by PTS behind
    /// every filter that remembers frames.
    fn frames(&self, listed: bool) -> String {
        let mut filters = String::new();
        if let Some(trim) = trim(self.window.start, self.window.end) {
            filters.push_str(&trim);
            filters.push(',');
        }
        if listed {
            // `metadata=print` passes over frames without metadata, hence the mark.
            filters.push_str("metadata=mode=add:key=k:value=1,");
            filters.push_str(&format!("metadata=mode=print:file={PTS_FILE},"));
        }
        let mut zero = self.zero;
        if let Some(fine) = self.fine_timebase() {
            filters.push_str(&format!("settb={fine},"));
            zero = self.timebase.rescale_nearest(zero, fine);
        }
        let zero = if self.copy_timestamps {
            zero.to_string()
        } else {
            "STARTPTS".to_owned()
        };
        // As `Increasing` does with the list, or the worker with finer times.
        filters.push_str(&format!(
            "setpts='if(N,max(PTS-({zero}),PREV_OUTPTS+1),PTS-({zero}))'"
        ));
        filters
    }

    fn scale(&self, rendition: &RenditionPlan) -> String {
        scale::filters(self.source, self.changes, rendition)
    }

    fn hash_filters(&self) -> String {
        let from = self.start_seam.map(|seam| seam.from);
        let to = self.end_seam.map(|seam| seam.to);
        if self.every_frame {
            return trim(from, to).unwrap_or_else(|| "null".to_owned());
        }
        let near = self.start_seam.iter().chain(&self.end_seam);
        let near = near.map(|seam| format!("between(pts,{},{})", seam.from, seam.to - 1));
        // The very first frame as well: ffmpeg reports no progress before every output has begun.
        let ranges: Vec<String> = std::iter::once("not(n)".to_owned()).chain(near).collect();
        // The trim is what ends the decoding after the last frame compared.
        let end = trim(None, to).map_or_else(String::new, |trim| format!("{trim},"));
        format!("{end}select='{}'", ranges.join("+"))
    }
}

fn trim(from: Option<i64>, to: Option<i64>) -> Option<String> {
    match (from, to) {
        (None, None) => None,
        (Some(from), None) => Some(format!("trim=start_pts={from}")),
        (None, Some(to)) => Some(format!("trim=end_pts={to}")),
        (Some(from), Some(to)) => Some(format!("trim=start_pts={from}:end_pts={to}")),
    }
}
