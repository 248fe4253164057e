// Plays a finished folder in headless Chromium and checks what a viewer would notice.
// Called by scripts/playback, which made the clip.

import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

import { check, finish, group } from "../checks.mjs";
import { SHORT_LANGUAGE, agrees, facts } from "./facts.mjs";
import { serve } from "./server.mjs";

const { values: args } = parseArgs({
  options: {
    out: { type: "string" },
    // Where a service gives the files out; otherwise they are served from the folder.
    media: { type: "string" },
    shots: { type: "string" },
    rate: { type: "string" },
    bits: { type: "string" },
    tones: { type: "string" },
    // Empty where there is none: then only what needs none is checked.
    browser: { type: "string" },
  },
});
const here = path.dirname(fileURLToPath(import.meta.url));
const [num, den] = args.rate.split("/").map(Number);
const rate = num / den;
const tones = args.tones.split(",").map(Number);
// The boxes fill the lowest tenth.
const clip = { bits: Number(args.bits), row: 0.95 };
const certificate = JSON.parse(readFileSync(path.join(args.out, "certificate.json")));
const files = certificate.outputs.filter((output) => /^output_.*\.mp4$/.test(output.path));
// Where one chunk ends and the next begins, in seconds.
const [unit, per] = certificate.source.video.timebase;
const seams = certificate.chunks.slice(1).map((chunk) => (chunk.first_pts * unit) / per);
const length = (files[0].video.duration * files[0].video.timebase[0]) / files[0].video.timebase[1];

const text = (value) => JSON.stringify(value);

/** Every frame seen is the one that belongs to its time. */
function checkFrames(what, frames, least) {
  const wrong = frames.filter(({ time, number }) => number !== Math.round(time * rate));
  check(`${what}: at least ${least} frames were shown`, frames.length >= least, frames.length);
  check(`${what}: each shows its own number`, wrong.length === 0, text(wrong.slice(0, 5)));
}

function checkSmooth(what, state) {
  // Shorter ones are not seen, and a busy machine has them.
  const stalls = state.stalls.filter((stall) => stall.ms > 300);
  check(`${what}: no stall`, stalls.length === 0, text({ stalls, buffered: state.buffered }));
  check(`${what}: time only goes forward`, state.backwards === 0, state.backwards);
  check(`${what}: no error`, state.errors.length === 0, text(state.errors));
}

await group("ffprobe and mediainfo agree with the certificate", () => {
  // A service chooses its windows itself, and few for so short a clip.
  check("there are several files and several chunks", files.length > 1 && seams.length > (args.media ? 0 : 2));
  for (const output of files) {
    const lines = facts(args.out, certificate, output);
    for (const line of lines.filter((line) => !agrees(line))) {
      check(`${output.path}: ${line.tool}: ${line.field}`, false, text(line));
    }
    const good = lines.filter(agrees);
    check(`${output.path}: ${good.length} fields`, good.length > 0);
  }
});

if (!args.browser) finish();

const media = args.media ?? "/media";
const server = await serve({
  page: here,
  hls: path.join(here, "node_modules/hls.js/dist"),
  media: args.out,
});
const browser = await chromium.launch({
  executablePath: args.browser,
  headless: true,
  args: [
    // Root has no sandbox, and CI is root; the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
  ],
});
console.log(`\nChromium ${browser.version()}, hls.js and playwright-core as pinned`);
const page = await browser.newPage({ viewport: { width: 960, height: 600 } });
page.on("pageerror", (error) => check("no error in the page", false, error.message));
if (args.media) {
  page.on("response", async (response) => {
    if (!response.url().startsWith(media)) return;
    const range = await response.request().headerValue("range");
    server.requests.push({ url: response.url(), range: range ?? undefined, status: response.status() });
  });
}
await page.goto(`${server.url}/page/page.html`);
await page.waitForFunction("window.ready");

/** Calls a function of page.mjs. */
const call = (name, ...values) =>
  page.evaluate(([name, values]) => window.harness[name](...values), [name, values]);

async function shot(name) {
  await call("caption", name);
  await page.screenshot({ path: path.join(args.shots, `${name}.png`) });
}

await call("setup", clip);

async function checkSeeks(what, times) {
  for (const time of times) {
    const shown = await call("seek", time);
    const right = Math.floor(time * rate + 1e-6);
    check(`${what}: a seek to ${time.toFixed(3)} s shows frame ${right}`, shown.number === right, text(shown));
  }
}

// Forth, back, to both sides of a seam, to the last frames.
const points = [length * 0.75, 1.3, seams[1] + 0.5 / rate, seams[1] - 0.5 / rate, length - 1.5 / rate, 0];

