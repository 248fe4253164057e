"""Decides which of the ignored tests can run on this machine.

  cargo nextest list --run-ignored only --message-format json | python3 testing/ignored.py LEFT_OUT

Prints a filterset for `cargo nextest run --run-ignored all`: every test but those whose need is not met.
Writes these to the file LEFT_OUT, one a line with the reason. The reasons come from the test binaries,
which print them when they are asked for an ignored test. Each is written as `needs X`, `needs X and Y`.
X is an environment variable (in capitals), a program, or `user namespaces`.
"""

import json
import os
import re
import shutil
import subprocess
import sys

REASON = re.compile(r"needs (.+)")
IGNORED = re.compile(r"test (\S+) \.\.\. ignored(?:, (.*))?")


def is_met(need):
    if need == "user namespaces":
        command = ["unshare", "--map-root-user", "--mount", "true"]
        return shutil.which("unshare") and subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    if need.isupper():
        return need in os.environ
    return shutil.which(need)


def reasons(suite):
    """The name of each ignored test of a binary, and why it is ignored."""
    names = [name for name, test in suite["testcases"].items() if test["ignored"]]
    if not names:
        return {}
    command = [suite["binary-path"], "--format", "pretty", "--exact", *names]
    ran = subprocess.run(command, cwd=suite["cwd"], check=True, stdout=subprocess.PIPE, text=True)
    found = {match[1]: match[2] for match in map(IGNORED.match, ran.stdout.splitlines()) if match}
    if found.keys() != set(names):
        raise SystemExit(f"{suite['binary-path']} does not say why it ignores {set(names) - found.keys()}")
    return found


def main():
    excluded, left_out, met = [], [], {}
    for binary, suite in json.load(sys.stdin)["rust-suites"].items():
        names = []
        for name, reason in reasons(suite).items():
            needs = REASON.fullmatch(reason or "")
            if not needs:
                raise SystemExit(f"`{name}` of {binary} is ignored with `{reason}`: write `needs …` as the reason")
            for need in needs[1].split(" and "):
                if need not in met:
                    met[need] = bool(is_met(need))
            if not all(met[need] for need in needs[1].split(" and ")):
                names.append(name)
                left_out.append(f"{binary} {name}: {reason}\n")
        if names:
            excluded.append(f"binary_id(={binary}) & ({' | '.join(f'test(={name})' for name in names)})")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.writelines(left_out)
    print(f"not ({' | '.join(f'({one})' for one in excluded)})" if excluded else "all()")


if __name__ == "__main__":
    main()
