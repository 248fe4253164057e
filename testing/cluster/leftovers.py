"""What must not be left once all jobs have ended: leases, entries of open jobs, half-made objects,
scratch, and processes."""

import os
import re
from pathlib import Path

JOB = r"[0-9a-f]{32}"
# What the store keeps of a job that is completed, and of uploads.
KEPT = re.compile(
    rf"raw/{JOB}/(request\.json|source\.json|segment_\d+)"
    rf"|chunks/{JOB}/(manifest|revision_\d+)\.json"
    rf"|transcoded/{JOB}/((chunk|audio)_\d+(\.g\d+)?\.json|certificate\.json|output_\w+\.mp4|hls/\w+\.(m3u8|mp4))"
    r"|idempotency/[0-9a-f]+\.json"
    # Of processes that were killed in the moment they began; for a day.
    r"|\.reelmill/probe-[0-9a-f-]+")
# The gateway's own: uploads in parts that were not completed lie in the one folder of it that matters.
GATEWAY, UPLOADS = ".sgwtmp", ".sgwtmp/multipart"


def in_redis(cluster):
    """Leases, jobs that are said to be open, and names that are held."""
    left = cluster.redis("KEYS", "job:*:leases").split() + cluster.redis("KEYS", "worker:*:leases").split()
    for status in ("pending", "running"):
        left += [f"jobs:{status} {job}" for job in cluster.redis("ZRANGE", f"jobs:{status}", "0", "-1").split()]
    return left


def held(cluster):
    """Names that somebody holds; a worker that lives may keep house."""
    return cluster.redis("HGETALL", "holds").split()


def in_bucket(cluster):
    """Objects that should be gone, and uploads in parts that were begun and neither ended nor dropped."""
    left = []
    # It passes over folders that go away meanwhile.
    for folder, _, files in os.walk(cluster.bucket):
        for file in files:
            name = os.path.relpath(os.path.join(folder, file), cluster.bucket)
            if not KEPT.fullmatch(name) and (not name.startswith(GATEWAY) or name.startswith(UPLOADS)):
                left.append(name)
    return left


def open_in_bucket(cluster):
    """Jobs that are said to be open."""
    return [job for _, _, jobs in os.walk(cluster.bucket / "open") for job in jobs]


def on_disk(cluster):
    """Scratch of tasks and what was on its way in, in the data folders."""
    folders = [process.data / name for process in [*cluster.workers.values(), cluster.api]
               for name in ("scratch", "incoming")]
    return [str(path.relative_to(cluster.work)) for folder in folders if folder.is_dir() for path in folder.iterdir()]


def processes(cluster):
    """ffmpeg and ffprobe that work in the cluster's folder, whether that is still there or not."""
    left = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(f"{cluster.work}/"):
                left.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
        except OSError:
            # It ended, or is not ours to look at.
            continue
    return left