for (const output of files) {
  await group(`${output.path} as a file`, async () => {
    server.requests.length = 0;
    const { video } = output;
    const opened = await call("openFile", `${media}/${output.path}`);
    check("width and height", opened.width === video.width && opened.height === video.height, text(opened));
    // The longest track ends it, and that may be a padded audio track.
    check("duration", opened.duration - length > -0.001 && opened.duration - length < 0.05, text({ opened, length }));
    const whole = output === files[0];
    const state = await call("play", whole ? undefined : 3);
    if (whole) check("it ends", state.ended, text(state.currentTime));
    checkSmooth("playing", state);
    checkFrames("playing", state.frames, whole ? 100 : 15);
    await checkSeeks("seeking", points);
    const ranges = server.requests.filter(({ status, range }) => status === 206 && !/=0-/.test(range));
    check("seeks asked for ranges", ranges.length > 0, text(server.requests));
    await call("seek", length / 2);
    await shot(output.path);
    await call("close");
  });
}

await group("HLS from start to end", async () => {
  server.requests.length = 0;
  const opened = await call("openHls", `${media}/hls/master.m3u8`, 0);
  check("a level for each file", opened.levels.length === files.length, text(opened));
  for (const output of files) {
    const { width, height } = output.video;
    const level = opened.levels.find((level) => level.width === width && level.height === height);
    check(`${width}x${height} with codecs and frame rate`, level?.videoCodec?.startsWith("avc1.") && level.audioCodec === "mp4a.40.2" && Math.abs(level.frameRate - rate) < 0.001, text(opened.levels));
  }
  check("both audio tracks", opened.audio.length === 2, text(opened.audio));
  const languages = files[0].audio.map((track) => SHORT_LANGUAGE[track.language]);
  check("their languages", text(opened.audio.map((track) => track.lang)) === text(languages), text(opened.audio));
  check("duration", Math.abs(opened.duration - length) < 0.05, text({ got: opened.duration, length }));
  const state = await call("play");
  check("it ends", state.ended && Math.abs(state.currentTime - length) < 0.05, state.currentTime);
  checkSmooth("playing", state);
  checkFrames("playing", state.frames, 100);
  for (const seam of seams) {
    const around = state.frames.filter(({ time }) => Math.abs(time - seam) < 0.5);
    check(`frames on both sides of the seam at ${seam.toFixed(3)} s`, around.some((f) => f.time < seam) && around.some((f) => f.time >= seam), text(around));
  }
  check("what is buffered has no gap", state.buffered.length === 1, text(state.buffered));
  const bad = server.requests.filter(({ status }) => status >= 400);
  check("every request was answered", bad.length === 0, text(bad));
  check("segments came by range", server.requests.some(({ status, url }) => status === 206 && url.endsWith(".mp4")));
  await shot("hls-at-the-end");
  await checkSeeks("seeking", points.slice(0, 4));
  await call("close");
});

await group("HLS through every level", async () => {
  const { levels } = await call("openHls", `${media}/hls/master.m3u8`, 0);
  // Up to the best and down to the worst again, each at least for a fragment.
  const order = [...levels.keys()].slice(1).concat([...levels.keys()].reverse().slice(1));
  await call("play", 1);
  for (const level of order) {
    const state = await call("playLevel", level);
    check(`level ${level} is played`, state.levels.at(-1)?.level === level, text(state.levels));
    const { width, height } = levels[level];
    const sizes = state.frames.slice(-3).map((frame) => `${frame.width}x${frame.height}`);
    check(`its size is on the screen`, sizes.at(-1) === `${width}x${height}`, text(sizes));
    await shot(`hls-level-${height}`);
  }
  const state = await call("play");
  check("it ends", state.ended, state.currentTime);
  checkSmooth("playing", state);
  checkFrames("playing", state.frames, 100);
  check("what is buffered has no gap", state.buffered.length === 1, text(state.buffered));
  await call("close");
});

await group("HLS with each audio track", async () => {
  await call("openHls", `${media}/hls/master.m3u8`, 0);
  await call("play", 1);
  for (const track of [0, 1, 0]) {
    await call("setAudioTrack", track);
    await call("play", 2);
    const heard = await call("loudest");
    check(`audio track ${track} sounds at ${tones[track]} Hz`, Math.abs(heard.hz - tones[track]) < 15 && heard.db > -60, text(heard));
  }
  const state = await call("state");
  check("switched to and fro", text(state.tracks.map(({ track }) => track)).endsWith("1,0]"), text(state.tracks));
  checkSmooth("playing", state);
  checkFrames("playing", state.frames, 50);
  await call("close");
});

await browser.close();
server.close();
finish();
