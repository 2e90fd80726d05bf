"""Runs inside the bare machine: `install.sh --try` as a person would, by the standard library only.

Starts it, waits for the curl that it prints, runs that curl, presses Ctrl-C, and prints what it
saw as one line of JSON, the last.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading

TIME_TO_CURL_S = 420.0


def main() -> None:
    started = subprocess.Popen(
        ["./install.sh", "--try", *sys.argv[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    alarm = threading.Timer(TIME_TO_CURL_S, started.kill)
    alarm.start()
    printed = read_until_curl(started)
    alarm.cancel()
    curl = curl_in(printed)
    answer = subprocess.run(
        ["bash", "-c", curl], capture_output=True, text=True, timeout=60, check=False
    )
    os.kill(started.pid, signal.SIGINT)
    rest, _ = started.communicate(timeout=30)
    seen = {
        "printed": printed,
        "curl": curl,
        "answer": answer.stdout,
        "curl_errors": answer.stderr,
        "rest": rest,
        "exit": started.returncode,
    }
    print(json.dumps(seen))


def read_until_curl(started: subprocess.Popen[str]) -> str:
    """What it prints up to the whole curl command, whose lines end in a backslash but the last."""
    printed = ""
    assert started.stdout is not None
    for line in started.stdout:
        print(line, end="", flush=True)
        printed += line
        if curl_in(printed) and not line.rstrip().endswith("\\"):
            return printed
    raise SystemExit(f"install.sh --try ended with {started.wait()} before it printed a curl")


def curl_in(printed: str) -> str:
    found = re.search(r"^\s*(curl .*(?:\\\n.*)*)", printed, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    main()
