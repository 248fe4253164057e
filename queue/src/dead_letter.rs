//! The envelope in which a message lies among the dead letters, the same on every backend.

use reelmill_common::message::Topic;
use serde::{Deserialize, Serialize};

/// The version that this build writes; it reads this one and all before it.
const VERSION: u32 = 1;

/// A message that ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from, and where a retry puts it back.
    pub topic: Topic,
    /// As published.
    pub key: String,
    /// As published; possibly not a message at all.
    pub payload: Vec<u8>,
    /// Why it is here.
    pub cause: Cause,
    /// When it came here, in milliseconds since 1970.
    pub at: u64,
}

/// Why a message ended without success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// One sentence.
    pub reason: String,
    /// The command line that failed, for whoever wants to see it fail; empty where none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The last words of that command; empty where there were none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Cause {
    /// A cause of which there is nothing but the sentence.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            ..Self::default()
        }
    }
}

/// Why bytes are not a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// Not JSON, or not of this shape.
    #[error("cannot read the dead letter: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer reelmill.
    #[error("the dead letter has version {0}, this reelmill reads up to {VERSION}: update it")]
    Version(u32),
    /// From a topic that there is not.
    #[error("the dead letter is from `{0}`, which is no topic")]
    Topic(String),
    /// The payload is not what its form says.
    #[error("the payload of the dead letter is not hexadecimal")]
    Payload(#[source] hex::FromHexError),
}

/// As it is sent.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    topic: String,
    key: String,
    payload: Payload,
    #[serde(flatten)]
    cause: Cause,
    at: u64,
}

/// Readable wherever it can be.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Text(String),
    Hex(String),
}

impl DeadLetter {
    /// The dead letter as it is sent.
    ///
    /// # Errors
    /// [`DeadLetterError::Malformed`] should JSON ever refuse a field; no field does.
    pub fn encode(&self) -> Result<Vec<u8>, DeadLetterError> {
        let payload = match std::str::from_utf8(&self.payload) {
            Ok(text) => Payload::Text(text.to_owned()),
            Err(_) => Payload::Hex(hex::encode(&self.payload)),
        };
        let envelope = Envelope {
            version: VERSION,
            topic: self.topic.as_str().to_owned(),
            key: self.key.clone(),
            payload,
            cause: self.cause.clone(),
            at: self.at,
        };
        Ok(serde_json::to_vec(&envelope)?)
    }

    /// Reads a dead letter as it was sent.
    ///
    /// # Errors
    /// [`DeadLetterError`] when the bytes are none or a newer one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeadLetterError> {
        // First, because a newer version may have another shape.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version > VERSION {
            return Err(DeadLetterError::Version(version));
        }
        let envelope: Envelope = serde_json::from_slice(bytes)?;
        let topic = Topic::ALL
            .into_iter()
            .find(|topic| topic.as_str() == envelope.topic);
        Ok(Self {
            topic: topic.ok_or(DeadLetterError::Topic(envelope.topic))?,
            key: envelope.key,
            payload: match envelope.payload {
                Payload::Text(text) => text.into_bytes(),
                Payload::Hex(digits) => hex::decode(digits).map_err(DeadLetterError::Payload)?,
            },
            cause: envelope.cause,
            at: envelope.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> [DeadLetter; 3] {
        let text = DeadLetter {
            topic: Topic::Chunks,
            key: "j1/chunk-003".to_owned(),
            payload: br#"{"v":1,"job":"j1","task":"chunk-003"}"#.to_vec(),
            cause: Cause::new("every attempt is used up: 4 of 4"),
            at: 1_700_000_000_123,
        };
        let raw = DeadLetter {
            topic: Topic::Ingest,
            key: String::new(),
            payload: vec![0xff, 0x00, 0x7b],
            cause: Cause::new("cannot read the message: expected value at line 1 column 1"),
            at: 0,
        };
        let failed = DeadLetter {
            cause: Cause {
                reason: "ffmpeg failed to encode with exit code 187".to_owned(),
                command: "ffmpeg -i 'a film.mp4' v.mp4".to_owned(),
                detail: "[h264] [error] bad cseq\nConversion failed!".to_owned(),
            },
            ..text.clone()
        };
        [text, raw, failed]
    }

    #[test]
    fn version_1_stays_as_it_was_written() {
        let golden = include_str!("../tests/golden/dead_letters_v1.jsonl");
        assert_eq!(golden.lines().count(), 3);
        for (line, letter) in golden.lines().zip(letters()) {
            assert_eq!(DeadLetter::decode(line.as_bytes()).unwrap(), letter);
            assert_eq!(String::from_utf8(letter.encode().unwrap()).unwrap(), line);
        }
    }

    #[test]
    fn what_is_no_dead_letter_is_refused_with_a_sentence() {
        let with = |version: u32, topic: &str, payload: &str| {
            let text = format!(
                r#"{{"version":{version},"topic":"{topic}","key":"","payload":{payload},"reason":"","at":0}}"#
            );
            DeadLetter::decode(text.as_bytes()).map_err(|error| error.to_string())
        };
        assert!(with(1, "video-chunks", r#"{"text":""}"#).is_ok());
        assert_eq!(
            with(2, "video-chunks", r#"{"new":[]}"#).unwrap_err(),
            "the dead letter has version 2, this reelmill reads up to 1: update it"
        );
        assert_eq!(
            with(1, "x", r#"{"text":""}"#).unwrap_err(),
            "the dead letter is from `x`, which is no topic"
        );
        assert_eq!(
            with(1, "video-chunks", r#"{"hex":"0"}"#).unwrap_err(),
            "the payload of the dead letter is not hexadecimal"
        );
        assert!(matches!(
            DeadLetter::decode(b"\xff"),
            Err(DeadLetterError::Malformed(_))
        ));
    }
}
