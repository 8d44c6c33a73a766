"""Filling a line that is slow, far and unreliable.

Called by `bench/run.py line`. The line is imitated by a proxy in the program `line` (rate, delay, losses as the
stalls they cause, resets, an outage); the real server is behind it. Whole clients, the
unmodified ones and the engine's, go over the program `shape` with the same settings.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess

from engine import NEW, OLD, ROOT, Side, wall
from machine import hold, table

CLEAN = ["--rate", "100", "--round-trip", "50"]
TROUBLED = [*CLEAN, "--loss", "1", "--reset-every", "5", "--outage", "10"]
AGAIN = 1.05
"""Bytes that a broken line may carry for each byte of the payload: what is in flight at each of some hundred breaks is lost."""


SIDES = (
    ("unmodified 2.10.2", "unmodified", OLD),
    ("unmodified 2.12.1", "unmodified", NEW),
    ("engine", "engine", NEW),
)


def build() -> None:
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--package", "wavetask-client"]
    subprocess.run([*command, "--example", "line", "--example", "shape"], cwd=ROOT, check=True)


def program(name: str) -> str:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release/examples" / name)


def engine_rows(name: str, options: list[str], troubled: bool) -> list[list[str]]:
    answer = subprocess.run([program("line"), *options], check=True, stdout=subprocess.PIPE, text=True)
    rows = []
    for line in answer.stdout.splitlines():
        figures = json.loads(line)
        direction, part = figures["direction"], figures["of_the_line"]
        if troubled:
            again = figures["on_the_line_per_byte"]
            hold(
                f"{name}, {direction}: bytes on the line per byte",
                f"{again:.3f}, {figures['connections_broken']} connections broken",
                f"at most {AGAIN}",
                again <= AGAIN,
            )
        else:
            hold(f"{name}, {direction}", f"{100 * part:.1f} % of the line", "at least 92 %", part >= 0.92)
        rows.append([
            f"engine, {name}", figures["direction"], f"{figures['bytes'] / 1e6:.0f} MB", f"{figures['seconds']:.1f} s",
            f"{100 * figures['of_the_line']:.1f} %", f"{figures['on_the_line_per_byte']:.4f}",
            f"{figures['first_task_seconds']:.1f} s", f"{figures['connections_broken']}",
        ])  # fmt: skip
    return rows


class Shaped(Side):
    """A server behind the shaping proxy in place of the counting wire."""

    def __init__(self, folder: pathlib.Path, options: list[str]):
        super().__init__(folder)
        self.proxy = subprocess.Popen(
            [program("shape"), "--to", f"127.0.0.1:{self.wire.port}", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(re.search(r":(\d+)\s*$", self.proxy.stdout.readline())[1])

    def stop(self):
        self.proxy.send_signal(signal.SIGINT)
        self.proxy.wait(10)
        super().stop()


def share(megabytes: float, figures: dict) -> str:
    """Of the line's 12.5 MB/s, with each byte counted once."""
    return "" if "unfinished" in figures else f"{100 * megabytes / 12.5 / figures['wall']:.0f} %"


def client_rows(folder: pathlib.Path, count: int, megabytes: float) -> list[list[str]]:
    """The clients, submit to last result, over the clean line: what a user waits for."""
    rows = []
    for number, (name, who, interpreter) in enumerate(SIDES):
        side = Shaped(folder / f"shaped-{number}", CLEAN)
        settings = {"count": count, "megabytes": megabytes, "results": str(folder / f"results-{number}.hdf5")}
        if who == "engine":
            settings["results"] = str(folder / "name")
        try:
            run = side.measure(who, "large", interpreter, port=side.port, **settings)
            rows.append(row(name, "submit to last result", count, megabytes, run))
            sent = run["sent"]
            if "unfinished" not in run:
                # A process that knows nothing of them.
                side.folder = side.folder / "elsewhere"
                fetched = side.measure(who, "fetch", interpreter, port=side.port, **settings)
                rows.append(row(name, "results elsewhere", count, megabytes, fetched))
        finally:
            side.stop()
    # The last side is the engine.
    rows.append(troubled_row(folder, count, megabytes, sent))
    return rows


def troubled_row(folder: pathlib.Path, count: int, megabytes: float, sent: int) -> list[str]:
    """The engine, submit to last result, over the line on which much goes wrong; ``sent`` is what it sends over a line on
    which nothing does."""
    side = Shaped(folder / "troubled", TROUBLED)
    try:
        settings = {"count": count, "megabytes": megabytes, "results": str(folder / "troubled-name")}
        run = side.measure("engine", "large", NEW, port=side.port, **settings)
    finally:
        side.stop()
    again = run["sent"] / sent
    hold(
        f"{count} x {megabytes:.0f} MB through the engine, losses, resets and an outage: bytes sent to those without",
        f"{again:.3f}",
        f"at most {AGAIN}",
        again <= AGAIN,
    )
    return row("engine", "submit to last result, losses, resets, outage", count, megabytes, run)


def row(name: str, what: str, count: int, megabytes: float, figures: dict) -> list[str]:
    return [
        name, what, f"{count} x {megabytes:.0f} MB", wall(figures), share(count * megabytes, figures),
        f"{figures['sent'] / 1e6:.0f} MB", f"{figures['received'] / 1e6:.0f} MB", f"{figures['cpu']:.1f} s",
    ]  # fmt: skip


def compare(folder: pathlib.Path) -> str:
    build()
    rows = engine_rows("100 Mbit/s, 50 ms", CLEAN, troubled=False)
    rows += engine_rows("1 % loss, resets every 5 s, 10 s outage", TROUBLED, troubled=True)
    head = ["side and line", "direction", "payload", "time", "of the line", "bytes on the line per byte", "first task",
            "connections broken"]  # fmt: skip
    parts = [
        table("Blocks that do not compress over a line of 100 Mbit/s and 50 ms", head, rows),
        table(
            "The same line under both clients: submit to last result",
            ["client", "what", "batch", "wall", "of the line", "sent", "received", "client CPU"],
            client_rows(folder, 50, 20.0),
        ),
        "The line is a proxy on the same machine; TCP cannot lose bytes through it, so a loss is the stall that it "
        "causes.\n",
    ]
    return "\n".join(parts)
