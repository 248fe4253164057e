// Serves folders over loopback HTTP with byte ranges, as every web server does.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".m3u8": "application/vnd.apple.mpegurl",
  ".mp4": "video/mp4",
};

/**
 * @param {Record<string, string>} folders the folder behind each first part of a URL's path
 * @returns the server's base URL, what was asked of it, and a function that ends it
 */
export async function serve(folders) {
  const requests = [];
  const server = createServer((request, response) => {
    answer(folders, request, response, requests).catch((error) => {
      response.writeHead(error.code === "ENOENT" ? 404 : 500).end(String(error.message));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  return { url: `http://127.0.0.1:${port}`, requests, close: () => server.close() };
}

async function answer(folders, request, response, requests) {
  const url = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  const [, first, ...rest] = url.split("/");
  const name = path.posix.normalize("/" + rest.join("/"));
  const folder = folders[first];
  const file = folder && path.join(folder, name);
  const size = file ? (await stat(file)).size : undefined;
  if (size === undefined) {
    requests.push({ url, range: undefined, status: 404 });
    response.writeHead(404).end();
    return;
  }
  const head = {
    "accept-ranges": "bytes",
    "cache-control": "no-store",
    "content-type": TYPES[path.extname(file)] ?? "application/octet-stream",
  };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  let start = 0;
  let end = size - 1;
  let status = 200;
  if (range) {
    start = Number(range[1]);
    end = range[2] === "" ? end : Math.min(Number(range[2]), end);
    if (start > end) {
      requests.push({ url, range: request.headers.range, status: 416 });
      response.writeHead(416, { "content-range": `bytes */${size}` }).end();
      return;
    }
    status = 206;
    head["content-range"] = `bytes ${start}-${end}/${size}`;
  }
  head["content-length"] = size === 0 ? 0 : end - start + 1;
  requests.push({ url, range: request.headers.range, status });
  response.writeHead(status, head);
  if (request.method === "HEAD" || size === 0) {
    response.end();
    return;
  }
  const stream = createReadStream(file, { start, end });
  stream.on("error", () => response.destroy());
  // Browsers drop requests when they seek.
  response.on("close", () => stream.destroy());
  stream.pipe(response);
}
