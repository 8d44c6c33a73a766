"""What is shown while somebody waits, on every kind of output."""

import io
import re
import threading
import time

import pytest
from wavetask import _render
from wavetask._progress import Renderer
from wavetask._render import Snapshot


class Terminal(io.StringIO):
    """A terminal that keeps what its screen shows."""

    encoding = "utf-8"

    def __init__(self, terminal=True):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def screen(self):
        """The lines, after everything that was written: a small interpreter of the codes that the renderer uses."""
        lines, row, column = [""], 0, 0
        for match in re.finditer(r"\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)", self.getvalue()):
            count, code, home, feed, text = match.groups()
            if code == "A":
                row = max(0, row - int(count or 1))
            elif code == "J":
                lines = [*lines[:row], lines[row][:column]]
            elif code == "m":
                pass
            elif code:
                raise AssertionError(f"an unknown code: {match[0]!r}")
            elif home:
                column = 0
            elif feed:
                row, column = row + 1, 0
                while len(lines) <= row:
                    lines.append("")
            else:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return [line for line in lines if line]


class Work:
    """Something to watch."""

    _progress_wish = None

    def __init__(self, name="scan", total=4, complete=True):
        self.name, self.total, self.complete = name, total, complete
        self.done = 0
        self.failed = 0

    def _snapshot(self):
        counts = {"done": self.done, "failed": self.failed, "running": self.total - self.done - self.failed}
        counts = {station: count for station, count in counts.items() if count}
        return Snapshot(self.name, counts, self.complete, 100 * self.done / self.total, 61)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def renderer(terminal, clock=None, **options):
    options.setdefault("environment", {"TERM": "xterm"})
    return Renderer(terminal, clock=clock or Clock(), size=lambda: 80, ticking=False, **options)


def test_the_live_view_redraws_in_place_and_leaves_one_line():
    terminal, clock, work = Terminal(), Clock(), Work()
    live = renderer(terminal, clock)
    with live.watch(work):
        live.tick()
        assert terminal.getvalue() == "", "nothing is shown for a short wait"
        clock.now = 1
        live.tick()
        assert terminal.screen() == ["scan  0 of 4 done · 4 running ░░░░░░░░░░ 1:01"]
        work.done = 2
        live.tick()
        assert terminal.screen() == ["scan  2 of 4 done · 2 running █████░░░░░ 1:01"]
        work.done = 4
    assert terminal.screen() == ["scan: 4 of 4 done (1:01)"]


def test_what_the_caller_prints_between_two_waits_stays_whole():
    terminal, clock, work = Terminal(), Clock(), Work(total=3)
    live = renderer(terminal, clock)
    for step in range(3):
        with live.watch(work):
            clock.now += 1
            live.tick()
            work.done += 1
        terminal.write(f"result {step}\n")
    assert terminal.screen() == ["result 0", "result 1", "scan: 3 of 3 done (1:01)", "result 2"]


@pytest.mark.parametrize("shows", ["live", "plain"])
def test_what_ends_while_nobody_waits_leaves_its_line_too(shows):
    terminal, clock, work = Terminal(shows == "live"), Clock(), Work(total=3)
    live = renderer(terminal, clock)
    with live.watch(work):
        clock.now = 4
        live.tick()
        work.done = 1
    live.settle(work)
    assert not any("3 of 3" in line for line in terminal.screen())
    work.done = 3
    live.settle(work)
    live.settle(work)
    assert terminal.screen().count("scan: 3 of 3 done (1:01)") == 1


def test_several_batches_have_a_line_each_and_the_screen_does_not_overflow():
    terminal, clock = Terminal(), Clock()
    live = renderer(terminal, clock)
    works = [Work(f"batch {number}") for number in range(10)]
    import contextlib

    with contextlib.ExitStack() as stack:
        for work in works:
            stack.enter_context(live.watch(work))
        clock.now = 1
        live.tick()
        live.tick()
        shown = terminal.screen()
        assert len(shown) == 9 and shown[-1] == "and 2 more"
        assert shown[0].startswith("batch 0  0 of 4")
        live.say("a line of its own")
        assert terminal.screen()[0] == "a line of its own"
        for work in works:
            work.done = 4
    assert len(terminal.screen()) == 11


def test_threads_do_not_garble_each_other():
    terminal = Terminal()
    live = Renderer(terminal, environment={"TERM": "xterm"}, size=lambda: 80)

    def run(number):
        work = Work(f"batch {number}", total=6)
        while work.done < 6:
            with live.watch(work):
                time.sleep(0.09)
                work.done += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(terminal.screen()) == [f"batch {number}: 6 of 6 done (1:01)" for number in range(4)]


