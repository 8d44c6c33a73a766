"""A user's script with a generator of large simulations, and a limit on memory.

    generator_child.py COUNT MEGABYTES MEMORY

Prints a line with a number for each simulation that it is asked for, and at the end how many tasks ended well and by
how many bytes its memory has grown since the first was ready.
"""

from __future__ import annotations

import json
import pathlib
import resource
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import wavetask as wt
from scenes import heated, noise, slab


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    count, megabytes, memory = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    wt.connect(memory=memory)
    # Whatever is loaded once is loaded now.
    wt.submit(slab(rate=9.87e-6), progress=False).result()
    heated(noise(megabytes, 0))
    before = peak()

    def simulations():
        for number in range(1, count + 1):
            print(number, flush=True)
            yield f"n={number}", heated(noise(megabytes, 5_000 + number))

    scan = wt.submit(simulations(), name="generated", progress=False)
    ended = sum(task.exception() is None for task in scan.as_completed())
    print(json.dumps({"ended": ended, "grown": peak() - before}), flush=True)


if __name__ == "__main__":
    main()
