"""A user's script: a value of a field, computed by the server. Run by the tests without any configuration.

Prints as JSON the value, the same computed here, and the kinds of the tasks that computed it.
"""

from __future__ import annotations

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import wavetask as wt
from scenes import BASE, slab


def main() -> None:
    task = wt.submit(slab(), progress=False)
    there = float((task["centre"].temperature - BASE).max().values)
    here = float(task.result()["centre"].temperature.values.max()) - BASE
    kinds = [row["kind"] for row in wt.connect().tasks(tag="wavetask-references")]
    print(json.dumps({"there": there, "here": here, "evaluations": kinds}), flush=True)


if __name__ == "__main__":
    main()
