// Runs in the browser: plays one output to its end, faster than life, and keeps every error.

// Chromium drops frames beyond this; every sample is decoded all the same.
const RATE = 8;
const END_TOLERANCE_S = 0.25;

let errors = [];

// Every append must succeed, whichever player asks for it.
const append = SourceBuffer.prototype.appendBuffer;
SourceBuffer.prototype.appendBuffer = function (data) {
  if (!this.watched) {
    this.watched = true;
    this.addEventListener("error", () => errors.push("a SourceBuffer refuses what is appended"));
  }
  try {
    return append.call(this, data);
  } catch (error) {
    // A full buffer is emptied and filled again.
    if (error.name !== "QuotaExceededError") errors.push(`appendBuffer: ${error.message}`);
    throw error;
  }
};

/** Lets `open` fill a new video, plays it and says how that ended. */
async function play(open) {
  errors = [];
  const video = document.createElement("video");
  document.body.append(video);
  video.muted = true;
  const broken = new Promise((resolve) => {
    video.addEventListener("error", () => {
      errors.push(`video: ${video.error?.message || video.error?.code}`);
      resolve();
    });
  });
  const ended = new Promise((resolve) => video.addEventListener("ended", resolve, { once: true }));
  let close = () => {};
  try {
    close = await open(video, (message) => errors.push(message));
    await Promise.race([
      broken,
      new Promise((resolve, reject) => {
        if (video.readyState >= 1) resolve();
        video.addEventListener("loadedmetadata", resolve, { once: true });
        setTimeout(() => reject(new Error("no metadata within 20 s")), 20_000);
      }),
    ]);
    if (errors.length === 0) {
      video.playbackRate = RATE;
      // A promise of `play` never settles where nothing can be decoded.
      video.play().catch((error) => errors.push(`play: ${error.message}`));
      const limit_ms = (video.duration / RATE) * 4000 + 15_000;
      await Promise.race([broken, ended, new Promise((resolve) => setTimeout(resolve, limit_ms))]);
    }
  } catch (error) {
    errors.push(error.message ?? String(error));
  }
  const { currentTime, duration } = video;
  const result = {
    errors: [...new Set(errors)].slice(0, 4),
    ended: video.ended && Math.abs(duration - currentTime) < END_TOLERANCE_S,
    currentTime,
    duration,
  };
  await close();
  video.remove();
  return result;
}

window.viewer = {
  /** A progressive file. */
  file: (url) =>
    play(async (video) => {
      video.src = url;
      return () => {
        video.removeAttribute("src");
        video.load();
      };
    }),

  /** A variant of a master playlist by hls.js. */
  hlsjs: (url, index) =>
    play(async (video, wrong) => {
      const hls = new Hls({ startLevel: index, enableWorker: false });
      hls.on(Hls.Events.ERROR, (_event, data) => {
        // Its guess at a stall; one that lasts does not reach the end.
        if (!data.fatal && /stall|nudge/i.test(data.details)) return;
        wrong(`hls.js: ${data.details} ${data.reason ?? data.error?.message ?? ""}`.trim());
      });
      hls.once(Hls.Events.MANIFEST_PARSED, () => {
        // Levels are sorted by bandwidth; each is played once whatever the order.
        hls.currentLevel = index;
      });
      hls.loadSource(url);
      hls.attachMedia(video);
      return () => hls.destroy();
    }),

  /** A variant of a master playlist by Shaka Player. */
  shaka: (url, index) =>
    play(async (video, wrong) => {
      shaka.polyfill.installAll();
      const player = new shaka.Player();
      await player.attach(video);
      const say = (error) => wrong(`Shaka Player: error ${error.code} ${JSON.stringify(error.data).slice(0, 200)}`);
      player.addEventListener("error", (event) => say(event.detail));
      player.configure({ abr: { enabled: false } });
      try {
        await player.load(new URL(url, location.href).href);
        const tracks = player.getVariantTracks().toSorted((a, b) => a.bandwidth - b.bandwidth);
        if (tracks.length > 0) player.selectVariantTrack(tracks[index % tracks.length], true);
      } catch (error) {
        if (!(error instanceof shaka.util.Error)) throw error;
        say(error);
      }
      return () => player.destroy();
    }),
};
