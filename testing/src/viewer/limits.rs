//! Which deviations are no failures, because the job's notes or the documentation explain them.

use super::judge::Source;
use super::{Finding, Topic, Verdict};

/// A kind of deviation that `docs/limits.md` explains.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The heading in `docs/limits.md`.
    pub heading: &'static str,
    applies: fn(&Finding, &Context<'_>) -> bool,
}

/// What a limit may go by.
#[derive(Debug)]
struct Context<'a> {
    profile: String,
    source: &'a Source,
}

/// Every kind of deviation that the documentation explains.
pub const LIMITS: [Limit; 2] = [
    Limit {
        heading: "A profile without picture needs sound",
        applies: |finding, context| {
            finding.topic == Topic::Failed
                && context.profile == "audio"
                && context.source.decoded.tracks.is_empty()
        },
    },
    Limit {
        heading: "A source without anything to decode fails",
        applies: |finding, context| {
            finding.topic == Topic::Failed
                && context.source.decoded.tracks.is_empty()
                && context.source.decoded.picture.is_none()
        },
    },
];

/// The words in a note that explain a topic: a note about something else explains nothing.
fn words(topic: Topic) -> &'static [&'static str] {
    match topic {
        Topic::Channels => &["channel", "mixed", "layout", "delivered as"],
        Topic::Tracks => &["audio", "sound", "track"],
        Topic::Sound => &["sound", "audio", "silence"],
        Topic::Time | Topic::Sync => &["timestamp", "times", "clock", "duration", "cut off"],
        // A note that a chunk is decoded from further back says what was mended: it excuses nothing.
        Topic::Picture => &["damage", "complain", "changes size"],
        Topic::Geometry => &["pad", "size", "aspect"],
        Topic::Failed | Topic::Colour | Topic::Packets | Topic::Playing | Topic::Unsaid => &[],
    }
}

/// Gives every deviation its reason, where there is one.
pub fn explain(source: &Source, verdict: &mut Verdict) {
    let context = Context {
        profile: verdict.profile.clone(),
        source,
    };
    for finding in &mut verdict.findings {
        let limit = LIMITS
            .iter()
            .find(|limit| (limit.applies)(finding, &context));
        let note = verdict.notes.iter().find(|note| {
            let note = note.to_lowercase();
            words(finding.topic).iter().any(|word| note.contains(word))
        });
        finding.reason = limit
            .map(|limit| format!("docs/limits.md: {}", limit.heading))
            .or_else(|| note.map(|note| format!("note: {note}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_documented() {
        let page = include_str!("../../../docs/limits.md");
        for limit in LIMITS {
            let heading = format!("### {}\n", limit.heading);
            assert!(page.contains(&heading), "no `{heading}`");
        }
    }
}
