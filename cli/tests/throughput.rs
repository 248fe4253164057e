//! The corpus' files for throughput: long enough to be cut into many chunks, as films are.
#![cfg(test)]

mod common;

use common::*;
use serde_json::Value;

/// Packets of the picture, from prose such as `h264 1920x1080 …; 17 key/816 pkt, gop≤1.92 s`.
fn packets(row: &Value) -> u64 {
    let text = row["streams"].as_str().unwrap();
    let before = text.split(" pkt").next().unwrap();
    before.rsplit('/').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs CORPUS_DIR"]
fn every_throughput_file_is_cut_and_proven() {
    let corpus = corpus();
    let catalog = std::fs::read(corpus.join("catalog.json")).unwrap();
    let catalog: Vec<Value> = serde_json::from_slice(&catalog).unwrap();
    let rows = catalog
        .iter()
        .filter(|row| row["file"].as_str().unwrap().starts_with("perf/"));
    let dir = folder();
    let text = quick_profile("2", &[120], "[\"mp4\", \"hls\"]");
    let profile = profile_file(dir.path(), "quick.toml", &text);
    let mut count = 0;
    for row in rows {
        let file = row["file"].as_str().unwrap();
        assert_eq!(row["expected"], "ok", "{file}: what is expected?");
        let out = dir.path().join(count.to_string());
        let mut command = transcode(&corpus.join(file), &out, &profile);
        let ran = run(command.args(["--window", "10", "--json"])).ended(0);
        let report = ran.json();
        println!("{file}: {} chunks, {:?}", report["chunks"], ran.took);
        assert!(report["chunks"].as_u64().unwrap() >= 4, "{file}: {ran:#?}");
        assert_eq!(report["outputs"][0]["frames"], packets(row), "{file}");
        // Nothing but what a source without a colour description leaves open.
        let notes = report["notes"].as_array().unwrap();
        let assumed = |note: &Value| note.as_str().unwrap().ends_with(" is assumed");
        assert!(notes.iter().all(assumed), "{file}: {notes:?}");
        run(reelmill().arg("verify").arg(&out)).ended(0);
        count += 1;
    }
    assert!(count >= 3, "only {count} files");
}
