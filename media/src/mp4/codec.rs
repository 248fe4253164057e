//! Sample entries, and the names that RFC 6381 gives to what they describe.

use mp4_atom::{Av1c, Avcc, Colr, Dfla, Dops, Esds, FlacMetadataBlock, Hvcc, VpcC};

use super::boxes::{Kind, atom, child, children, name, required};
use super::error::{Fault, Mp4Error};
use super::movie::{self, TrackKind};

/// A real `esds` has some 50 bytes. Its descriptors nest, and so does their parser.
const LARGEST_ESDS: usize = 4096;

/// The RFC 6381 `codecs` string of an init segment's first track: `avc1.64001F`, `mp4a.40.2`, …
///
/// # Errors
/// [`Mp4Error::Malformed`] when the bytes are no init segment, [`Mp4Error::Unsupported`] when
/// reelmill does not make the codec.
pub fn codec_string(init: &[u8]) -> Result<String, Mp4Error> {
    let parse = || -> Result<String, Fault> {
        let tracks = movie::tracks(required(init, b"moov")?)?;
        let first = tracks.into_iter().next();
        let entry = first
            .ok_or_else(|| Fault::malformed("it has no track"))?
            .entry;
        entry.codec.ok_or_else(|| {
            Fault::unsupported(format!(
                "no codec string is known for `{}`",
                name(entry.kind)
            ))
        })
    };
    parse().map_err(|fault| fault.at("init segment".as_ref()))
}

/// The first sample entry of a track; what does not apply to its kind is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SampleEntry {
    pub(super) kind: Kind,
    /// By RFC 6381; `None` for a codec that reelmill does not make.
    pub(super) codec: Option<String>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: u32,
    /// 0 also where the entry has no room for it.
    pub(super) sample_rate: u32,
}

