// Starts and kills the service under test, and asks it of jobs.

import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { createServer } from "node:net";
import readline from "node:readline";

/** A port that is free now; the service keeps it over its restarts. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Service {
  /**
   * @param {string} reelmill the binary
   * @param {string} data the data folder
   * @param {number} port on loopback
   * @param {string[]} options of `reelmill serve`
   */
  constructor(reelmill, data, port, options = []) {
    this.command = [reelmill, "serve", "--data", data, "--listen", `127.0.0.1:${port}`, ...options];
    this.url = `http://127.0.0.1:${port}`;
    // One log over all restarts, beside the data.
    this.log = openSync(`${data}.log`, "a");
  }

  /** Starts it and waits until it listens. */
  async start() {
    const [program, ...args] = this.command;
    this.process = spawn(program, args, { stdio: ["ignore", "pipe", this.log] });
    const lines = readline.createInterface({ input: this.process.stdout });
    await new Promise((resolve, reject) => {
      lines.once("line", resolve);
      this.process.once("exit", (code) => reject(new Error(`the service ended with ${code}`)));
    });
  }

  /** Ends it by a signal and waits until it is gone; the answer is its exit code. */
  async stop(signal = "SIGTERM") {
    const gone = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill(signal);
    return gone;
  }

  async json(path) {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Waits until a job has ended. */
  async ended(id, seconds = 180) {
    const deadline = Date.now() + seconds * 1000;
    while (Date.now() < deadline) {
      const job = await this.json(`/v1/jobs/${id}`);
      if (["completed", "failed", "cancelled"].includes(job.status)) return job;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`job ${id} has not ended within ${seconds} s`);
  }

  /** The digests of a finished job's outputs by path, without what names the job. */
  async outputs(id) {
    const { outputs } = await this.json(`/v1/jobs/${id}/outputs`);
    const entries = outputs.map(({ path, sha256 }) => [path, sha256]);
    return Object.fromEntries(entries.filter(([path]) => path !== "certificate.json").sort());
  }
}
