use super::*;

/// A frame's time as it was decoded, and its picture.
fn frame(pts: i64, hash: &str) -> SeamFrame {
    SeamFrame {
        pts,
        hash: hash.to_owned(),
    }
}

/// The problems of one chunk that delivered frames at these times, when the source decodes to
/// others.
fn problems(delivered: &[i64], decoded: &[SeamFrame], seam: &[SeamFrame]) -> Vec<String> {
    let golden = include_str!("../../../../../common/tests/golden/certificate_v1.json");
    let mut certificate: Certificate = serde_json::from_str(golden).unwrap();
    let chunk = &mut certificate.chunks[0];
    let mut digest = Hasher::default();
    for pts in delivered {
        digest.update(format!("{pts}\n").as_bytes());
    }
    chunk.frames = delivered.len() as u64;
    chunk.pts_digest = digest.finish().0;
    chunk.end_seam = seam.to_vec();
    let mut compare = Compare::new(&certificate);
    decoded.iter().for_each(|frame| compare.frame(frame));
    let mut problems = Vec::new();
    compare.finish(&mut problems);
    problems
}

#[test]
fn frames_that_were_given_later_times_are_as_certified() {
    let decoded = [(0, "a"), (40, "b"), (40, "c"), (20, "d"), (80, "e")];
    let decoded = decoded.map(|(pts, hash)| frame(pts, hash));
    let none: [String; 0] = [];
    assert_eq!(
        problems(&[0, 40, 41, 42, 80], &decoded, &decoded[1..3]),
        none
    );
    let [problem] = problems(&[0, 40, 41, 43, 80], &decoded, &[])
        .try_into()
        .unwrap();
    assert!(problem.contains("at other times"), "{problem}");
    let other = [frame(40, "x"), frame(40, "y")];
    assert_eq!(problems(&[0, 40, 41, 42, 80], &decoded, &other).len(), 2);
}

#[test]
fn the_first_frame_that_differs_is_named() {
    let shown = |hashes: &[&str]| {
        let mut shown = Fingerprints::default();
        for hash in hashes {
            shown.add(&frame(0, &format!("{hash}{:030}", 0)));
        }
        shown
    };
    let source = shown(&["0a", "0b", "0c"]);
    assert_eq!(source.first_difference(&source), None);
    assert_eq!(
        source.first_difference(&shown(&["0a", "ff", "0c"])),
        Some(1)
    );
    assert_eq!(source.first_difference(&shown(&["0a", "0b"])), Some(2));
    let nothing_told = shown(&["--"]);
    assert_eq!(nothing_told.first_difference(&nothing_told), Some(0));
}
