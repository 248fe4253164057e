//! Which options of an encoder a profile may set, and why not the others.
//!
//! What may be set is listed, so that a slip is found before an encode starts and no option can
//! reach past the encoder: to files, to other outputs, to what makes chunks join exactly.

use super::reader::{At, Doc, list, nearest, shorten};
use super::{ProfileError, VideoCodec};

/// Options of ffmpeg's encoder, without those that reelmill sets; the same in ffmpeg 5.1 and 9.
#[rustfmt::skip]
fn allowed(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &[
            "x264-params", "profile", "level", "tune", "bf", "refs", "me_range", "subq", "trellis",
            "qmin", "qmax", "qdiff", "qcomp", "qblur", "i_qfactor", "b_qfactor", "sc_threshold",
            "wpredp", "weightp", "weightb", "a53cc", "aq-mode", "aq-strength", "psy", "psy-rd",
            "rc-lookahead", "b-bias", "b-pyramid", "b_strategy", "mixed-refs", "8x8dct",
            "fast-pskip", "aud", "mbtree", "deblock", "cplxblur", "partitions", "direct-pred",
            "slices", "slice-max-size", "motion-est", "coder", "chromaoffset", "noise_reduction",
        ],
        VideoCodec::Hevc => &[
            "x265-params", "profile", "tune", "bf", "refs", "qmin", "qmax", "qdiff", "qcomp",
            "qblur", "i_qfactor", "b_qfactor",
        ],
        VideoCodec::Av1 => &["svtav1-params", "qmin", "qmax"],
        VideoCodec::Vp9 => &[
            "profile", "level", "tune", "tune-content", "qmin", "qmax", "lag-in-frames",
            "auto-alt-ref", "arnr-maxframes", "arnr-strength", "arnr-type", "aq-mode",
            "tile-columns", "tile-rows", "frame-parallel", "static-thresh", "max-intra-rate",
            "noise-sensitivity", "undershoot-pct", "overshoot-pct", "corpus-complexity",
            "enable-tpl", "sharpness",
        ],
    }
}

/// Parameters that ffmpeg 5.1 and 9 both pass on inside `x264-params`, `x265-params` and
/// `svtav1-params`; `no-` may stand before one.
#[rustfmt::skip]
fn allowed_params(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &[
            "ref", "bframes", "b-adapt", "b-bias", "b-pyramid", "deblock", "cabac", "scenecut",
            "me", "merange", "mvrange", "subme", "psy", "psy-rd", "chroma-me", "mixed-refs",
            "trellis", "8x8dct", "fast-pskip", "dct-decimate", "deadzone-inter", "deadzone-intra",
            "nr", "rc-lookahead", "qpmin", "qpmax", "qpstep", "ratetol", "ipratio", "pbratio",
            "aq-mode", "aq-strength", "qcomp", "mbtree", "qblur", "cplxblur", "weightb", "weightp",
            "direct", "chroma-qp-offset", "partitions", "analyse", "level", "constrained-intra",
            "slices", "slices-max", "slice-max-size", "slice-max-mbs", "slice-min-mbs", "cqm",
            "aud",
        ],
        VideoCodec::Hevc => &[
            "ref", "bframes", "b-adapt", "bframe-bias", "b-pyramid", "b-intra", "weightp",
            "weightb", "rc-lookahead", "gop-lookahead", "lookahead-slices", "scenecut",
            "scenecut-bias", "ctu", "min-cu-size", "max-tu-size", "tu-intra-depth",
            "tu-inter-depth", "limit-tu", "limit-refs", "limit-modes", "rect", "amp", "early-skip",
            "rskip", "rskip-edge-threshold", "fast-intra", "cu-lossless", "tskip", "tskip-fast",
            "rd", "rd-refine", "rdoq-level", "rdpenalty", "dynamic-rd", "ssim-rd", "splitrd-skip",
            "psy-rd", "psy-rdoq", "me", "subme", "merange", "max-merge", "temporal-mvp", "hme",
            "hme-search", "hme-range", "analyze-src-pics", "strong-intra-smoothing",
            "constrained-intra", "deblock", "sao", "sao-non-deblock", "limit-sao", "selective-sao",
            "aq-mode", "aq-strength", "aq-motion", "hevc-aq", "qg-size", "qp-adaptation-range",
            "cutree", "qcomp", "qpstep", "qpmin", "qpmax", "qblur", "cplxblur", "ipratio",
            "pbratio", "rc-grain", "const-vbv", "cbqpoffs", "crqpoffs", "nr-intra", "nr-inter",
            "signhide", "wpp", "hdr10-opt", "lowpass-dct", "slices",
            "fades", "aud",
        ],
        VideoCodec::Av1 => &[
            "tune", "film-grain", "film-grain-denoise", "enable-overlays", "enable-qm", "qm-min",
            "qm-max", "enable-cdef", "enable-dlf", "enable-restoration", "enable-tf",
            "enable-mfmv", "lookahead", "hierarchical-levels", "aq-mode", "tile-rows",
            "tile-columns", "scm", "fast-decode", "min-qp", "max-qp", "undershoot-pct",
            "overshoot-pct", "mbr-overshoot-pct", "recode-loop",
        ],
        VideoCodec::Vp9 => &[],
    }
}

