//! Listing, page by page.

use reelmill_common::ObjectKey;

use super::bucket::{Bucket, size, whole_seconds};
use super::refusal::Refusal;
use crate::{ObjectMeta, StoreError};

/// What the service gives at a time, at most.
const PAGE: usize = 1000;

pub(super) async fn list(
    bucket: &Bucket,
    prefix: &str,
    after: Option<&ObjectKey>,
    limit: usize,
) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut found = vec![];
    // A prefix is any text, also such as makes services that keep files stumble.
    if limit == 0 || !can_begin_a_key(prefix) {
        return Ok(found);
    }
    let after = after.map(|key| bucket.name_of(key));
    let mut next = None;
    loop {
        let wanted = (limit - found.len()).min(PAGE);
        let request = bucket.client.list_objects_v2().bucket(&bucket.name);
        let answer = request
            .prefix(format!("{}{prefix}", bucket.root))
            .set_start_after(after.clone())
            .set_continuation_token(next)
            .max_keys(i32::try_from(wanted).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| {
                Refusal::from(error).about_name("list", name(prefix), &bucket.place)
            })?;
        // What is not a key of ours was put there by others, or is a probe.
        found.extend(answer.contents().iter().filter_map(|object| {
            Some(ObjectMeta {
                key: bucket.key_of(object.key()?)?,
                size: size(object.size()),
                modified: whole_seconds(object.last_modified()),
            })
        }));
        next = answer.next_continuation_token().map(str::to_owned);
        if found.len() >= limit || answer.is_truncated() != Some(true) || next.is_none() {
            return Ok(found);
        }
    }
}

/// What an error calls the listing.
fn name(prefix: &str) -> String {
    match prefix {
        "" => "all objects".to_owned(),
        prefix => format!("{prefix}*"),
    }
}

fn can_begin_a_key(prefix: &str) -> bool {
    prefix.is_empty()
        || ObjectKey::new(prefix).is_ok()
        || ObjectKey::new(format!("{prefix}x")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::can_begin_a_key;

    #[test]
    fn a_prefix_that_no_key_has_is_known() {
        let longest = "k".repeat(512);
        for good in ["", "a", "a/", "a/b.", "a/b", &longest] {
            assert!(can_begin_a_key(good), "`{good}`");
        }
        let too_long = "k".repeat(513);
        for bad in [
            "/", "/a", "a//", ".", "..", "../", "./a", "a/.", "é", "a b", &too_long,
        ] {
            assert!(!can_begin_a_key(bad), "`{bad}`");
        }
    }
}
