// Runs in the browser: plays, and keeps what a viewer would notice.
//
// The clip has its frame's number drawn into every frame, as a row of black and white boxes, so that
// what is on the screen can be compared with the time that the browser says it is.

const video = document.getElementById("video");
// Frames from another origin can be looked at only so.
video.crossOrigin = "anonymous";
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

let clip;
let hls;
let log;
let sound;

/** The frame on the screen: its time, its size and the number drawn into it. */
function frameOnScreen() {
  // Time and picture out of one hand: a callback's time can be that of the frame before.
  const frame = new VideoFrame(video);
  const { displayWidth: width, displayHeight: height, timestamp } = frame;
  const { bits } = clip;
  canvas.canvas.width = width;
  canvas.canvas.height = 1;
  canvas.drawImage(frame, 0, Math.round(height * clip.row), width, 1, 0, 0, width, 1);
  frame.close();
  const { data } = canvas.getImageData(0, 0, width, 1);
  let number = 0;
  for (let bit = 0; bit < bits; bit++) {
    const x = Math.floor(((bit + 0.5) * width) / bits);
    if (data[4 * x + 1] > 127) number |= 1 << bit;
  }
  return { time: timestamp / 1e6, number, width, height };
}

/** Listens to the video from now on. */
function watch() {
  const mine = { frames: [], stalls: [], errors: [], levels: [], tracks: [], backwards: 0 };
  log = mine;
  let waitingSince;
  let last = -1;
  video.onwaiting = () => {
    // Before the first frame it is loading, and at a seek it has to.
    if (video.currentTime > 0 && !video.seeking) waitingSince ??= performance.now();
  };
  const goesOn = () => {
    if (waitingSince === undefined) return;
    log.stalls.push({ at: video.currentTime, ms: performance.now() - waitingSince });
    waitingSince = undefined;
  };
  video.onplaying = goesOn;
  video.onended = goesOn;
  video.onseeking = () => (last = -1);
  video.ontimeupdate = () => {
    if (video.currentTime < last) log.backwards++;
    last = video.currentTime;
  };
  video.onerror = () => log.errors.push(`video: ${video.error?.message}`);
  const onFrame = () => {
    // Until somebody else watches.
    if (log !== mine) return;
    mine.frames.push(frameOnScreen());
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

/** Waits for an event; what does not happen in time is an error, with what the video says of itself. */
function event(target, name, seconds) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const { currentTime, readyState, networkState } = video;
      const at = JSON.stringify({ currentTime, readyState, networkState, ranges: ranges() });
      reject(new Error(`no \`${name}\` within ${seconds} s: ${at}`));
    }, seconds * 1000);
    target.addEventListener(
      name,
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

function ranges(buffered = video.buffered) {
  return Array.from(buffered, (_, i) => [buffered.start(i), buffered.end(i)]);
}

/** The loudest frequency now, in Hz. */
function loudest() {
  const bins = new Float32Array(sound.frequencyBinCount);
  sound.getFloatFrequencyData(bins);
  const index = bins.reduce((best, level, i) => (level > bins[best] ? i : best), 0);
  return { hz: (index * sound.context.sampleRate) / sound.fftSize, db: bins[index] };
}

function listen() {
  if (sound) return;
  const context = new AudioContext();
  sound = context.createAnalyser();
  sound.fftSize = 8192;
  context.createMediaElementSource(video).connect(sound).connect(context.destination);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

window.harness = {
  setup(description) {
    clip = description;
  },

  caption(text) {
    document.getElementById("caption").textContent = text;
  },

  async openFile(url) {
    watch();
    listen();
    const ready = event(video, "loadeddata", 20);
    video.src = url;
    await ready;
    const { duration, videoWidth: width, videoHeight: height } = video;
    return { duration, width, height };
  },

  /** Opens a master playlist; `level` is the rendition to begin with. */
  async openHls(url, level) {
    watch();
    listen();
    hls = new Hls({ startLevel: level, enableWorker: true, testBandwidth: false });
    hls.on(Hls.Events.ERROR, (_event, data) => {
      // Its guess at a stall; how long a real one lasts is measured above.
      if (!data.fatal && data.details === Hls.ErrorDetails.BUFFER_STALLED_ERROR) return;
      log.errors.push(`${data.fatal ? "fatal" : "not fatal"}: ${data.type} ${data.details} ${data.reason ?? ""}`);
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, (_event, data) => {
      log.levels.push({ at: video.currentTime, level: data.level });
    });
    hls.on(Hls.Events.AUDIO_TRACK_SWITCHED, (_event, data) => {
      log.tracks.push({ at: video.currentTime, track: data.id });
    });
    const ready = event(video, "loadeddata", 20);
    hls.loadSource(url);
    hls.attachMedia(video);
    if (level >= 0) hls.once(Hls.Events.MANIFEST_PARSED, () => (hls.currentLevel = level));
    await ready;
    return {
      duration: video.duration,
      levels: hls.levels.map(({ width, height, bitrate, codecSet, audioCodec, videoCodec, frameRate }) => ({
        width, height, bitrate, codecSet, audioCodec, videoCodec, frameRate,
      })),
      audio: hls.audioTracks.map(({ name, lang, default: isDefault }) => ({ name, lang, isDefault })),
      subtitles: hls.subtitleTracks.length,
    };
  },

  async close() {
    hls?.destroy();
    hls = undefined;
    video.removeAttribute("src");
    video.load();
  },

  /** Plays for so many seconds of the clip, or to its end. */
  async play(seconds) {
    await sound.context.resume();
    await video.play();
    if (seconds === undefined) {
      if (!video.ended) await event(video, "ended", (video.duration - video.currentTime) * 2 + 10);
    } else {
      const end = Math.min(video.currentTime + seconds, video.duration - 0.05);
      const deadline = performance.now() + (seconds * 2 + 10) * 1000;
      while (video.currentTime < end && performance.now() < deadline) await sleep(50);
      if (video.currentTime < end) throw new Error(`stuck at ${video.currentTime} s`);
    }
    return this.state();
  },

  pause() {
    video.pause();
  },

  /** Goes to a time and says what it shows there. */
  async seek(time) {
    video.pause();
    const shown = new Promise((resolve) => {
      video.requestVideoFrameCallback(resolve);
    });
    const done = event(video, "seeked", 20);
    video.currentTime = time;
    await done;
    // None comes where the frame is on the screen already.
    await Promise.race([shown, sleep(2000)]);
    return { wanted: time, ...frameOnScreen() };
  },

  /** Switches as a player does by itself, at the next fragment, and plays until it is seen. */
  async playLevel(level) {
    hls.nextLevel = level;
    const { width, height } = hls.levels[level];
    const deadline = performance.now() + 20_000;
    const there = () => video.videoWidth === width && video.videoHeight === height;
    while (!there() && !video.ended && performance.now() < deadline) await sleep(50);
    await sleep(300);
    return this.state();
  },

  setAudioTrack(track) {
    hls.audioTrack = track;
  },

  async loudest() {
    // Several looks, as the tone beeps; the lasting one is the commonest.
    const seen = [];
    for (let i = 0; i < 12; i++) {
      await sleep(80);
      seen.push(loudest());
    }
    seen.sort((a, b) => a.hz - b.hz);
    return seen[Math.floor(seen.length / 2)];
  },

  state() {
    const quality = video.getVideoPlaybackQuality();
    return {
      ...log,
      ended: video.ended,
      currentTime: video.currentTime,
      buffered: ranges(),
      dropped: quality.droppedVideoFrames,
      total: quality.totalVideoFrames,
    };
  },
};
window.ready = true;
