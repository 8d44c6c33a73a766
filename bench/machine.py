"""What every table states: the machine, and how the figures were taken."""

from __future__ import annotations

import os
import pathlib
import platform
import statistics


def machine() -> str:
    """Processor, cores, memory and load, in one line."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, load {load:.1f}"


def processor_seconds(pid: int) -> float:
    """User and system time of one process so far, its waited-for children excluded."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    """Peak resident memory of one process in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def current_memory() -> int:
    """Resident memory of this process now, in bytes."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return float("nan"), float("nan")
    return 1e3 * statistics.median(ordered), 1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def engine_variables(server, data: pathlib.Path) -> dict[str, str]:
    """The environment of a process that uses this server, by the unmodified client and by the engine."""
    variables = server.variables()
    ours = {
        "WAVETASK_URL": server.url,
        "WAVETASK_KEY": variables["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(data),
    }
    return {**os.environ, **variables, **ours}


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


BARS: list[tuple[str, str, str, bool]] = []
"""What was asked for and measured, in the order of measuring: the case, the figure, the bar, whether it is met."""


def hold(case: str, figure: str, bar: str, met: bool) -> None:
    """Notes a bar and how it went."""
    BARS.append((case, figure, bar, met))


def bars() -> str:
    """The table of all bars noted so far."""
    rows = [[case, figure, bar, "met" if met else "**NOT met**"] for case, figure, bar, met in BARS]
    return table("Bars", ["case", "measured", "bar", ""], rows)
