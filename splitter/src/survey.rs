//! What the probe and the scan of a source found together, and further looks where streams begin
//! later than ffprobe reads for them.

use std::path::Path;

use reelmill_common::Place;
use reelmill_common::manifest::SourceInfo;
use reelmill_common::media_info::VideoStream;
use reelmill_common::opening::{Opening, ProbeBounds};
use reelmill_common::request::JobRequest;
use reelmill_media::probe::{Found, Kind, Probed};
use reelmill_media::scan::Scanned;
use reelmill_media::scrambled::{self, Reach};
use reelmill_media::{Input, MediaError, Tools, interlace, probe, scan};
use reelmill_source::Opened;
use reelmill_stage::StageError;

use crate::choice::likely_picture;
use crate::early::{Counted, Packets};
use crate::refusal::not_media;
use crate::summary::{Scanner, Summary};
use crate::truncated::Size;

/// A stream that ends so many seconds before another is looked at once more; one with less before it is
/// scrambled counts as scrambled.
const EARLY_S: f64 = 2.0;

/// How far ffprobe and every ffmpeg of the job read for streams, one after the other, until every
/// stream's parameters are known. ffmpeg's own bounds are 5 MB and 5 to 90 s; it keeps in memory
/// what it reads. The last are 45 s of 90 Mbit/s.
const FURTHER: [ProbeBounds; 2] = [
    ProbeBounds {
        bytes: 64 << 20,
        seconds: 60,
    },
    ProbeBounds {
        bytes: 512 << 20,
        seconds: 600,
    },
];

/// Runs ffprobe on one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looker<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) opened: &'a Opened,
    pub(crate) source: &'a SourceInfo,
    pub(crate) request: &'a JobRequest,
    /// A scratch folder.
    pub(crate) dir: &'a Path,
}

/// What is known of a source after it was probed and scanned.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) opening: Opening,
    pub(crate) probed: Probed,
    pub(crate) scanned: Scanned,
    pub(crate) counted: Counted,
    /// What the file says of its own size.
    pub(crate) size: Size,
    /// What was guessed or is missing, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Survey {
    /// A sentence where ffmpeg's demuxer complains of what it reads, in formats where it does not of whole
    /// files. At the next link of a chained Ogg file whose streams are others it calls that the end.
    pub(crate) fn unread(&self) -> Option<String> {
        const DAMAGED: [&str; 5] = ["asf", "avi", "flv", "matroska", "mov"];
        let count = self.scanned.complaints;
        let mut names = self.probed.format.split(',');
        if count == 0 {
            return None;
        }
        if self.probed.format == "ogg" {
            return Some("ffmpeg cannot read all of this Ogg file: what follows where it is joined may be left out".to_owned());
        }
        names.any(|name| DAMAGED.contains(&name)).then(|| {
            format!("the file is damaged: ffmpeg complained {count} times while reading it, and what it cannot read is left out")
        })
    }

    /// Pictures and audio tracks that have packets and whose parameters the probe did not find.
    fn undetermined(&self, probed: &Probed) -> usize {
        let has_packets = |found: &&Found| self.counted.tallies.get(found.index).packets > 0;
        let streams = probed.streams.iter();
        streams
            .filter(|found| found.is_undetermined())
            .filter(has_packets)
            .count()
    }

    /// Streams that were found while the source was read, and not by this probe.
    fn unlisted(&self, probed: &Probed) -> usize {
        let listed = u32::try_from(probed.streams.len()).unwrap_or(u32::MAX);
        self.scanned.streams.saturating_sub(listed) as usize
    }

    fn missed(&self) -> usize {
        self.undetermined(&self.probed) + self.unlisted(&self.probed)
    }
}

