"""A user's script: a scan under a name, its results checked. Run by the tests, killed by some of them.

    scan_child.py NAME COUNT MEGABYTES SEED

Prints a line when it has submitted, and at the end the rise at the centre of each member as JSON.
"""

from __future__ import annotations

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import wavetask as wt
from scenes import centre_rise, with_arrays


def main() -> None:
    name, count, megabytes, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    simulations = with_arrays(count, megabytes, seed)
    scan = wt.submit(simulations, name=name, progress=False)
    print("submitted", flush=True)
    print(json.dumps({key: centre_rise(data) for key, data in scan.results().items()}), flush=True)


if __name__ == "__main__":
    main()
