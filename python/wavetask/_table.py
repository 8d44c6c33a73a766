"""How a batch shows as a table: rows for pandas and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavetask._task import Task

_COLUMNS = frozenset(
    ("key", "status", "percent", "seconds", "created", "started", "ended", "attempts", "error", "id")
)
_SHOWN_ROWS = 20


def rows_of(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """A row for each task, of what is known of it here."""
    rows = []
    for task in tasks:
        info = task.info
        rows.append(
            {
                "key": info.key,
                **{
                    name if name not in _COLUMNS else f"parameter {name}": value
                    for name, value in info.parameters.items()
                },
                "status": info.status,
                "percent": 100.0 if info.status == "done" else info.percent,
                "seconds": info.seconds,
                "created": info.created,
                "started": info.started,
                "ended": info.ended,
                "attempts": info.attempts,
                "error": None if info.error is None else info.error.message,
                "id": info.id,
            }
        )
    return rows


def markup(rows: list[dict[str, Any]]) -> str:
    """The first of these rows as HTML; columns in which nothing is are left out."""
    shown = rows[:_SHOWN_ROWS]
    names = (
        [name for name in shown[0] if any(row.get(name) not in (None, "") for row in shown)] if shown else []
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in shown
    )
    more = f"<p>and {len(rows) - len(shown)} more</p>" if len(rows) > len(shown) else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M:%S"))
    return str(value)
