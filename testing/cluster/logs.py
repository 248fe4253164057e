"""What the logs of workers tell: which attempts began, and whether the group rebalanced."""

import re
from dataclasses import dataclass
from datetime import datetime

TASK = re.compile(r"^(\S+Z) +[A-Z]+ task\{job=(\w+) task=(\S+?)(?: attempt=(\d+))?\}: (\S+?): (.*)$")


@dataclass(frozen=True)
class Word:
    """A line about a task."""

    at: float
    job: str
    task: str
    attempt: int
    text: str


def words(lines):
    """The lines about tasks."""
    for line in lines:
        found = TASK.match(line)
        if found:
            at, job, task, attempt, _, text = found.groups()
            at = datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
            yield Word(at, job, task, int(attempt or 0), text)


def is_encode(word):
    return word.task.startswith(("chunk-", "audio-"))


def begun(lines):
    """The attempts at encodes that began. One that finds its marker there encodes nothing, so there
    are never more encodes than these."""
    return [word for word in words(lines) if word.text == "begun" and is_encode(word)]


def encoded(lines):
    return [word for word in words(lines) if word.text == "encoded" and is_encode(word)]


def is_rebalance(line):
    return "kafka::watcher: partitions were " in line or "kafka::watcher: cannot rebalance" in line
