// Kills the service with -9 at random moments while clients upload and jobs are encoded, starts it
// again each time, and holds it to every answer that it gave.
// Called by scripts/clients, which made the source and its reference.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import * as tus from "tus-js-client";

import { check, finish, group } from "../checks.mjs";
import { Service, freePort } from "./service.mjs";

const { values: args } = parseArgs({
  options: {
    reelmill: { type: "string" },
    source: { type: "string" },
    profile: { type: "string" },
    reference: { type: "string" },
    work: { type: "string" },
    kills: { type: "string", default: "20" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
const bytes = readFileSync(args.source);
const reference = JSON.parse(readFileSync(path.join(args.reference, "certificate.json")));
const expected = Object.fromEntries(reference.outputs.map((o) => [o.path, o.sha256]).sort());
const kills = Number(args.kills);
const text = (value) => JSON.stringify(value);

/** A small generator of the same numbers for the same seed (mulberry32). */
let state = Number(args.seed);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

const data = path.join(args.work, "kills");
const service = new Service(args.reelmill, data, await freePort());
await service.start();
console.log(`\n# ${kills} kills, seed ${args.seed}`);

const accepted = [];
const lost = [];
let killing = true;

/** Uploads in one request, again under the same key until there is an answer. */
async function submit(number) {
  for (;;) {
    try {
      const response = await fetch(`${service.url}/v1/jobs?profile=${args.profile}&name=raw-${number}.mkv`, {
        method: "PUT",
        body: bytes,
        headers: { "Idempotency-Key": `raw-${args.seed}-${number}` },
      });
      if (response.status === 202) {
        accepted.push((await response.json()).id);
        return;
      }
      if (response.status < 500 && response.status !== 409) throw new TypeError(await response.text());
    } catch (error) {
      // A connection that broke says so in its cause; anything else is ours to see.
      if (!error.cause) lost.push(String(error));
    }
    await sleep(100);
  }
}

/** Uploads by tus, and compares what the service remembers with what it had acknowledged. */
function resume(number) {
  let acknowledged = 0;
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(bytes, {
      endpoint: `${service.url}/v1/uploads`,
      metadata: { filename: `tus-${number}.mkv`, profile: args.profile },
      chunkSize: 1_500_000,
      retryDelays: Array(100).fill(200),
      onAfterResponse: (request, response) => {
        const offset = Number(response.getHeader("Upload-Offset"));
        if (request.getMethod() === "HEAD" && response.getStatus() === 200 && offset < acknowledged) {
          lost.push(`tus-${number}: ${acknowledged} bytes were acknowledged, ${offset} are there`);
        }
        if (request.getMethod() === "PATCH" && response.getStatus() === 204) acknowledged = offset;
      },
      onShouldRetry: () => true,
      onError: reject,
      onSuccess: () => {
        accepted.push(upload.url.split("/").at(-1));
        resolve();
      },
    });
    upload.start();
  });
}

async function client(upload, first) {
  for (let number = first; killing; number++) await upload(number);
}

await group("uploads and encodes under kills", async () => {
  const clients = [client(submit, 0), client(resume, 0), client(resume, 1000)];
  for (let kill = 0; kill < kills; kill++) {
    await sleep(100 + random() * 1900);
    await service.stop("SIGKILL");
    await service.start();
  }
  killing = false;
  await Promise.all(clients);
  check("nothing that was acknowledged is lost", lost.length === 0, text(lost));
  check(`${accepted.length} jobs were accepted, each once`, accepted.length > 3 && new Set(accepted).size === accepted.length, text(accepted));
  let right = 0;
  for (const id of accepted) {
    const job = await service.ended(id, 600);
    const same = job.status === "completed" && text(await service.outputs(id)) === text(expected);
    if (same) right++;
    else check(`job ${id}`, false, text(job));
  }
  check("all of them end completed with the bytes of an undisturbed job", right === accepted.length, right);
  const { jobs } = await service.json("/v1/jobs?limit=200");
  const others = jobs.filter((job) => !accepted.includes(job.id));
  check("no job exists whose upload had no answer for anybody", others.length === 0, text(others));
});

check("SIGTERM ends the service with 0", (await service.stop()) === 0);
const left = readdirSync(data, { recursive: true }).filter((name) => /partial_|uploads\/[^/]+\.json$|\.staging\/.|scratch\/./.test(name));
check("nothing half-made is left", left.length === 0, text(left.slice(0, 20)));
finish();
