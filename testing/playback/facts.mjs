// What ffprobe and mediainfo say of a delivered file, against its certificate.

import { execFileSync } from "node:child_process";
import path from "node:path";

const run = (program, args) => JSON.parse(execFileSync(program, args, { maxBuffer: 1 << 26 }));

/** Names of codecs as mediainfo has them. */
const MEDIAINFO = { h264: "AVC", aac: "AAC" };

/** MP4 names languages with three letters, HLS and mediainfo with two where there are two. */
export const SHORT_LANGUAGE = { eng: "en", deu: "de" };

/**
 * @returns for each tool and field: what the certificate says, what the tool says, how far apart
 *   numbers may be
 */
export function facts(folder, certificate, output) {
  const file = path.join(folder, output.path);
  return [
    ...fromFfprobe(file, certificate, output),
    ...fromMediainfo(file, certificate, output),
  ];
}

/** What is so of the picture, where the certificate says it directly or through its source. */
function picture(certificate, output) {
  const { video } = output;
  const [num, den] = video.timebase;
  const rate = certificate.source.video.frame_rate;
  return {
    codec: "h264",
    width: video.width,
    height: video.height,
    frames: video.frames,
    duration: (video.duration * num) / den,
    start: (video.first_pts * num) / den,
    rate: rate[0] / rate[1],
  };
}

function fromFfprobe(file, certificate, output) {
  const { streams, format } = run("ffprobe", [
    "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", file,
  ]);
  const [video, ...rest] = streams.filter((stream) => stream.codec_type === "video");
  const audio = streams.filter((stream) => stream.codec_type === "audio");
  const say = (field, wanted, got, within) => ({ tool: "ffprobe", field, wanted, got, within });
  const wanted = picture(certificate, output);
  const ratio = (text) => text.split("/").reduce((a, b) => a / b);
  const lines = [
    say("pictures", 0, rest.length),
    say("audio tracks", output.audio.length, audio.length),
    say("codec", wanted.codec, video.codec_name),
    say("width", wanted.width, video.width),
    say("height", wanted.height, video.height),
    say("sample aspect", "1:1", video.sample_aspect_ratio),
    say("frames in the index", wanted.frames, Number(video.nb_frames)),
    say("frames decoded", wanted.frames, Number(video.nb_read_frames)),
    // The container's duration is in milliseconds where its movie header is.
    say("duration", wanted.duration, Number(video.duration), 1e-5),
    say("start", wanted.start, Number(video.start_time), 1e-5),
    say("frame rate", wanted.rate, ratio(video.r_frame_rate), 1e-6),
    say("average frame rate", wanted.rate, ratio(video.avg_frame_rate), 1e-6),
    say("bytes", output.bytes, Number(format.size)),
  ];
  output.audio.forEach((track, i) => {
    const got = audio[i] ?? {};
    const name = (field) => `audio ${i}: ${field}`;
    lines.push(
      say(name("codec"), "aac", got.codec_name),
      say(name("channels"), track.channels, got.channels),
      say(name("sample rate"), track.sample_rate, Number(got.sample_rate)),
      say(name("language"), track.language ?? "und", got.tags?.language ?? "und"),
      // Encoders fill their last frame.
      say(name("duration"), track.samples / track.sample_rate, Number(got.duration), 1024 / track.sample_rate),
      say(name("default"), Number(certificate.source.audio[i].default), got.disposition?.default),
    );
  });
  return lines;
}

function fromMediainfo(file, certificate, output) {
  const tracks = run("mediainfo", ["--Output=JSON", file]).media.track;
  const of = (type) => tracks.filter((track) => track["@type"] === type);
  const [video, ...rest] = of("Video");
  const audio = of("Audio");
  const say = (field, wanted, got, within) => ({ tool: "mediainfo", field, wanted, got, within });
  const wanted = picture(certificate, output);
  const lines = [
    say("pictures", 0, rest.length),
    say("audio tracks", output.audio.length, audio.length),
    say("codec", MEDIAINFO[wanted.codec], video.Format),
    say("width", wanted.width, Number(video.Width)),
    say("height", wanted.height, Number(video.Height)),
    say("frames", wanted.frames, Number(video.FrameCount)),
    // It has milliseconds.
    say("duration", wanted.duration, Number(video.Duration), 0.001),
    say("frame rate", wanted.rate, Number(video.FrameRate), 0.001),
    say("frame rate mode", "CFR", video.FrameRate_Mode),
  ];
  output.audio.forEach((track, i) => {
    const got = audio[i] ?? {};
    const name = (field) => `audio ${i}: ${field}`;
    lines.push(
      say(name("codec"), MEDIAINFO.aac, got.Format),
      say(name("channels"), track.channels, Number(got.Channels)),
      say(name("sample rate"), track.sample_rate, Number(got.SamplingRate)),
      say(name("language"), SHORT_LANGUAGE[track.language], got.Language),
      say(name("duration"), track.samples / track.sample_rate, Number(got.Duration), 1024 / track.sample_rate + 0.001),
    );
  });
  return lines;
}

export function agrees({ wanted, got, within }) {
  return within === undefined ? wanted === got : Math.abs(wanted - got) <= within;
}
