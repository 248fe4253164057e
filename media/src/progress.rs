//! ffmpeg's `-progress` lines.

/// The number of frames that a line of `-progress` reports, if it is such a line.
pub(crate) fn frames(line: &str) -> Option<u64> {
    line.strip_prefix("frame=")
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_frame_line_counts() {
        assert_eq!(super::frames("frame=  12"), Some(12));
        assert_eq!(super::frames("fps=25.0"), None);
        assert_eq!(super::frames("frame=N/A"), None);
    }
}
