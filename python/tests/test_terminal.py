"""What a user sees in a terminal: scripts on a pseudo-terminal, with the engine and a server behind them."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import subprocess
import sys

import pytest

pty = pytest.importorskip("pty", reason="pseudo-terminals are Unix's")

HERE = pathlib.Path(__file__).parent

# Two batches in two threads that wait at the same time, each long enough to be shown.
SCRIPT = """
import threading
import wavetask as wt
from handles_cases import slab, until_held

ready = threading.Barrier(2)

def wait(number):
    scan = wt.submit([slab(500 + 10 * number + n) for n in range(3)], name=f"batch {number}", cache=False, hold=True)
    until_held(scan)
    ready.wait(60)
    threading.Timer(1.5 + 0.3 * number, scan.start).start()
    scan.results(timeout=120)

threads = [threading.Thread(target=wait, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("over")
"""


def typed(script: str, **settings: str) -> str:
    """What a script writes to a terminal."""
    near, far = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    environment.pop("WAVETASK_PROGRESS", None)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment.update(settings, PYTHONPATH=path, PYTHONUNBUFFERED="1", COLUMNS="100", LANG="C.UTF-8")
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=far, stdout=far, stderr=far, env=environment, close_fds=True
    )
    os.close(far)
    written = bytearray()
    try:
        # The end of the terminal's other side is an error on Linux and nothing elsewhere.
        while piece := os.read(near, 1 << 16):
            written += piece
    except OSError:
        pass
    finally:
        os.close(near)
    assert child.wait(60) == 0, written.decode(errors="replace")
    return written.decode()


@pytest.fixture
def screen():
    """What is on the screen at the end."""
    from test_progress import Terminal

    def shown(text: str) -> list[str]:
        terminal = Terminal()
        terminal.write(text)
        return terminal.screen()

    return shown


def ends(lines: list[str]) -> list[str]:
    """The lines without the times in them."""
    return sorted(re.sub(r" \(\d+:\d\d\)", "", line) for line in lines)


WHOLE = ["batch 0: 3 of 3 done", "batch 1: 3 of 3 done", "over"]


def test_two_batches_in_two_threads_share_a_terminal(server, screen):
    written = typed(SCRIPT, TERM="xterm")
    assert ends(screen(written)) == WHOLE
    # Both were shown at once, redrawn in place, and no line was ever torn.
    pieces = [piece for piece in re.split(r"\r\x1b\[J|\r\x1b\[\d+A\x1b\[J|\r|\n", written) if piece]
    plain = [re.sub(r"\x1b\[\d*m", "", piece) for piece in pieces]
    live = re.compile(r"batch [01]  \d of 3 done( · [\w \d·]+)? [░█]+ \d+:\d\d")
    final = re.compile(r"batch [01]: 3 of 3 done \(\d+:\d\d\)|over")
    assert all(live.fullmatch(piece) or final.fullmatch(piece) for piece in plain), plain
    assert any(
        first.startswith("batch 0  ") and second.startswith("batch 1  ")
        for first, second in itertools.pairwise(plain)
    )


@pytest.mark.parametrize("settings", [{"TERM": "dumb"}, {}])
def test_a_dumb_terminal_gets_whole_lines(server, screen, settings):
    written = typed(SCRIPT, **settings)
    assert "\x1b" not in written
    lines = written.replace("\r\n", "\n").splitlines()
    assert all(re.fullmatch(r"batch [01]: \d of 3 done.* \(\d+:\d\d\)|over", line) for line in lines), lines


def test_no_color_leaves_only_movements(server, screen):
    failing = SCRIPT.replace("name=f", "progress=None, name=f").replace(
        "[slab(500", '["there is no such file.json"] + [slab(500'
    )
    failing = failing.replace("until_held(scan)", "").replace(
        "scan.results(timeout=120)", "scan.results(True, timeout=120)"
    )
    coloured, plain = typed(failing, TERM="xterm"), typed(failing, TERM="xterm", NO_COLOR="1")
    assert re.search(r"\x1b\[\d+m", coloured) and not re.search(r"\x1b\[\d*m", plain)
    assert "1 failed" in plain


def test_nothing_is_shown_where_nothing_is_wanted(server):
    assert typed(SCRIPT, TERM="xterm", WAVETASK_PROGRESS="off").split() == ["over"]