/// Why reelmill keeps an option to itself, with `-` for `_` and no `no-`.
#[rustfmt::skip]
const RESERVED: &[(&str, &[&str])] = &[
    ("keyframes stand where fragments begin, so that chunks join and players can switch", &[
        "g", "keyint", "keyint-min", "min-keyint", "force-key-frames", "forced-idr", "open-gop",
        "intra-refresh", "irefresh-type", "intra-period", "idr-recovery-sei", "radl", "scd",
        "enable-force-key-frames", "sframe-dist", "sframe-mode", "bluray-compat", "avcintra-class",
        "avcintra-flavor", "flags", "flags2", "hist-scenecut", "pred-struct", "min-gf-interval",
        "temporal-layers",
    ]),
    ("the plan of a job fixes it, so that every worker makes the same bytes", &[
        "threads", "thread-type", "lookahead-threads", "sliced-threads", "sync-lookahead",
        "frame-threads", "pools", "numa-pools", "pmode", "pme", "lp", "pin", "ss", "row-mt",
        "deterministic", "non-deterministic", "cpu-independent", "asm", "opencl", "opencl-device",
        "svt", "mvrange-thread", "logical-processors",
    ]),
    ("every frame of the source is delivered once, at its own time", &[
        "r", "fps", "vsync", "fps-mode", "enc-time-base", "time-base", "timebase", "copyts",
        "video-track-timescale", "start-at-zero", "force-cfr", "vfr-input", "fps-num", "fps-denom",
        "t", "to", "itsoffset", "frames", "vframes", "frame-dup", "dup-threshold", "seek",
        "drop-threshold", "frame-drop-threshold", "pulldown", "tcfile-in", "shortest",
    ]),
    ("the size, the pixel format and the filters follow from the rung and the source", &[
        "vf", "filter", "filter-complex", "filter-script", "lavfi", "s", "aspect", "sar", "pix-fmt",
        "sws-flags", "autorotate", "interlace", "interlaced", "field", "tff", "bff", "top",
        "fake-interlaced", "resize-mode", "superres-mode", "input-res", "input-csp", "input-depth",
        "output-depth", "crop-rect", "width", "height", "frame-packing", "pic-struct",
    ]),
    ("the colour description is the source's", &[
        "color-primaries", "color-trc", "colorspace", "color-range", "chroma-sample-location",
        "colorprim", "transfer", "colormatrix", "range", "fullrange", "videoformat", "chromaloc",
        "overscan", "master-display", "mastering-display", "max-cll", "cll", "content-light",
        "hdr10", "enable-hdr", "alternative-transfer", "atc-sei", "dolbyvision", "min-luma",
        "max-luma", "transfer-characteristics", "matrix-coefficients", "chroma-sample-position",
        "dolby-vision-profile", "dolby-vision-rpu",
    ]),
    ("the rate is set by `crf`, `max_kbps`, `kbps` or `lossless`", &[
        "crf", "qp", "cqp", "b", "bitrate", "maxrate", "minrate", "bufsize", "vbv-maxrate",
        "vbv-bufsize", "vbv-init", "vbv-end", "crf-max", "crf-min", "lossless", "rc", "tbr", "mbr",
        "rc-init-occupancy", "nal-hrd", "hrd", "strict-cbr", "filler", "global-quality",
    ]),
    ("it is set by `preset`", &["preset", "cpu-used", "speed", "quality", "deadline", "fast-first-pass", "fastfirstpass"]),
    ("a level brings ceilings of its own, which x265 then keeps to in a way that differs from run to run", &[
        "level-idc", "high-tier",
    ]),
    ("every chunk must have the same headers, once, in the init segment", &[
        "annexb", "repeat-headers", "global-header", "stitchable", "sps-id", "opt-qp-pps",
        "opt-ref-list-length-pps", "multi-pass-opt-rps", "single-sei", "vui-hrd-info", "strict",
        "vui-timing-info", "eob", "eos",
    ]),
    ("it counts frames, and each chunk counts its own", &["zones", "chunk-start", "chunk-end", "total-frames"]),
    ("a profile names no inputs, outputs or files", &[
        "i", "y", "n", "f", "map", "c", "codec", "vcodec", "acodec", "an", "vn", "sn", "dn", "bsf",
        "tag", "vtag", "movflags", "frag-duration", "metadata", "attach", "stats", "x265-stats",
        "pass", "passes", "passlogfile", "log-file", "log", "log-level", "loglevel", "report",
        "csv", "csv-log-level", "dump-yuv", "recon", "qpfile", "zonefile", "lambda-file",
        "scaling-list", "cqmfile", "dhdr10-info", "nalu-file", "opencl-clbin", "analysis-save",
        "analysis-load", "analysis-reuse-file", "progress", "vstats", "vstats-file", "stat-file",
        "errlog", "fgs-table", "film-grain-table",
    ]),
];