def test_plain_lines_come_seldom_and_only_when_something_changed():
    output, clock, work = Terminal(terminal=False), Clock(), Work()
    plain = renderer(output, clock)
    with plain.watch(work):
        for second in range(1, 31):
            clock.now = second
            if second == 20:
                work.done = 1
            plain.tick()
        work.done = 4
    lines = output.getvalue().splitlines()
    assert lines == [
        "scan: 0 of 4 done, 4 running (1:01)",
        "scan: 1 of 4 done, 3 running (1:01)",
        "scan: 4 of 4 done (1:01)",
    ]


def test_a_short_wait_leaves_no_trace_in_a_log():
    output, clock, work = Terminal(terminal=False), Clock(), Work()
    plain = renderer(output, clock)
    with plain.watch(work):
        clock.now = 0.5
        plain.tick()
        work.done = 4
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("environment", "terminal", "wish", "mode"),
    [
        ({"TERM": "xterm"}, True, None, "live"),
        ({"TERM": "xterm"}, False, None, "plain"),
        ({"TERM": "dumb"}, True, None, "plain"),
        ({}, True, None, "plain"),
        ({"TERM": "xterm", "WAVETASK_PROGRESS": "off"}, True, None, "off"),
        ({"TERM": "xterm", "WAVETASK_PROGRESS": "Plain"}, True, None, "plain"),
        ({"TERM": "xterm", "WAVETASK_PROGRESS": "live"}, False, None, "live"),
        ({"TERM": "xterm", "WAVETASK_PROGRESS": "nonsense"}, True, None, "live"),
        ({"TERM": "xterm"}, True, False, "off"),
        ({"TERM": "xterm"}, True, "plain", "plain"),
    ],
)
def test_the_mode_follows_output_environment_and_wish(environment, terminal, wish, mode):
    assert renderer(Terminal(terminal), environment=environment).mode(wish) == mode


def test_nothing_is_written_when_nothing_is_wanted():
    terminal, clock, work = Terminal(), Clock(), Work()
    off = renderer(terminal, clock)
    with off.watch(work, False):
        clock.now = 100
        off.tick()
    assert terminal.getvalue() == ""


def test_colour_repeats_the_words_and_goes_with_no_color():
    snapshot = Snapshot("scan", {"done": 1, "failed": 2}, True, 30, 5)
    coloured = _render.line(snapshot, 80, colour=True)
    assert "\x1b[31m2 failed\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == _render.line(snapshot, 80)
    for environment, expected in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        terminal, clock, work = Terminal(), Clock(), Work()
        work.failed = 1
        live = renderer(terminal, clock, environment=environment)
        with live.watch(work):
            clock.now = 1
            live.tick()
        assert ("\x1b[31m" in terminal.getvalue()) is expected


def test_an_output_without_unicode_gets_ascii():
    terminal, clock, work = Terminal(), Clock(), Work()
    terminal.encoding = "ascii"
    live = renderer(terminal, clock)
    with live.watch(work):
        clock.now = 1
        live.tick()
    assert terminal.getvalue().isascii()


@pytest.mark.parametrize("width", [1, 5, 20, 40, 80, 200])
def test_a_line_never_wraps_nor_moves_the_cursor(width):
    for name in ("scan", "x" * 300, "漢字" * 50, "é́" * 100, "a\x1b[2Jb\r\nc"):
        line = _render.line(Snapshot(name, {"done": 10**6, "failed": 3, "running": 5}, False, 40, 1e6), width)
        assert _render.columns(line) <= width
        assert not re.search(r"[\x00-\x1f]", line)


def test_the_markup_is_escaped():
    assert "<script>" not in _render.markup(Snapshot("<script>", {"done": 1}, True, 100, 1))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (67.9, "1:07"), (3600, "1:00:00"), (-1, "0:00")])
def test_durations(seconds, text):
    assert _render.duration(seconds) == text


def test_a_closed_output_does_not_end_the_wait():
    terminal, clock, work = Terminal(), Clock(), Work()
    live = renderer(terminal, clock, mode="live")
    terminal.close()
    with live.watch(work):
        clock.now = 1
        live.tick()


def test_a_batch_that_is_let_go_of_is_forgotten():
    import gc
    import weakref

    terminal, clock, work = Terminal(), Clock(), Work()
    live = renderer(terminal, clock)
    with live.watch(work):
        clock.now = 1
        live.tick()
    reference = weakref.ref(work)
    del work
    gc.collect()
    assert reference() is None
