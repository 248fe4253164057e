"""Runs a command against a cluster on loopback that cuts every source into windows of a second and
offers the profile `lossless-1s`: what `scripts/exactness --via cluster` is about.

  python3 testing/cluster/exactness.py REELMILL COMMAND...

The address of the cluster is added to the command, behind `--via`.
"""

import subprocess
import sys

sys.dont_write_bytecode = True
from frame import Cluster, get_what_is_missing  # noqa: E402

WORKERS = ("worker-1", "worker-2")


def main():
    reelmill, command = get_what_is_missing(sys.argv[1]), sys.argv[2:]
    with Cluster("exactness", reelmill) as cluster:
        profiles = cluster.work / "profiles"
        profiles.mkdir()
        lossless = cluster.run("profiles", "show", "lossless")
        (profiles / "lossless-1s.toml").write_text(lossless.replace("fragment_seconds = 2", "fragment_seconds = 1"))
        cluster.begin_services()
        cluster.begin_api("--listen", cluster.url.removeprefix("http://"), "--window", "1s", "--profiles-dir", profiles)
        cluster.begin_workers(WORKERS, "--slots", "1")
        return subprocess.run([*command, "--via", cluster.url], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