/// Checks one option of `[video.options]` or `[rung.options]`.
pub(super) fn check(
    doc: Doc<'_>,
    codec: VideoCodec,
    name: &At<String>,
    value: &At<String>,
) -> Result<(), ProfileError> {
    if !allowed(codec).contains(&name.value.as_str()) {
        return Err(doc.error(
            name.span.clone(),
            refusal(&name.value, codec, allowed(codec), "option"),
        ));
    }
    let printable = |c: char| c.is_ascii_graphic() && !"'\"\\".contains(c);
    if value.value.is_empty() || value.value.len() > 1000 || !value.value.chars().all(printable) {
        let message = format!(
            "the value of `{}` is not one that an encoder takes: write 1 to 1000 ASCII characters without blanks, quotes and backslashes",
            name.value
        );
        return Err(doc.error(value.span.clone(), message));
    }
    if name.value.ends_with("-params") {
        check_params(doc, codec, name, value)
    } else {
        Ok(())
    }
}

/// Checks `key=value:key=value`, pointing at the parameter that is wrong.
fn check_params(
    doc: Doc<'_>,
    codec: VideoCodec,
    name: &At<String>,
    value: &At<String>,
) -> Result<(), ProfileError> {
    for part in value.value.split(':') {
        let written = doc.text.get(value.span.clone()).unwrap_or_default();
        // Escapes may hide the part in the file's own words; then the whole value is meant.
        let found = (!part.is_empty()).then(|| written.find(part)).flatten();
        let span = found.map_or(value.span.clone(), |at| {
            value.span.start + at..value.span.start + at + part.len()
        });
        let Some((key, _)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            let message = format!(
                "`{}` in `{}` has no value: write `name=value`, with `:` between two of them",
                shorten(part),
                name.value
            );
            return Err(doc.error(span, message));
        };
        let plain = key.replace('_', "-");
        let plain = plain.strip_prefix("no-").unwrap_or(&plain);
        if !allowed_params(codec).contains(&plain) {
            let message = refusal(key, codec, allowed_params(codec), "parameter");
            return Err(doc.error(span, message));
        }
    }
    Ok(())
}

fn refusal(name: &str, codec: VideoCodec, allowed: &[&'static str], kind: &str) -> String {
    let shown = shorten(name);
    let plain = name
        .trim_start_matches('-')
        .split(':')
        .next()
        .unwrap_or_default();
    let dashed = plain.to_ascii_lowercase().replace('_', "-");
    let dashed = dashed.strip_prefix("no-").unwrap_or(&dashed);
    if dashed == "x264opts" {
        return "`x264opts` is not taken: write it as `x264-params`".to_owned();
    }
    if let Some((reason, _)) = RESERVED.iter().find(|(_, names)| names.contains(&dashed)) {
        return format!("`{shown}` may not be set by a profile, as {reason}: leave it out");
    }
    let way_out = match nearest(plain, allowed.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if allowed.len() <= 8 => format!("possible are {}", list(allowed.iter().copied())),
        None => "docs/profiles.md lists those that are possible".to_owned(),
    };
    format!(
        "`{shown}` is no {kind} of `{}` that a profile may set: {way_out}",
        codec.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reserved_is_allowed() {
        for (_, names) in RESERVED {
            for name in *names {
                for codec in VideoCodec::ALL {
                    let dashed = |option: &&&str| option.replace('_', "-") == *name;
                    assert!(
                        !allowed(codec).iter().any(|o| dashed(&o)),
                        "{name} {codec:?}"
                    );
                    assert!(!allowed_params(codec).contains(name), "{name} {codec:?}");
                }
            }
        }
    }

    #[test]
    fn a_reserved_option_is_refused_however_it_is_spelt() {
        for name in [
            "g",
            "-g",
            "g:v",
            "force_key_frames",
            "movflags",
            "-vf",
            "b:v",
            "no-open-gop",
        ] {
            let message = refusal(name, VideoCodec::H264, allowed(VideoCodec::H264), "option");
            assert!(message.contains("may not be set"), "{message}");
        }
    }

    #[test]
    fn every_option_is_documented() {
        let docs = include_str!("../../../docs/profiles.md");
        for codec in VideoCodec::ALL {
            for name in allowed(codec).iter().chain(allowed_params(codec)) {
                assert!(docs.contains(&format!("`{name}`")), "{name} of {codec:?}");
            }
        }
    }
}
