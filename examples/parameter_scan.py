"""A parameter scan: submit everything, use each result as it comes, come back to the table any time.

    python examples/parameter_scan.py

Needs the `wavetask` and `tidy3d` packages and nothing else: without a configured server, one of your own is
started on your data folder and stops by itself when it has nothing to do. Run it a second time: nothing is
uploaded or solved again.
"""

from __future__ import annotations

import numpy as np
import wavetask as wt
from thermo_optic_heat_sweep import AMBIENT, core_temperature, heat_simulation

CURRENTS = np.linspace(0.5e-3, 7.5e-3, 8)  # A


def main() -> None:
    simulations = {f"I={1e3 * current:.1f}mA": heat_simulation(current) for current in CURRENTS}
    parameters = {
        key: {"current": float(current)} for key, current in zip(simulations, CURRENTS, strict=True)
    }
    # Returns at once: packing, sending, solving and fetching go on while this script does.
    scan = wt.submit(simulations, name="heater scan", tags=["example"], parameters=parameters)
    for task in scan.as_completed():
        rise = core_temperature(task.result()) - AMBIENT
        print(f"{task.name:>10}: the core is {rise:7.3f} K warmer")

    # Tomorrow, in another process: the same by name.
    print(wt.open("heater scan").table()[["status", "current"]].to_string())


if __name__ == "__main__":
    main()
