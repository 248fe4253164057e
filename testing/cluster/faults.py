"""What scripts/chaos does to a cluster: each kind of fault, how often it comes, and how many encodes
it may cost."""

import json
import math
import signal
import time
from dataclasses import dataclass

from frame import wait_for

# The shortest there are, so that who dies is noticed soon: the lease, and the session that this broker
# takes. A worker that was frozen finds both gone.
LEASE_SECONDS, SESSION_SECONDS = 5, 6
# What was lost with the topics is published after two silent minutes; then it is to be done.
TOPICS_SECONDS = 240
# How long an attempt takes at least that the store fails.
FAILS_AFTER_SECONDS = 2
MERGERS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'job:*:leases')) do
  local lease = redis.call('HGET', key, 'finalize')
  if lease then found[#found + 1] = lease end
end
return found
"""


@dataclass
class Fault:
    """One that came, for what is asked at the end."""

    round: int
    kind: str
    began: float
    words: str = ""
    ended: float = 0
    costs: int = 0
    """Encodes that it may have had begun again, at most."""


class Faults:
    """The kinds. Each takes its own source of chance and returns what is to be said of it."""

    def __init__(self, cluster, proxy, jobs, slots):
        self.cluster, self.proxy, self.jobs, self.slots = cluster, proxy, jobs, slots
        self.codes, self.silent_topics = [], []
        in_all = len(cluster.workers) * slots
        # Kind → how it is done, how often it comes, and what it may cost, by how long it lasted: a
        # worker that ends or sleeps loses what it has in hand; without leases or store all may.
        self.kinds = {
            "worker killed": (self.kill_worker, 5, lambda _: slots),
            "worker told to end": (self.end_worker, 4, lambda _: slots),
            "worker frozen": (self.freeze_worker, 3, lambda _: slots),
            "merger killed": (self.kill_merger, 4, lambda _: slots),
            "api killed": (self.kill_api, 4, lambda _: 0),
            "Redis emptied": (self.empty_redis, 3, lambda _: in_all),
            "Redis restarted empty": (self.restart_redis, 2, lambda _: in_all),
            "Kafka restarted": (self.restart_kafka, 2, lambda _: 0),
            "topics made anew": (self.renew_topics, 0.25, lambda _: 0),
            "S3 restarted": (self.restart_s3, 2, self.outage_costs),
            "S3 hung": (self.hang_s3, 2, self.outage_costs),
            "S3 answered 503": (self.busy_s3, 2, self.outage_costs),
            "S3 broke off": (self.torn_s3, 2, self.outage_costs),
            "message twice": (self.publish_again, 2, lambda _: 0),
        }

    def outage_costs(self, seconds):
        """All that is in hand, and what is begun meanwhile and fails too."""
        return len(self.cluster.workers) * self.slots * (1 + math.ceil(seconds / FAILS_AFTER_SECONDS))

    def draw(self, chance, rounds):
        """The kinds of so many rounds."""
        names, weights = zip(*((name, weight) for name, (_, weight, _) in self.kinds.items()))
        drawn = chance.choices(names, weights, k=rounds)
        # Rare, since it takes minutes, but a long run has one.
        if rounds >= 100 and "topics made anew" not in drawn:
            drawn[chance.randrange(rounds)] = "topics made anew"
        return drawn

    def strike(self, number, kind, chance):
        act, _, costs = self.kinds[kind]
        fault = Fault(number, kind, time.time())
        fault.words = act(chance)
        fault.ended = time.time()
        fault.costs = costs(fault.ended - fault.began)
        return fault

    # ---- processes ----

    def kill(self, worker):
        """A worker, with which its encodes must end."""
        encodes = worker.encodes()
        worker.finish(signal.SIGKILL)
        for encode in encodes:
            # The process that has its number may be another one by now.
            gone = wait_for(lambda encode=encode: worker.encode(encode.pid) != encode, 3, 0.02)
            if not gone:
                raise SystemExit(f"{encode} outlives its worker")
        in_hand = ", ".join(encode.task for encode in encodes) or "nothing"
        worker.begin()
        return f"{worker.name} with {in_hand} in hand"

    def any_worker(self, chance):
        return chance.choice(list(self.cluster.workers.values()))

    def kill_worker(self, chance):
        return self.kill(self.any_worker(chance))

    def kill_merger(self, chance):
        """Whoever joins a job, as soon as somebody does."""
        def look():
            mergers = self.cluster.redis("EVAL", MERGERS, "0").splitlines()
            pids = {lease.split()[0].split("-")[-2] for lease in mergers}
            return next((worker for worker in self.cluster.workers.values() if str(worker.pid) in pids), None)
        worker = wait_for(look, 20, 0.005)
        if worker is None:
            return "nobody joined within 20 s, so " + self.kill_worker(chance)
        return self.kill(worker) + " and a job to join"

    def end_worker(self, chance):
        worker = self.any_worker(chance)
        began = time.time()
        code = worker.finish()
        self.codes.append((worker.name, code))
        took = time.time() - began
        worker.begin()
        return f"{worker.name} ended with {code} after {took:.1f} s"

    def freeze_worker(self, chance):
        worker = self.any_worker(chance)
        worker.send(signal.SIGSTOP)
        seconds = max(LEASE_SECONDS, SESSION_SECONDS) + chance.uniform(0.5, 4)
        time.sleep(seconds)
        worker.send(signal.SIGCONT)
        return f"{worker.name} for {seconds:.1f} s"

    def kill_api(self, _chance):
        self.cluster.api.finish(signal.SIGKILL)
        self.cluster.begin_api()
        return ""

    # ---- servers ----

    def empty_redis(self, _chance):
        self.cluster.redis("FLUSHALL")
        return ""

    def restart_redis(self, chance):
        return self.restart("redis", chance)

    def restart_kafka(self, chance):
        return self.restart("kafka", chance)

    def restart_s3(self, chance):
        return self.restart("s3", chance)

    def restart(self, name, chance):
        pause = chance.uniform(0, 4)
        self.cluster.restart(name, pause)
        return f"after {pause:.1f} s"

    def renew_topics(self, _chance):
        """What waits in them is lost: it is published again once the jobs were silent for two
        minutes, so the jobs at hand are waited for."""
        jobs = self.jobs.open_ones()
        began = time.time()
        self.cluster.renew_topics()
        wait_for(lambda: not jobs & self.jobs.open_ones(), TOPICS_SECONDS, 1)
        left = jobs & self.jobs.open_ones()
        if left:
            self.silent_topics.append(sorted(left))
        return f"{len(jobs) - len(left)} of {len(jobs)} jobs in hand ended within {time.time() - began:.0f} s"

    def hang_s3(self, chance):
        return for_a_while(chance, lambda: self.cluster.signal_service("s3", signal.SIGSTOP),
                           lambda: self.cluster.signal_service("s3", signal.SIGCONT))

    def busy_s3(self, chance):
        return self.bad_way("busy", chance)

    def torn_s3(self, chance):
        return self.bad_way("torn", chance)

    def bad_way(self, way, chance):
        return for_a_while(chance, lambda: self.proxy.set_way(way), lambda: self.proxy.set_way("open"))

    # ---- messages ----

    def publish_again(self, chance):
        """Messages of tasks of a job at hand, done or not, by somebody who knows no headers."""
        planned = []
        for job in sorted(self.jobs.open_ones()):
            manifest = self.cluster.bucket / f"chunks/{job}/manifest.json"
            try:
                chunks = json.loads(manifest.read_text())["video"]["chunks"]
            except (OSError, ValueError):
                continue
            planned += [(job, f"chunk-{index:03}") for index in range(len(chunks))]
        if not planned:
            return "but no job is planned"
        chosen = chance.sample(planned, min(3, len(planned)))
        text = "".join(f"{job}/{task}\t{json.dumps({'v': 1, 'job': job, 'task': task})}\n" for job, task in chosen)
        self.cluster.kafka_tool("ConsoleProducer", "--topic", "video-chunks",
                                "--reader-property", "parse.key=true", text=text)
        return ", ".join(f"{job}/{task}" for job, task in chosen)


def for_a_while(chance, begin, end):
    """An outage of some seconds."""
    seconds = chance.uniform(2, 8)
    begin()
    time.sleep(seconds)
    end()
    return f"for {seconds:.1f} s"
