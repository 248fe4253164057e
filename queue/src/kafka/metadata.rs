//! Reads what the brokers tell of a topic.

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::{Metadata, MetadataPartition};

/// The partitions of a topic: one at least.
pub(super) fn partitions<'a>(
    metadata: &'a Metadata,
    topic: &str,
) -> Result<&'a [MetadataPartition], Code> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or(Code::UnknownTopic)?;
    // Asked first: the partitions of a topic in error are no valid slice.
    if let Some(error) = found.error() {
        return Err(error.into());
    }
    match found.partitions() {
        [] => Err(Code::UnknownTopic),
        partitions => Ok(partitions),
    }
}
