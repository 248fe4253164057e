// Plays finished folders in headless Chromium, each output by every player that users have for it.
//
// Called by the program `viewer`: reads one request a line, a JSON object with `folder` and
// `paths`, and answers each with one line: `played`, `denied` and `wrong`, lists of sentences.

import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { serve } from "./server.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
// The folder under test changes, the server stays.
const folders = {
  page: here,
  hls: path.join(here, "node_modules/hls.js/dist"),
  shaka: path.join(here, "node_modules/shaka-player/dist"),
  media: here,
};
const server = await serve(folders);
const browser = await chromium.launch({
  executablePath: process.argv[2],
  headless: true,
  args: [
    // Root has no sandbox, and CI is root; the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
  ],
});

/** The codec strings of a master playlist, variant by variant. */
function variants(folder) {
  const text = readFileSync(path.join(folder, "hls/master.m3u8"), "utf8");
  return [...text.matchAll(/^#EXT-X-STREAM-INF:.*CODECS="([^"]*)"/gm)].map((match) => match[1]);
}

/** The codec strings that a file is announced with; those of the master playlist hold the same samples. */
async function play(page, kind, url, result, what, index) {
  try {
    const seen = await page.evaluate(([kind, url, index]) => window.viewer[kind](url, index), [kind, url, index]);
    if (seen.errors.length > 0) result.wrong.push(`${what}: ${seen.errors.join("; ")}`);
    else if (!seen.ended) result.wrong.push(`${what}: it stops at ${seen.currentTime} s of ${seen.duration} s`);
    else result.played.push(what);
  } catch (error) {
    result.wrong.push(`${what}: ${error.message.split("\n")[0]}`);
  }
}

async function answer({ folder, paths, codecs }) {
  folders.media = folder;
  const result = { played: [], denied: [], wrong: [] };
  const page = await browser.newPage();
  page.on("pageerror", (error) => result.wrong.push(`the page: ${error.message}`));
  try {
    await page.goto(`${server.url}/page/viewer.html`);
    await page.waitForFunction("window.viewer");
    const supports = (type) => page.evaluate((type) => MediaSource.isTypeSupported(type), type);
    for (const file of paths.filter((file) => /^output_.*\.mp4$/.test(file))) {
      const type = `video/mp4; codecs="${codecs[file]}"`;
      if (!(await supports(type))) {
        result.denied.push(`${file}: ${type}`);
        continue;
      }
      await play(page, "file", `/media/${encodeURIComponent(file)}`, result, `${file} by <video>`);
    }
    if (paths.includes("hls/master.m3u8")) {
      const list = variants(folder);
      const denied = [];
      for (const codecs of list) {
        // Each codec goes to a buffer of its own.
        for (const codec of codecs.split(",")) {
          const type = `${/^(mp4a|opus|fLaC)/i.test(codec) ? "audio" : "video"}/mp4; codecs="${codec}"`;
          if (!(await supports(type))) denied.push(`hls: ${type}`);
        }
      }
      result.denied.push(...new Set(denied));
      if (list.length === 0) result.wrong.push("hls/master.m3u8 states no codecs");
      if (denied.length === 0) {
        for (const index of list.keys()) {
          await play(page, "hlsjs", "/media/hls/master.m3u8", result, `hls by hls.js, variant ${index}`, index);
          await play(page, "shaka", "/media/hls/master.m3u8", result, `hls by Shaka Player, variant ${index}`, index);
        }
      }
    }
  } catch (error) {
    result.wrong.push(error.message.split("\n")[0]);
  }
  await page.close();
  return result;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await browser.close();
server.close();
