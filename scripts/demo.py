#!/usr/bin/env python3
"""The thermo-optic phase shifter in three ways, each on a fresh server of its own, and what each moved and took.

    scripts/demo.py --binary target/release/wavetask --output demo-output

Between each client and its server lies a wire that counts bytes. Wall time is that of the sweep, from the first
submission to the last index, without the start of the interpreter; server and solvers share the cores with the client.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from wire import Wire
from with_server import server

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples/thermo_optic_phase_shifter.py"
WAYS = {
    "server": "submitted at once, on references",
    "loop": "the loop, `wavetask.web`",
    "client": "the loop, unmodified client",
}


def pointed_at(environment: dict[str, str], wire: Wire, folder: pathlib.Path) -> dict[str, str]:
    """The environment of a client that reaches its server over the wire, and keeps its journal elsewhere."""
    old = urllib.parse.urlsplit(environment["TIDY3D_WEB__API_ENDPOINT"]).netloc
    moved = {name: value.replace(old, f"127.0.0.1:{wire.port}") for name, value in environment.items()}
    return {
        **moved,
        "WAVETASK_URL": wire.url,
        "WAVETASK_KEY": environment["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(folder / "client"),
    }


def run(way: str, binary: pathlib.Path, output: pathlib.Path) -> dict:
    """Runs one way; what it found, took and moved."""
    print(f"\n--- {way}: {WAYS[way]}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="wavetask-demo-") as folder,
        (output / f"server-{way}.log").open("wb") as log,
        server(binary, pathlib.Path(folder) / "server", log) as environment,
    ):
        port = urllib.parse.urlsplit(environment["TIDY3D_WEB__API_ENDPOINT"]).port
        wire = Wire(port, count_requests=True)
        command = [sys.executable, str(EXAMPLE), "--way", way, "--output", str(output)]
        environment = pointed_at(environment, wire, pathlib.Path(folder))
        subprocess.run(command, env=environment, check=True)
        told = json.loads((output / f"{way}.json").read_text())
        told.update(sent=wire.sent, received=wire.received, requests=wire.requests)
        if way == "server":
            # The picture is not part of the sweep; the heat is known by now.
            subprocess.run([*command, "--draw"], env=environment, check=True, stdout=subprocess.DEVNULL)
        wire.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONUNBUFFERED"] = "1"
    told = {way: run(way, options.binary.resolve(), options.output.resolve()) for way in WAYS}
    print(f"\n{'way':<36} {'wall':>8} {'sent':>11} {'received':>11} {'requests':>9}   indices apart")
    reference = told["server"]["indices"]
    for way, figures in told.items():
        apart = max(abs(index - reference[name]) for name, index in figures["indices"].items())
        print(
            f"{WAYS[way]:<36} {figures['seconds']:6.1f} s {figures['sent'] / 1e3:8.0f} kB "
            f"{figures['received'] / 1e3:8.0f} kB {figures['requests']:9}   {apart:.1e}"
        )
    (options.output / "ways.json").write_text(json.dumps(told, indent=1))
    print(f"\nindex and temperature: {options.output.resolve() / 'phase-shifter.png'}")


if __name__ == "__main__":
    main()
