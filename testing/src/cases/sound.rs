//! Cases about audio tracks.

use super::{AAC, Case, PLAIN, X264, picture, sound, tone, video};

pub(super) fn cases() -> Vec<Case> {
    let (v, a) = (picture(), tone());
    let surround = "-f lavfi -i aevalsrc=0.4*sin(2*PI*(200+30*t)*t)|0.4*sin(2*PI*(260+30*t)*t)\
                    |0.4*sin(2*PI*(320+30*t)*t)|0.4*sin(2*PI*(40+3*t)*t)|0.4*sin(2*PI*(440+30*t)*t)\
                    |0.4*sin(2*PI*(500+30*t)*t):c=5.1:s=48000:d=10";
    let three = format!("{v} {a} {} {}", sound(330, "10"), sound(440, "10"));
    vec![
        Case::new("no-audio", "mp4", "no sound at all")
            .ff(format!("{v} {X264} {PLAIN} OUT"))
            .check("none", |f| Ok(f.streams("audio").is_empty())),
        Case::new("three-tracks", "mkv", "three languages, the second default, codecs mixed")
            .ff(format!(
                "{three} -map 0 -map 1 -map 2 -map 3 {X264} -c:a:0 aac -c:a:1 ac3 -c:a:2 libopus {PLAIN} \
                 -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra \
                 -metadata:s:a:2 language=deu -disposition:a:0 0 -disposition:a:1 default \
                 -disposition:a:2 0 OUT"
            ))
            .check("three", |f| Ok(f.streams("audio").len() == 3))
            .check("languages", |f| Ok(f.audio_text(1, "tags/language")?.starts_with("fr")))
            .check("the second is default", |f| {
                Ok(f.audio_text(0, "disposition/default")? == "0"
                    && f.audio_text(1, "disposition/default")? == "1")
            }),
        Case::new("two-tracks-mp4", "mp4", "two languages in an MP4, one mono at 44.1 kHz")
            .ff(format!(
                "{three} -map 0 -map 1 -map 2 {X264} {AAC} -ac:a:1 1 -ar:a:1 44100 {PLAIN} \
                 -metadata:s:a:0 language=jpn -metadata:s:a:1 language=spa OUT"
            ))
            .check("two rates", |f| {
                Ok(f.audio_text(0, "sample_rate")? == "48000"
                    && f.audio_text(1, "sample_rate")? == "44100")
            }),
        Case::new("two-tracks-ts", "ts", "two languages in a transport stream, AC-3 and MP2")
            .ff(format!(
                "{three} -map 0 -map 1 -map 2 {X264} -c:a:0 ac3 -c:a:1 mp2 {PLAIN} \
                 -metadata:s:a:0 language=nor -metadata:s:a:1 language=swe OUT"
            ))
            .check("two", |f| Ok(f.streams("audio").len() == 2)),
        Case::new("pcm", "mov", "PCM with 24 bits")
            .ff(format!("{v} {a} {X264} -c:a pcm_s24le {PLAIN} OUT"))
            .check("PCM", |f| Ok(f.audio_text(0, "codec_name")? == "pcm_s24le")),
        Case::new("pcm-8-bit", "avi", "PCM with 8 bits at 11,025 Hz, mono")
            .ff(format!("{v} {a} -c:v mpeg4 -q:v 4 -c:a pcm_u8 -ar 11025 -ac 1 {PLAIN} OUT"))
            .check("PCM", |f| Ok(f.audio_text(0, "codec_name")? == "pcm_u8")),
        Case::new("surround-aac", "mp4", "5.1 in AAC")
            .ff(format!("{v} {surround} {X264} -c:a aac -b:a 256k {PLAIN} OUT"))
            .check("six channels", |f| Ok(f.audio_text(0, "channels")? == "6")),
        Case::new("surround-ac3", "ts", "5.1 in AC-3, sound first")
            .ff(format!("{v} {surround} -map 1 -map 0 {X264} -c:a ac3 -b:a 384k {PLAIN} OUT"))
            .check("5.1, sound first", |f| {
                Ok(f.audio_text(0, "channels")? == "6"
                    && f.streams("audio").first().is_some_and(|s| s["index"] == 0))
            }),
        Case::new("surround-pcm", "mkv", "5.1 in PCM with 16 bits")
            .ff(format!("{v} {surround} {X264} -c:a pcm_s16le {PLAIN} OUT"))
            .check("six channels", |f| Ok(f.audio_text(0, "channels")? == "6")),
        Case::new("opus-priming", "webm", "Opus, whose first packet starts before zero")
            .ff(format!(
                "{v} {a} -c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -g 50 -c:a libopus \
                 {PLAIN} OUT"
            ))
            .check("starts before zero", |f| Ok(f.start("audio")? < 0.0)),
        Case::new("audio-gap", "mkv", "2 s without sound while the picture goes on")
            .ff(format!(
                "{v} {a} -af aselect=lt(t\\,4)+gte(t\\,6) {X264} -c:a pcm_s16le {PLAIN} OUT"
            ))
            .check("8 s of samples over 10 s", |f| {
                Ok(f.span("audio")? > 9.8)
            }),
        Case::new("subtitles", "mkv", "a subtitle track and chapters beside picture and sound")
            .write("words.srt", "1\n00:00:01,000 --> 00:00:03,000\nfirst\n\n2\n00:00:05,000 --> 00:00:08,000\nsecond\n")
            .ff(format!("{v} {a} -i words.srt {X264} {AAC} -c:s srt {PLAIN} OUT"))
            .check("subtitles", |f| Ok(f.streams("subtitle").len() == 1)),
        Case::new("sparse-picture", "mkv", "2 fps under 48 kHz sound: few frames between many packets")
            .ff(format!("{} {a} {X264} -g 20 {AAC} {PLAIN} OUT", video("192x144", "2", "10")))
            .check("20 frames", |f| Ok(f.packets()?.len() == 20)),
    ]
}
