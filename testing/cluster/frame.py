"""A cluster on loopback: the three servers of scripts/services, an api and workers, each a process
that can be killed, stopped and begun again, and jobs that must end with the bytes of
`reelmill transcode`. scripts/cluster and scripts/chaos are written on it.
"""

import fcntl
import filecmp
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import logs

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
# Which servers of scripts/services: with stacks of their own several clusters run side by side.
STACK = int(os.environ.get("SERVICES_STACK", "0"))
SERVICES = TARGET / (f"services-{STACK}" if STACK else "services")
HOST, _, PORT = os.environ.get("API_ADDRESS", "127.0.0.1:18080").rpartition(":")
API = f"{HOST}:{int(PORT) + 100 * STACK}"
GROUP = "transcoding-workers"
PARTITIONS = 12
TOPICS = ("video-ingest", "video-ingest.retry", "video-chunks", "video-chunks.retry",
          "video-merges", "video-merges.retry", "video-dead-letters")
ENDED = ("completed", "failed", "cancelled")
# How long one job may take, on a slow machine and with every lease lost once.
PATIENCE_SECONDS = 300
# What counts encodes stands in the log at this level.
LOG = "info,reelmill_stage::process=debug,reelmill_media::process=debug,reelmill::commands::serve::observe=debug"


def say(text):
    """Words go to standard error: standard output belongs to the result."""
    print(text, file=sys.stderr, flush=True)


def get_what_is_missing(reelmill=None):
    """Tools from the system, and the program itself unless one is given."""
    script = f"cd {shlex.quote(str(ROOT))} && . scripts/lib.sh && want_basics && want curl has curl && "
    script += "want redis-tools has redis-cli && "
    if reelmill:
        script += "install_missing && need_ffmpeg"
    else:
        script += ("want_cluster_build && install_missing && need_ffmpeg && need_rust && "
                   "cargo build --release --locked --quiet --bin reelmill")
    subprocess.run(["bash", "-c", script, Path(sys.argv[0]).name], check=True)
    return Path(reelmill or TARGET / "release/reelmill").absolute()