impl SampleEntry {
    /// Parses the body of `stsd`.
    pub(super) fn parse(stsd: &[u8], track: TrackKind) -> Result<Self, Fault> {
        let missing = || Fault::malformed("box `stsd` has no entry");
        // Version, flags and the number of entries come first.
        let entries = stsd.get(8..).ok_or_else(missing)?;
        let (kind, body) = children(entries).next().ok_or_else(missing)??;
        let cut = || Fault::malformed(format!("sample entry `{}` is cut off", name(kind)));
        match track {
            TrackKind::Video => {
                let boxes = body.get(78..).ok_or_else(cut)?;
                Ok(Self {
                    kind,
                    codec: video(kind, boxes)?,
                    width: u16_at(body, 24).ok_or_else(cut)?.into(),
                    height: u16_at(body, 26).ok_or_else(cut)?.into(),
                    ..Self::default()
                })
            }
            TrackKind::Audio => {
                let boxes = match u16_at(body, 8).ok_or_else(cut)? {
                    0 => body.get(28..),
                    // QuickTime's later layouts.
                    1 => body.get(44..),
                    2 => body.get(64..),
                    _ => return Err(Fault::unsupported("an audio sample entry of a new version")),
                };
                let plain = Self {
                    kind,
                    channels: u16_at(body, 16).ok_or_else(cut)?.into(),
                    // The upper half of a 16.16 number.
                    sample_rate: u16_at(body, 24).ok_or_else(cut)?.into(),
                    ..Self::default()
                };
                audio(plain, boxes.ok_or_else(cut)?)
            }
            TrackKind::Other => Ok(Self {
                kind,
                ..Self::default()
            }),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .map(u16::from_be_bytes)
}

fn video(kind: Kind, boxes: &[u8]) -> Result<Option<String>, Fault> {
    let text = match &kind {
        b"avc1" | b"avc3" => {
            let config: Avcc = atom(required(boxes, b"avcC")?)?;
            format!(
                "{}.{:02X}{:02X}{:02X}",
                name(kind),
                config.avc_profile_indication,
                config.profile_compatibility,
                config.avc_level_indication
            )
        }
        b"hvc1" | b"hev1" => hevc(&name(kind), &atom(required(boxes, b"hvcC")?)?),
        b"av01" => {
            let colour = child(boxes, b"colr")?.map(atom).transpose()?;
            av1(&atom(required(boxes, b"av1C")?)?, colour.as_ref())
        }
        b"vp09" => vp9(&atom(required(boxes, b"vpcC")?)?),
        _ => return Ok(None),
    };
    Ok(Some(text))
}

/// ISO/IEC 14496-15, annex E.3.
fn hevc(kind: &str, config: &Hvcc) -> String {
    let space = match config.general_profile_space {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let flags = u32::from_be_bytes(config.general_profile_compatibility_flags).reverse_bits();
    let tier = if config.general_tier_flag { 'H' } else { 'L' };
    let mut text = format!(
        "{kind}.{space}{}.{flags:X}.{tier}{}",
        config.general_profile_idc, config.general_level_idc
    );
    let constraints = &config.general_constraint_indicator_flags;
    let used = constraints
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

/// AV1 Codec ISO Media File Format Binding, section 5.
///
/// The fields after the bit depth come all or none; none stand for 4:2:0 in BT.709. They are given
/// when the sample entry states colours, and left out when it is silent and nothing is certain.
fn av1(config: &Av1c, colour: Option<&Colr>) -> String {
    let tier = if config.seq_tier_0 { 'H' } else { 'M' };
    let depth = match (config.high_bitdepth, config.twelve_bit) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let mut text = format!(
        "av01.{}.{:02}{tier}.{depth:02}",
        config.seq_profile, config.seq_level_idx_0
    );
    if let Some(&Colr::Nclx {
        colour_primaries,
        transfer_characteristics,
        matrix_coefficients,
        full_range_flag,
    }) = colour
    {
        let (x, y) = (
            u8::from(config.chroma_subsampling_x),
            u8::from(config.chroma_subsampling_y),
        );
        let position = if (x, y) == (1, 1) {
            config.chroma_sample_position
        } else {
            0
        };
        text.push_str(&format!(
            ".{}.{x}{y}{position}.{colour_primaries:02}.{transfer_characteristics:02}.\
             {matrix_coefficients:02}.{}",
            u8::from(config.monochrome),
            u8::from(full_range_flag)
        ));
    }
    text
}

/// VP Codec ISO Media File Format Binding, "Codecs Parameter String".
///
/// Here too the later fields come all or none, and none stand for 4:2:0 in BT.709. A stream that
/// says nothing about its colours (2) is not told apart from that, since players assume it.
fn vp9(config: &VpcC) -> String {
    let mut text = format!(
        "vp09.{:02}.{:02}.{:02}",
        config.profile, config.level, config.bit_depth
    );
    let colours = [
        config.color_primaries,
        config.transfer_characteristics,
        config.matrix_coefficients,
    ];
    let usual = config.chroma_subsampling <= 1
        && !config.video_full_range_flag
        && colours.iter().all(|&code| code == 1 || code == 2);
    if !usual {
        let [primaries, transfer, matrix] = colours;
        text.push_str(&format!(
            ".{:02}.{primaries:02}.{transfer:02}.{matrix:02}.{:02}",
            config.chroma_subsampling,
            u8::from(config.video_full_range_flag)
        ));
    }
    text
}

fn audio(mut entry: SampleEntry, boxes: &[u8]) -> Result<SampleEntry, Fault> {
    match &entry.kind {
        b"mp4a" => {
            let body = required(boxes, b"esds")?;
            if body.len() > LARGEST_ESDS {
                return Err(Fault::unsupported("box `esds` is too large"));
            }
            let config = atom::<Esds>(body)?.es_desc.dec_config;
            let object = config.object_type_indication;
            let mut text = format!("mp4a.{object:02X}");
            // Only MPEG-4 audio has a second level of types below.
            if object == 0x40 {
                let specific = config.dec_specific.as_ref();
                let aac = specific.and_then(|specific| AacConfig::parse(&specific.raw));
                let aac = aac.ok_or_else(|| Fault::malformed("box `esds` has no audio config"))?;
                text.push_str(&format!(".{}", aac.object_type));
                entry.sample_rate = aac.sample_rate.unwrap_or(entry.sample_rate);
                entry.channels = aac.channels.unwrap_or(entry.channels);
            }
            entry.codec = Some(text);
        }
        b"Opus" => {
            let config: Dops = atom(required(boxes, b"dOps")?)?;
            entry.channels = config.output_channel_count.into();
            entry.codec = Some("Opus".to_owned());
        }
        b"fLaC" => {
            let config: Dfla = atom(required(boxes, b"dfLa")?)?;
            if let Some(FlacMetadataBlock::StreamInfo {
                sample_rate,
                num_channels_minus_one,
                ..
            }) = config.blocks.first()
            {
                entry.sample_rate = *sample_rate;
                entry.channels = u32::from(*num_channels_minus_one) + 1;
            }
            entry.codec = Some("fLaC".to_owned());
        }
        b"ac-3" | b"ec-3" => entry.codec = Some(name(entry.kind)),
        _ => {}
    }
    Ok(entry)
}

/// The start of an `AudioSpecificConfig`, ISO/IEC 14496-3 section 1.6.2.1.
#[derive(Debug, PartialEq, Eq)]
struct AacConfig {
    object_type: u32,
    /// `None` for a reserved index.
    sample_rate: Option<u32>,
    /// `None` when a channel table elsewhere says it.
    channels: Option<u32>,
}

impl AacConfig {
    fn parse(raw: &[u8]) -> Option<Self> {
        const RATES: [u32; 13] = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
            8000, 7350,
        ];
        // At most 6 + 5 + 4 + 24 + 4 bits are needed.
        let bits = raw.iter().chain(std::iter::repeat(&0)).take(8);
        let bits = bits.fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        let mut read = 0;
        let mut take = |count: u32| {
            read += count;
            bits << (read - count) >> (64 - count)
        };
        let object_type = match take(5) {
            31 => 32 + take(6),
            object_type => object_type,
        };
        let sample_rate = match take(4) {
            15 => u32::try_from(take(24)).ok(),
            index => usize::try_from(index)
                .ok()
                .and_then(|index| RATES.get(index))
                .copied(),
        };
        let channels = match take(4) {
            count @ 1..=6 => u32::try_from(count).ok(),
            7 => Some(8),
            _ => None,
        };
        if usize::try_from(read).ok()? > raw.len() * 8 {
            return None;
        }
        Some(Self {
            object_type: u32::try_from(object_type).ok()?,
            sample_rate,
            channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ISO/IEC 14496-15 and of Apple's HLS authoring specification.
    #[test]
    fn hevc_strings_follow_the_standards_examples() {
        let mut config = Hvcc {
            general_profile_idc: 1,
            general_profile_compatibility_flags: [0x60, 0, 0, 0],
            general_level_idc: 93,
            general_constraint_indicator_flags: [0xB0, 0, 0, 0, 0, 0],
            ..Hvcc::new()
        };
        assert_eq!(hevc("hvc1", &config), "hvc1.1.6.L93.B0");
        config.general_constraint_indicator_flags = [0x90, 0, 0x10, 0, 0, 0];
        config.general_profile_space = 1;
        config.general_tier_flag = true;
        config.general_profile_idc = 2;
        config.general_profile_compatibility_flags = [0x20, 0, 0, 0];
        assert_eq!(hevc("hev1", &config), "hev1.A2.4.H93.90.0.10");
        config.general_constraint_indicator_flags = [0; 6];
        assert_eq!(hevc("hvc1", &config), "hvc1.A2.4.H93");
    }

    /// The example of the AV1 binding: Main profile, level 5.1, 10 bits, HDR.
    #[test]
    fn av1_strings_follow_the_bindings_example() {
        let config = Av1c {
            seq_level_idx_0: 4,
            high_bitdepth: true,
            chroma_subsampling_x: true,
            chroma_subsampling_y: true,
            chroma_sample_position: 2,
            ..Av1c::default()
        };
        assert_eq!(av1(&config, None), "av01.0.04M.10");
        let colour = Colr::new(9, 16, 9, false).unwrap();
        assert_eq!(
            av1(&config, Some(&colour)),
            "av01.0.04M.10.0.112.09.16.09.0"
        );
    }

    #[test]
    fn vp9_strings_follow_the_bindings_examples() {
        let mut config = VpcC {
            level: 10,
            ..VpcC::default()
        };
        assert_eq!(vp9(&config), "vp09.00.10.08");
        config = VpcC {
            profile: 2,
            bit_depth: 10,
            chroma_subsampling: 1,
            color_primaries: 9,
            transfer_characteristics: 16,
            matrix_coefficients: 9,
            video_full_range_flag: true,
            ..config
        };
        assert_eq!(vp9(&config), "vp09.02.10.10.01.09.16.09.01");
    }

    #[test]
    fn audio_configs_are_read_bit_by_bit() {
        let parse = |raw: &[u8]| AacConfig::parse(raw).unwrap();
        let aac = |object_type, sample_rate, channels| AacConfig {
            object_type,
            sample_rate: Some(sample_rate),
            channels: Some(channels),
        };
        assert_eq!(parse(&[0x12, 0x10]), aac(2, 44_100, 2));
        assert_eq!(parse(&[0x11, 0xB8]), aac(2, 48_000, 8));
        // A rate of 44 101, which has no index.
        assert_eq!(parse(&[0x17, 0x80, 0x56, 0x22, 0x88]), aac(2, 44_101, 1));
        // Object type 42, beyond the escape.
        assert_eq!(parse(&[0xF9, 0x48, 0x40]).object_type, 42);
        assert_eq!(AacConfig::parse(&[0x12]), None);
        assert_eq!(AacConfig::parse(&[]), None);
    }
}
