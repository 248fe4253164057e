//! What a source says of its picture that no output carries.

use super::report::{SideData, Stream};

/// Whether the picture's samples are Dolby's ICtCp: profile 5, and 4 and 8 without a compatible base
/// layer. Other programs show them in green and violet.
pub(super) fn needs_dolby_vision(stream: &Stream) -> bool {
    let base = |data: &SideData| data.dv_bl_signal_compatibility_id == Some(0);
    stream
        .side_data_list
        .iter()
        .any(|data| match data.dv_profile {
            Some(5) => true,
            Some(8 | 10) => base(data),
            _ => false,
        })
}

/// One sentence for each thing that is said of a picture and that no output carries.
pub(super) fn unkept(stream: &Stream) -> Vec<String> {
    let index = stream.index;
    let say = |data: &SideData| {
        let what = match (data.side_data_type.as_deref()?, data.kind.as_deref()) {
            ("DOVI configuration record", _) => "is Dolby Vision: its base layer is delivered, without the dynamic metadata and any enhancement layer".to_owned(),
            ("Stereo 3D", Some(kind)) if kind != "2D" => {
                format!("is stereoscopic ({kind}): it is delivered as it is stored, and no output says so")
            }
            ("Spherical Mapping", _) => {
                "is spherical: it is delivered as it is stored, and no output says so".to_owned()
            }
            _ => return None,
        };
        Some(format!("the picture in stream {index} {what}"))
    };
    stream.side_data_list.iter().filter_map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Found, parse};

    fn picture(side_data: &str) -> Found {
        let json = format!(
            r#"{{"streams": [{{"index": 2, "codec_type": "video", "codec_name": "hevc", "width": 64,
            "height": 64, "pix_fmt": "yuv420p10le", "time_base": "1/25", "side_data_list": [{side_data}]}}]}}"#
        );
        parse(&json).unwrap().streams.remove(0)
    }

    #[test]
    fn dolby_vision_without_a_base_layer_is_told_from_the_rest() {
        let dovi = |profile, base| {
            picture(&format!(
                r#"{{"side_data_type": "DOVI configuration record", "dv_profile": {profile},
                "el_present_flag": 0, "dv_bl_signal_compatibility_id": {base}}}"#
            ))
        };
        for (profile, base, needed) in [
            (5, 0, true),
            (8, 0, true),
            (8, 1, false),
            (8, 4, false),
            (7, 6, false),
        ] {
            let found = dovi(profile, base);
            assert_eq!(found.needs_dolby_vision, needed, "{profile}.{base}");
            assert!(found.unkept[0].starts_with("the picture in stream 2 is Dolby Vision: "));
        }
    }

    #[test]
    fn what_no_output_says_is_a_note() {
        let stereo =
            picture(r#"{"side_data_type": "Stereo 3D", "type": "side by side", "inverted": 0}"#);
        assert_eq!(
            stereo.unkept,
            [
                "the picture in stream 2 is stereoscopic (side by side): it is delivered as it is stored, and no output says so"
            ]
        );
        let mono = picture(r#"{"side_data_type": "Stereo 3D", "type": "2D", "inverted": 0}"#);
        assert!(mono.unkept.is_empty() && !mono.needs_dolby_vision);
        let round =
            picture(r#"{"side_data_type": "Spherical Mapping", "projection": "equirectangular"}"#);
        assert_eq!(round.unkept.len(), 1);
    }
}