def wait_for(what, seconds=PATIENCE_SECONDS, every=0.1):
    """Asks until the answer is true, and returns it; the last answer where it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer


class Checks:
    """Counts what holds and what does not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, holds, why=""):
        if holds:
            self.passed += 1
            say(f"ok: {what}")
        else:
            self.failed += 1
            say(f"FAILED: {what}" + (f": {why}" if why else ""))
        return bool(holds)

    def finish(self):
        """The last line, and the exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


@dataclass(frozen=True)
class Encode:
    """An ffmpeg that encodes now."""

    pid: int
    worker: str
    task: str
    """`chunk-001`, `audio-0`"""
    source: str
    """What the file was called that was uploaded."""


class Process:
    """A process of reelmill with a data folder and a log of its own; both stay over its ends."""

    def __init__(self, cluster, name, command):
        self.cluster, self.name, self.command = cluster, name, command
        self.data, self.log = cluster.work / name, cluster.work / f"{name}.log"
        self.options, self.popen, self.log_from = (), None, 0

    def begin(self, *options):
        """Begins it, with other options where any are given."""
        if options:
            self.options = options
        self.log.touch()
        self.log_from = self.log.stat().st_size
        with open(self.log, "ab") as log, open(self.cluster.work / f"{self.name}.url", "wb") as url:
            self.popen = subprocess.Popen(
                [self.cluster.reelmill, self.command, *self.options, "--data", self.data, "--log", LOG],
                stdin=subprocess.DEVNULL, stdout=url, stderr=log, env=os.environ | {"REELMILL_LOG_FORMAT": "text"})

    @property
    def pid(self):
        return self.popen.pid

    def runs(self):
        return self.popen is not None and self.popen.poll() is None

    def send(self, number):
        if self.runs():
            self.popen.send_signal(number)

    def finish(self, number=signal.SIGTERM, seconds=40):
        """Ends it, and waits; its exit code, None where it had to be killed after all."""
        self.send(number)
        return self.wait(seconds)

    def wait(self, seconds=40):
        if self.popen is None:
            return None
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return None

    def lines(self):
        """What it has said since it began."""
        with open(self.log, "rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace").splitlines()

    def encodes(self):
        """Its ffmpegs that encode. Asks for its children only: a look at every process takes long."""
        found = []
        try:
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    encode = self.encode(int(child))
                    if encode:
                        found.append(encode)
        except OSError:
            # It has ended meanwhile.
            pass
        return found

    def encode(self, pid):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            folder = Path(os.readlink(f"/proc/{pid}/cwd"))
        except OSError:
            return None
        if "-progress" not in arguments or "-i" not in arguments:
            return None
        source = arguments[arguments.index("-i") + 1].rsplit("/", 1)[-1]
        # Each group of a chunk's renditions has a folder of its own, with a number for its name.
        task = folder.parent if folder.name.isdigit() else folder
        return Encode(pid, self.name, task.name.rsplit("-", 1)[0], source)


class Cluster:
    """All of it, in a folder under target. Everything ends with it."""

    def __init__(self, name, reelmill):
        self.reelmill = reelmill
        self.work = TARGET / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.bucket = SERVICES / "s3/videos"
        self.api = Process(self, "api", "api")
        self.api.options = ("--listen", API)
        self.workers = {}
        self.lock = None
        self.url = f"http://{API}"
        os.environ["REELMILL_SERVER"] = self.url

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Who is stopped does not end, nor does whoever waits for it.
        if self.lock:
            self.signal_service("s3", signal.SIGCONT)
        for process in [*self.workers.values(), self.api]:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in [*self.workers.values(), self.api]:
            process.wait()
        if self.lock:
            self.services("down")
            self.lock.close()

    # ---- the servers ----

    def services(self, *words):
        return subprocess.run([ROOT / "scripts/services", *words], check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True).stdout

    def begin_services(self):
        # A second cluster on these servers would end them under the first.
        SERVICES.mkdir(parents=True, exist_ok=True)
        self.lock = open(SERVICES.with_suffix(".lock"), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another cluster on these servers to end")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.services("reset")
        self.services("up")
        for word in shlex.split(self.services("env")):
            if "=" in word:
                name, value = word.split("=", 1)
                os.environ[name] = value
        self.run("topics", "create", "--partitions", str(PARTITIONS))

    def signal_service(self, name, number):
        try:
            os.kill(int((SERVICES / f"{name}.pid").read_text()), number)
        except (OSError, ValueError):
            pass

    def restart(self, name, pause=0):
        """As after a power cut."""
        self.services("kill", name)
        time.sleep(pause)
        self.services("up", name)

    def renew_topics(self):
        """Deletes the topics and makes them anew."""
        self.kafka_tool("TopicCommand", "--delete", "--topic", "video-.*")

        def are_made():
            # The broker may still be about to remove the old ones.
            made = self.does("topics", "create", "--partitions", str(PARTITIONS))
            return made and set(TOPICS) <= set(self.kafka_tool("TopicCommand", "--list").split())
        if not wait_for(are_made, 60, 1):
            raise SystemExit("the topics cannot be made anew")

    def kafka_tool(self, tool, *words, text="", tries=3):
        """One of Kafka's own commands; what it prints. Just after its start a broker may refuse it."""
        for left in reversed(range(tries)):
            ran = subprocess.run([ROOT / "scripts/services", "kafka-tool", tool, *words], input=text,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if ran.returncode == 0:
                return ran.stdout
            if left == 0:
                raise SystemExit(f"`{tool}` of Kafka failed: {ran.stderr[-1000:]}")
            time.sleep(2)
        return None

    def offsets(self):
        """(topic, partition) → what is committed, the end, and what lies between, as Kafka's own tool
        says it. Nothing is committed of a partition that never had a message."""
        rows = self.kafka_tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", GROUP).splitlines()
        header, found = [], {}
        for row in (row.split() for row in rows):
            if "LOG-END-OFFSET" in row:
                header = row
            elif header and len(row) >= len(header):
                fields = dict(zip(header, row))
                end = int(fields["LOG-END-OFFSET"])
                committed = 0 if fields["CURRENT-OFFSET"] == "-" else int(fields["CURRENT-OFFSET"])
                lag = end - committed if fields["LAG"] == "-" else int(fields["LAG"])
                found[fields["TOPIC"], int(fields["PARTITION"])] = (committed, end, lag)
        return found

    def lag(self):
        """Messages that are not settled, over all partitions; None where the tool says nothing. Of a topic
        that was made anew more may be committed than there is."""
        offsets = self.offsets()
        return sum(max(lag, 0) for _, _, lag in offsets.values()) if offsets else None

    def redis(self, *words):
        answer = subprocess.run(["redis-cli", "-u", os.environ["REDIS_URL"], "--raw", *words],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return answer.stdout.strip()

    # ---- processes ----

    def run(self, *words, **options):
        """A command of reelmill; what it prints."""
        options = {"check": True, "stdout": subprocess.PIPE} | options
        return subprocess.run([self.reelmill, *words], stdin=subprocess.DEVNULL, text=True, **options).stdout

    def does(self, *words):
        """Whether a command of reelmill succeeds."""
        return subprocess.run([self.reelmill, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def begin_api(self, *options):
        self.api.begin(*options)
        ready = wait_for(lambda: not self.api.runs() or self.get("/readyz") is not None, 60)
        if not ready or not self.api.runs():
            raise SystemExit(f"the api is not ready: {self.api.log} may say why")

    def begin_workers(self, names, *options):
        """Begins those, and waits until each is known and has its part of the chunks."""
        for name in names:
            worker = self.workers.setdefault(name, Process(self, name, "worker"))
            worker.begin(*options)
        for name in names:
            if not wait_for(lambda name=name: self.takes_part(name), 60):
                raise SystemExit(f"{name} does not take part: {self.workers[name].log} may say why")

    def takes_part(self, name):
        worker = self.workers[name]
        if not worker.runs():
            raise SystemExit(f"{name} has ended: {worker.log} may say why")
        is_known = f"-{worker.pid}-" in self.redis("ZRANGE", "workers", "0", "-1")
        return is_known and any("given" in line and "video-chunks/" in line for line in worker.lines())

    def end_workers(self, *names):
        """Ends those by SIGTERM, all at once; their exit codes."""
        workers = [self.workers[name] for name in names or self.workers]
        for worker in workers:
            worker.send(signal.SIGTERM)
        # A second signal would end them at once.
        return [worker.wait() for worker in workers]

    def encodes(self):
        return [encode for worker in self.workers.values() if worker.runs() for encode in worker.encodes()]

    def rebalances(self):
        """How often partitions came or went so far, over all workers that run."""
        running = (worker for worker in self.workers.values() if worker.runs())
        return sum(logs.is_rebalance(line) for worker in running for line in worker.lines())

    def settle_down(self, seconds=5):
        """Waits until no rebalance was seen for longer than members take to hear of one."""
        seen, since = self.rebalances(), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.2)
            if (now := self.rebalances()) != seen:
                seen, since = now, time.monotonic()

    # ---- jobs ----

    def get(self, path, seconds=10):
        """JSON, or text that is none; None where there is no answer or an error."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=seconds) as answer:
                body = answer.read()
        except (OSError, urllib.error.URLError, ValueError):
            return None
        try:
            return json.loads(body)
        except ValueError:
            return body

    def job(self, job):
        return self.get(f"/v1/jobs/{job}") or {}

    def upload(self, film, profile, *options):
        """The HTTP status and the answer; 0 where there was none. The job has the file's name."""
        answer = subprocess.run(
            ["curl", "-sS", "-w", "\n%{http_code}", "-T", film, *options, f"{self.url}/v1/jobs/?profile={profile}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        body, _, status = answer.rpartition("\n")
        return int(status or 0), body

    def submit(self, film, profile):
        status, body = self.upload(film, profile)
        if status != 202:
            raise SystemExit(f"an upload was answered {status}: {body}")
        return json.loads(body)["id"]

    def reaches(self, job, chunks):
        """Waits until so many chunks are done, or the job has ended."""
        def has_reached():
            seen = self.job(job)
            return seen.get("status") in ENDED or (seen.get("chunks") or {}).get("done", 0) >= chunks
        return wait_for(has_reached)

    def ends(self, job, seconds=PATIENCE_SECONDS):
        """The job when it has ended, or as it was last seen."""
        seen = {}

        def has_ended():
            # A ledger that was emptied may not know it for a while.
            seen.update(self.job(job))
            return seen.get("status") in ENDED
        wait_for(has_ended, seconds)
        return seen

    def completes(self, job, seconds=PATIENCE_SECONDS):
        seen = self.ends(job, seconds)
        if seen.get("status") != "completed":
            say(f"   {job}: {json.dumps(seen)}")
        return seen.get("status") == "completed"

    # ---- bytes ----

    def slots(self, job):
        """For how many encodes at once the job was planned: the plan follows from it."""
        return json.loads((self.bucket / f"raw/{job}/request.json").read_text())["slots"]

    def reference(self, film, profile, slots):
        """What `reelmill transcode` makes where nothing disturbs it, planned for as many slots."""
        folder = self.work / "references" / f"{film.stem}-{slots}"
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            self.run("transcode", film, "--output", unfinished, "--profile", profile,
                     "--slots", str(slots), "--quiet")
            unfinished.rename(folder)
        return folder

    def same_bytes(self, job, film, profile):
        """Certificates name machines and times; what people play must be the same."""
        reference = self.reference(film, profile, self.slots(job))
        out = self.work / f"out-{job}"
        shutil.rmtree(out, ignore_errors=True)
        is_same = self.does("outputs", "get", job, "--output", out) and differences(reference, out) == []
        if is_same:
            shutil.rmtree(out)
        else:
            say(f"   {reference} and {out} differ in {differences(reference, out)}")
        return is_same


def differences(one, other):
    """The files that are not the same, byte for byte, in two folders of outputs."""
    def files(folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"certificate.json"}
    both = files(one) & files(other)
    _, unlike, odd = filecmp.cmpfiles(one, other, both, shallow=False)
    return sorted(files(one) ^ files(other)) + sorted(unlike + odd)
