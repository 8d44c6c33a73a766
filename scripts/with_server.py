#!/usr/bin/env python3
"""Runs a command against a fresh wavetask server of its own, then stops what it started.

    scripts/with_server.py --binary target/release/wavetask -- python script.py

The server listens on a free loopback port, on a new data folder that is removed at the end (keep it
with ``--data``). The command finds both in its environment: the variables of ``wavetask env`` for the
unmodified tidy3d client, ``WAVETASK_DATA`` for the command line, ``WAVETASK_URL`` for anything else.
Only the standard library is used, so that any Python 3.9 or newer will do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

READY_WITHIN = 60.0
STOPPED_WITHIN = 30.0


def ready_line(process: subprocess.Popen) -> str:
    """The line that the server prints once it answers."""
    line: list[str] = []
    reader = threading.Thread(target=lambda: line.append(process.stdout.readline()), daemon=True)
    reader.start()
    reader.join(READY_WITHIN)
    if not line or not line[0]:
        process.kill()
        raise SystemExit(f"the server was not ready within {READY_WITHIN:.0f} s; look at its messages")
    return line[0].strip()


@contextlib.contextmanager
def server(binary: pathlib.Path, data: pathlib.Path, messages=None):
    """A running server; yields the environment for its clients. `messages` is a file for its log."""
    process = subprocess.Popen(
        [str(binary), "serve", "--listen", "127.0.0.1:0", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
    )
    try:
        print(ready_line(process), file=sys.stderr)
        answer = subprocess.run(
            [str(binary), "env", "--json", "--data", str(data)], check=True, capture_output=True, text=True
        )
        variables = json.loads(answer.stdout)
        yield {
            **os.environ,
            **variables,
            "WAVETASK_DATA": str(data),
            # Results of another server with the same simulation must not be taken for ours.
            "TIDY3D_LOCAL_CACHE__ENABLED": "false",
        }
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            print("the server did not stop on SIGTERM and was killed", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, help="keep the data folder here")
    parser.add_argument(
        "--log", type=pathlib.Path, help="write the server's messages here, not to the terminal"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("give a command after --")
    data = options.data or pathlib.Path(tempfile.mkdtemp(prefix="wavetask-"))
    try:
        with contextlib.ExitStack() as open_things:
            messages = None
            if options.log:
                options.log.parent.mkdir(parents=True, exist_ok=True)
                messages = open_things.enter_context(options.log.open("wb"))
            environment = open_things.enter_context(server(options.binary, data, messages))
            return subprocess.run(command, env=environment, check=False).returncode
    finally:
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