impl Looker<'_> {
    /// Marks the streams of a transport stream that are scrambled: for ffmpeg they have no packets, or none
    /// from a time on, which a note tells.
    pub(crate) async fn find_scrambled(&self, survey: &mut Survey) -> Result<(), StageError> {
        let Survey {
            probed,
            counted,
            notes,
            ..
        } = survey;
        if probed.format != "mpegts" {
            return Ok(());
        }
        let tallies = &counted.tallies;
        let media = probed.streams.iter_mut();
        let media = media.filter(|found| matches!(found.kind, Kind::Video | Kind::Audio));
        let ends = |found: &Found| Some(found.timebase?.seconds(tallies.get(found.index).end?));
        let mut media: Vec<&mut Found> = media.collect();
        let last = media
            .iter()
            .filter_map(|found| ends(found))
            .fold(0.0, f64::max);
        let is_silent = |found: &Found| tallies.get(found.index).packets == 0;
        let ends_early = |found: &Found| ends(found).is_some_and(|end| last - end > EARLY_S);
        let reach = if media.iter().any(|found| ends_early(found)) {
            Reach::Whole
        } else {
            Reach::Beginning
        };
        media.retain(|found| is_silent(found) || ends_early(found));
        if media.is_empty() {
            return Ok(());
        }
        let input = Input::at(self.opened.place());
        let pids = scrambled::scrambled_pids(self.tools, &input, reach, self.dir).await;
        self.opened.check()?;
        let pids = match pids {
            // Where there are not two clocks in the packets, ffprobe gives up.
            Err(MediaError::Failed { .. }) => return Ok(()),
            pids => pids?,
        };
        let is_scrambled = |found: &&mut Found| found.id.is_some_and(|id| pids.contains(&id));
        for found in media.into_iter().filter(is_scrambled) {
            let clear = tallies.get(found.index).seconds(found.timebase);
            match clear.filter(|&clear| clear >= EARLY_S) {
                Some(clear) => notes.push(format!(
                    "the {} in stream {} is encrypted from {clear:.1} s on: what follows is left out",
                    found.kind.as_str(),
                    found.index
                )),
                None => found.encrypted = true,
            }
        }
        Ok(())
    }

    /// Looks further where the first look missed streams.
    pub(crate) async fn complete(&self, mut survey: Survey) -> Result<Survey, StageError> {
        for bounds in FURTHER {
            if survey.missed() == 0 {
                return Ok(survey);
            }
            let opening = Opening {
                bounds: Some(bounds),
            };
            let probed = self.probe(opening).await?;
            match usable(&probed) > usable(&survey.probed) {
                true => survey = self.scanned_again(survey, opening, probed).await?,
                // Streams that are not delivered are named in the notes; they are no reason to
                // open the source otherwise.
                false => {
                    let known = survey.probed.streams.len();
                    let further = probed.streams.into_iter().skip(known);
                    survey.probed.streams.extend(further);
                }
            }
        }
        match survey.unlisted(&survey.probed) {
            0 => {}
            count => survey.notes.push(format!(
                "{count} more stream(s) begin later than 512 MiB or 600 s, where the search for streams ends, and are left out"
            )),
        }
        Ok(survey)
    }

    async fn scanned_again(
        &self,
        survey: Survey,
        opening: Opening,
        probed: Probed,
    ) -> Result<Survey, StageError> {
        let (scanned, counted) = self.scan(opening, &probed).await?;
        Ok(Survey {
            opening,
            probed,
            scanned,
            counted,
            size: survey.size,
            notes: survey.notes,
        })
    }

    /// What one stream's packets come to on the grid: from the survey, or by another scan where that
    /// had put another stream there.
    pub(crate) async fn summary(
        &self,
        survey: &mut Survey,
        stream: u32,
        scanner: Scanner,
    ) -> Result<Option<Summary>, StageError> {
        if let Some((counted, summary)) = survey.counted.picture.take()
            && counted == stream
        {
            return Ok(summary);
        }
        let packets = Packets::of(stream, scanner);
        self.read(survey.opening, &packets).await?;
        Ok(packets.finish().picture.and_then(|(_, summary)| summary))
    }

    async fn probe(&self, opening: Opening) -> Result<Probed, StageError> {
        let input = self.input(opening);
        let probed = probe::probe(self.tools, &input, self.dir).await;
        self.opened.check()?;
        probed.map_err(|error| not_media(self.source, &error, &[]))
    }

    async fn scan(
        &self,
        opening: Opening,
        probed: &Probed,
    ) -> Result<(Scanned, Counted), StageError> {
        let packets = Packets::new(0);
        if let Some(picture) = likely_picture(self.request, probed) {
            let scanner = scanner(self.request, &picture, &probed.format);
            packets.count_with(picture.index, scanner);
        }
        let scanned = self.read(opening, &packets).await?;
        Ok((scanned, packets.finish()))
    }

    async fn read(&self, opening: Opening, packets: &Packets) -> Result<Scanned, StageError> {
        let input = self.input(opening);
        let mut add = |packet| packets.add(packet);
        let scanned = scan::scan(self.tools, &input, self.dir, &mut add).await;
        self.opened.check()?;
        scanned.map_err(|error| not_media(self.source, &error, &[]))
    }

    /// The source, opened as the encodes will open it.
    pub(crate) fn input(&self, opening: Opening) -> Input {
        let place: Place = self.opened.place();
        Input::at(place).opened(opening)
    }
}

/// Puts the packets of a picture on the grid.
pub(crate) fn scanner(request: &JobRequest, picture: &VideoStream, format: &str) -> Scanner {
    let deinterlace = interlace::deinterlace(request.profile.deinterlace, picture);
    Scanner::new(picture.timebase, request.profile.fragment_ms, format)
        .deinterlaced(deinterlace, picture.interlaced)
}

/// Pictures and audio tracks that can be transcoded.
fn usable(probed: &Probed) -> usize {
    let is_media = |found: &&Found| matches!(found.kind, Kind::Video | Kind::Audio);
    let streams = probed.streams.iter().filter(is_media);
    streams.filter(|found| found.is_usable()).count()
}
