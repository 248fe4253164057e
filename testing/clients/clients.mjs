// Uploads as users' programs do, and compares what comes out with what `reelmill transcode` makes.
// Called by scripts/clients, which made the source and its reference.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";
import * as tus from "tus-js-client";

import { serve } from "../playback/server.mjs";
import { check, finish, group } from "../checks.mjs";
import { Service, freePort } from "./service.mjs";

const { values: args } = parseArgs({
  options: {
    reelmill: { type: "string" },
    source: { type: "string" },
    profile: { type: "string" },
    reference: { type: "string" },
    work: { type: "string" },
    // Without one Uppy is left out.
    browser: { type: "string" },
  },
});
const here = path.dirname(fileURLToPath(import.meta.url));
const { source, profile } = args;
const size = statSync(source).size;
const digest = createHash("sha256").update(readFileSync(source)).digest();
const reference = JSON.parse(readFileSync(path.join(args.reference, "certificate.json")));
const expected = Object.fromEntries(reference.outputs.map((o) => [o.path, o.sha256]).sort());
const text = (value) => JSON.stringify(value);

const page = await serve({ page: here, uppy: path.join(here, "node_modules/uppy/dist"), media: path.dirname(source) });
const service = new Service(args.reelmill, path.join(args.work, "data"), await freePort(), ["--cors-origins", page.url]);
await service.start();

/** A job that was accepted ends with the bytes of a job that nothing disturbed. */
async function checkJob(what, id) {
  const job = await service.ended(id);
  check(`${what}: completed`, job.status === "completed", text(job.error));
  const outputs = await service.outputs(id);
  check(`${what}: the bytes of \`reelmill transcode\``, text(outputs) === text(expected), text({ outputs, expected }));
}

/** Runs curl as typed and gives what it printed as JSON. */
const curl = (...words) => JSON.parse(execFileSync("curl", ["-sS", "--fail-with-body", ...words], { maxBuffer: 1 << 26 }));
const jobs = `${service.url}/v1/jobs`;

await group("curl", async () => {
  const base64 = digest.toString("base64");
  const forms = {
    "-T FILE": ["-T", source, `${jobs}?profile=${profile}`],
    "-T FILE into a folder": ["-T", source, `${jobs}/?profile=${profile}`],
    "-T - (chunked)": ["-T", "-", `${jobs}?profile=${profile}&name=film.mkv`],
    "-F": ["-F", `file=@${source}`, "-F", `profile=${profile}`, jobs],
    "-F with the fields last": ["-F", `profile=${profile}`, "-F", `file=@${source}`, "-F", "priority=high", jobs],
    "--data-binary": ["--data-binary", `@${source}`, "-H", "Content-Type: video/x-matroska", `${jobs}?profile=${profile}`],
    "Expect: 100-continue": ["-T", source, "-H", "Expect: 100-continue", `${jobs}?profile=${profile}`],
    "Content-Digest": ["-T", source, "-H", `Content-Digest: sha-256=:${base64}:`, `${jobs}?profile=${profile}`],
  };
  for (const [name, words] of Object.entries(forms)) {
    const input = name.includes("chunked") ? readFileSync(source) : undefined;
    const job = JSON.parse(execFileSync("curl", ["-sS", "--fail-with-body", ...words], { input, maxBuffer: 1 << 26 }));
    check(`${name}: accepted`, ["pending", "running"].includes(job.status), text(job));
    await checkJob(name, job.id);
  }
  const again = ["-T", source, "-H", "Idempotency-Key: twice", `${jobs}?profile=${profile}`];
  const [first, second] = [curl(...again), curl(...again)];
  check("Idempotency-Key: the same job", first.id === second.id, text({ first, second }));
  await checkJob("Idempotency-Key", first.id);

  const fetched = execFileSync("curl", ["-sS", `${jobs}/${first.id}/source`], { maxBuffer: 1 << 30 });
  check("the source comes back as it was", createHash("sha256").update(fetched).digest().equals(digest));
  const largest = reference.outputs.find((output) => output.path.endsWith(".mp4"));
  const url = `${jobs}/${first.id}/outputs/${largest.path}`;
  const part = execFileSync("curl", ["-sS", "-r", "100-199", url]);
  check("a range of an output", part.length === 100);
  const wrong = execFileSync("curl", ["-sS", "-T", source, "-H", `Content-Digest: sha-256=:${Buffer.alloc(32).toString("base64")}:`, jobs]);
  check("a wrong Content-Digest is refused", JSON.parse(wrong).code === "digest-mismatch", wrong.toString());
});

