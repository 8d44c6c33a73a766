"""Coming back after a crash: the script is killed on its way, and then simply run again.

    python examples/coming_back.py

The parent starts itself as a child, kills it with SIGKILL after a moment (as a crash, an exhausted notebook or
a power cut would), and runs the same lines again: what was sent is not sent again, what was solved is not solved
again, and every simulation is one task on the server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import wavetask as wt
from thermo_optic_heat_sweep import core_temperature, heat_simulation

NAME = f"coming back {os.environ.get('COMING_BACK', os.getpid())}"


def scan():
    """The same lines each time: the same simulations under the same name are the same tasks."""
    currents = np.linspace(1e-3, 7e-3, 13)
    return wt.submit(
        {f"I={1e3 * current:.1f}mA": heat_simulation(current) for current in currents}, name=NAME
    )


def main() -> None:
    if "COMING_BACK" in os.environ:
        scan().wait()
        return
    child = subprocess.Popen([sys.executable, __file__], env={**os.environ, "COMING_BACK": str(os.getpid())})
    time.sleep(4)
    child.send_signal(signal.SIGKILL)
    child.wait()
    print("killed; once more:")
    batch = scan()
    for key, data in batch.results().items():
        print(f"{key}: {core_temperature(data):.3f} K at the core")
    table = wt.open(NAME).table()
    assert len(table) == 13 and set(table["status"]) == {"done"}
    print(f"{len(table)} tasks, each once: {table['id'].is_unique}")


if __name__ == "__main__":
    main()
