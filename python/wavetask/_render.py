"""The text of progress: pure functions from what is known to lines.

Meaning is in the words; colour only repeats it.
"""

from __future__ import annotations

import html
import unicodedata
from typing import NamedTuple

_ORDER = (
    "packing",
    "waiting",
    "uploading",
    "held",
    "queued",
    "running",
    "fetching",
)
"""The stations of a task on its way, as the engine names them."""

_ENDS = ("done", "failed", "cancelled", "waiting-for-data")

_COLOURS = {"done": "32", "failed": "31", "cancelled": "33", "waiting-for-data": "33"}


class Snapshot(NamedTuple):
    """How a batch, or a task by itself, is at one moment."""

    name: str
    """What its user calls it."""
    counts: dict[str, int]
    """How many tasks are at which station; stations without tasks may be missing."""
    complete: bool
    """Whether all its tasks are known; not while a generator still gives some."""
    percent: float
    """How far it is as a whole: 0 to 100."""
    seconds: float
    """Since it was submitted."""

    @property
    def total(self) -> int:
        """How many tasks are known."""
        return sum(self.counts.values())

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.complete and self.total == sum(self.counts.get(end, 0) for end in _ENDS)


def words(snapshot: Snapshot, colour: bool = False, separator: str = ", ") -> str:
    """The counts in words: ``37 of 100 done, 2 failed, 8 running``."""
    total = f"{snapshot.total}{'' if snapshot.complete else '+'}"
    parts = [_painted(f"{snapshot.counts.get('done', 0)} of {total} done", "done", colour)]
    for station in (*_ENDS[1:], *reversed(_ORDER)):
        count = snapshot.counts.get(station, 0)
        if count:
            parts.append(_painted(f"{count} {station.replace('-', ' ')}", station, colour))
    return separator.join(parts)


def _painted(text: str, station: str, colour: bool) -> str:
    code = _COLOURS.get(station)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text


def duration(seconds: float) -> str:
    """``0:07``, ``12:05``, ``3:00:00``."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def line(snapshot: Snapshot, width: int, *, colour: bool = False, unicode: bool = True) -> str:
    """One line of the live view, at most ``width`` columns wide."""
    full, empty = ("█", "░") if unicode else ("#", "-")
    filled = int(max(0.0, min(100.0, snapshot.percent)) / 10)
    name = clean(snapshot.name)
    tail = f" {full * filled}{empty * (10 - filled)} {duration(snapshot.seconds)}"
    separator = " · " if unicode else ", "
    plain = words(snapshot, separator=separator)
    room = width - columns(plain) - len(tail) - 2
    if room < 8:
        # A narrow terminal: name and counts only, cut where it ends.
        return cut(f"{name}  {plain}", width)
    return f"{cut(name, room)}  {words(snapshot, colour, separator)}{tail}"


def plain(snapshot: Snapshot) -> str:
    """One line for a log file."""
    return f"{clean(snapshot.name)}: {words(snapshot)} ({duration(snapshot.seconds)})"


def markup(snapshot: Snapshot) -> str:
    """The summary in a notebook: needs no scripts and no widgets."""
    percent = max(0.0, min(100.0, snapshot.percent))
    return (
        '<div style="font-family:monospace">'
        f"<b>{html.escape(clean(snapshot.name))}</b> "
        f'<progress max="100" value="{percent:.0f}" style="vertical-align:middle"></progress> '
        f"{html.escape(words(snapshot, separator=' · '))} "
        f"<small>{duration(snapshot.seconds)}</small></div>"
    )


def clean(text: str) -> str:
    """Without what would move a cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def columns(text: str) -> int:
    """How many columns a terminal needs for it."""
    return sum(_column(character) for character in text)


def cut(text: str, width: int) -> str:
    """At most so many columns of it."""
    if columns(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _column(character)
        if used > max(0, width - 1):
            break
        kept.append(character)
    return "".join(kept) + ("~" if width > 0 else "")


def _column(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