/** Uploads with tus-js-client; `disturb(upload, sent)` may end it. The answer is the upload's URL. */
function tusUpload(options, disturb = () => {}) {
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(createReadStream(source), {
      endpoint: `${service.url}/v1/uploads`,
      uploadSize: size,
      metadata: { filename: path.basename(source), filetype: "video/x-matroska", profile },
      retryDelays: [100, 300, 1000, 3000, 3000],
      chunkSize: Infinity,
      onProgress: (sent) => disturb(upload, sent),
      onError: reject,
      onSuccess: () => resolve(upload.url),
      onShouldRetry: () => true,
      ...options,
    });
    upload.start();
  });
}
const idOf = (url) => url.split("/").at(-1);

await group("tus-js-client", async () => {
  await checkJob("in one request", idOf(await tusUpload({})));
  await checkJob("in pieces of 5 MB", idOf(await tusUpload({ chunkSize: 5_000_000 })));
  await checkJob("creation with upload", idOf(await tusUpload({ chunkSize: 5_000_000, uploadDataDuringCreation: true })));
});

/** One PATCH as tus writes it, of what a client holds from `offset` on. */
async function offsetOf(url) {
  const response = await fetch(url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  return Number(response.headers.get("upload-offset"));
}

await group("tus-js-client, cut off", async () => {
  let url;
  for (const part of [0.1, 0.35, 0.6, 0.85]) {
    const before = url ? await offsetOf(url) : 0;
    url = await new Promise((resolve, reject) => {
      const upload = new tus.Upload(readFileSync(source), {
        endpoint: `${service.url}/v1/uploads`,
        uploadUrl: url,
        metadata: { filename: "cut.mkv", profile },
        chunkSize: 1_000_000,
        onChunkComplete: (_chunk, accepted) => {
          if (accepted >= size * part) upload.abort().then(() => resolve(upload.url));
        },
        onError: reject,
        onSuccess: () => reject(new Error("it was to be cut off")),
      });
      upload.start();
    });
    const offset = await offsetOf(url);
    check(`cut off at ${part}: what was acknowledged stays`, offset >= size * part && offset > before, text({ before, offset }));
  }
  await checkJob("resumed", idOf(await tusUpload({ uploadUrl: url })));
});

await group("tus-js-client, the service killed", async () => {
  let kills = 0;
  let acknowledged = 0;
  const url = await new Promise((resolve, reject) => {
    const upload = new tus.Upload(readFileSync(source), {
      endpoint: `${service.url}/v1/uploads`,
      metadata: { filename: "killed.mkv", profile },
      chunkSize: 2_000_000,
      retryDelays: [200, 500, 1000, 2000, 3000, 3000],
      onChunkComplete: async (_chunk, accepted) => {
        acknowledged = accepted;
        if (accepted < (size * (kills + 1)) / 4 || kills === 3) return;
        kills++;
        await service.stop("SIGKILL");
        await service.start();
      },
      onError: reject,
      onSuccess: () => resolve(upload.url),
    });
    upload.start();
  });
  check("killed three times on the way", kills === 3 && acknowledged === size, text({ kills, acknowledged }));
  await checkJob("after the kills", idOf(url));
});

async function uppy() {
  const browser = await chromium.launch({ executablePath: args.browser, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => check("no error in the page", false, error.message));
  await tab.goto(`${page.url}/page/uppy.html`);
  await tab.waitForFunction("window.ready");
  const result = await tab.evaluate(
    ([endpoint, file, profile]) => window.upload(endpoint, file, profile),
    [`${service.url}/v1/uploads`, `/media/${path.basename(source)}`, profile],
  );
  check("Uppy says that it is there", result.failed.length === 0 && result.successful.length === 1, text(result));
  mkdirSync(args.work, { recursive: true });
  await tab.screenshot({ path: path.join(args.work, "uppy.png") });
  await checkJob("from Uppy", idOf(result.successful[0]));
  await browser.close();
}
if (args.browser) await group("Uppy in Chromium", uppy);

const code = await service.stop();
check("SIGTERM ends the service with 0", code === 0, code);
page.close();
finish();
