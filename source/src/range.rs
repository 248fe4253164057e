//! The one header that a range server must understand.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All bytes: there is no header, or none that must be heeded (RFC 9110, 14.2).
    Whole,
    /// These.
    Part(Range<u64>),
    /// None that there are.
    Nothing,
}

/// Reads a `Range` header for a source of `size` bytes. Several ranges at once are answered with
/// the whole, as a server may.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let spec = header
        .and_then(|header| header.split_once('='))
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .and_then(|(_, spec)| spec.trim().split_once('-'));
    let Some((first, last)) = spec else {
        return Wanted::Whole;
    };
    let (first, last) = (number(first), number(last));
    let range = match (first, last) {
        (Ok(None), Ok(Some(suffix))) => size.saturating_sub(suffix)..size,
        (Ok(Some(first)), Ok(None)) => first..size,
        (Ok(Some(first)), Ok(Some(last))) if first <= last => {
            first..last.saturating_add(1).min(size)
        }
        _ => return Wanted::Whole,
    };
    match range.start < range.end {
        true => Wanted::Part(range),
        false => Wanted::Nothing,
    }
}

/// A number, nothing, or what is neither.
fn number(text: &str) -> Result<Option<u64>, ()> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    // More than fits lies past the end of any source.
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_range() {
        let of_100 = |header| wanted(Some(header), 100);
        assert_eq!(wanted(None, 100), Wanted::Whole);
        assert_eq!(of_100("bytes=0-"), Wanted::Part(0..100));
        assert_eq!(of_100("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(of_100("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(of_100("Bytes = 10-999"), Wanted::Part(10..100));
        assert_eq!(of_100("bytes=-30"), Wanted::Part(70..100));
        assert_eq!(of_100("bytes=-300"), Wanted::Part(0..100));
        assert_eq!(
            of_100("bytes=5-99999999999999999999999"),
            Wanted::Part(5..100)
        );
        for nothing in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(of_100(nothing), Wanted::Nothing, "{nothing}");
        }
        for whole in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=9-8",
            "bytes=a-b",
            "bytes=0-1,5-6",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(of_100(whole), Wanted::Whole, "{whole}");
        }
    }
}
