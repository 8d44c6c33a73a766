"""Guides with known modes: how the errors of indices fall with the step, with cells averaged (along walls that conduct
perfectly: conforming to them) and without.

Every guide is put at several places of a uniform grid, and the largest error counts. What the client would upload is
solved by `wavetask solve`.
"""

from __future__ import annotations

import concurrent.futures
import math
import pathlib
import tempfile

from exact import OFFSETS, SILICON_STRIP, Guide, conductor_guides, guides, keep_worst, silicon_strip
from machine import hold, table
from mode import read_values, solve_file

STEPS = (10, 14, 20, 28, 40)
EXACT = 1e-8
"""Smaller errors are the eigensolver's, not the grid's."""
Errors = dict[tuple[bool, float], dict[str, float]]
"""By averaging and steps per wavelength, the error of each mode."""


def indices(solver, folder: pathlib.Path) -> list[float]:
    """The effective indices of a mode solver."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place, result = pathlib.Path(name) / "solver.hdf5", pathlib.Path(name) / "result.hdf5"
        solver.to_file(str(place))
        solve_file(place, result, threads=1)
        return read_values(result, "n_complex")


def measure(guide: Guide, folder: pathlib.Path, pool: concurrent.futures.Executor) -> Errors:
    """The largest errors over the places on the grid."""
    cases = [(averaged, steps, offset) for averaged in (False, True) for steps in STEPS for offset in OFFSETS]
    solvers = [guide.solver(steps, offset, averaged) for averaged, steps, offset in cases]
    found: Errors = {}
    for (averaged, steps, _), ours in zip(
        cases, pool.map(lambda one: indices(one, folder), solvers), strict=True
    ):
        keep_worst(found.setdefault((averaged, steps), {}), guide.errors(ours))
    return found


def order(errors: Errors, mode: str) -> float:
    """The power of the step with which the errors of averaged cells fall, fitted over all steps."""
    points = [(math.log(1 / steps), math.log(errors[True, steps][mode])) for steps in STEPS]
    middle = [sum(point[axis] for point in points) / len(points) for axis in (0, 1)]
    across = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    return across / sum((x - middle[0]) ** 2 for x, _ in points)


def plot(all_errors: dict[str, Errors], place: pathlib.Path) -> None:
    """Errors over the step in double logarithmic axes, beside the slope of the second order."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 4
    rows = -(-len(all_errors) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows), squeeze=False)
    for axis, (name, errors) in zip(axes.flat, all_errors.items(), strict=False):
        steps = [1 / count for count in STEPS]
        shown = [mode for mode, error in errors[True, STEPS[0]].items() if error > EXACT]
        for number, mode in enumerate(shown):
            for averaged, style in ((False, ":o"), (True, "-s")):
                label = f"{mode} {'averaged' if averaged else 'staircased'}"
                values = [errors[averaged, count][mode] for count in STEPS]
                axis.loglog(steps, values, style, color=f"C{number}", markersize=3, label=label)
        start = max(errors[True, STEPS[0]].values())
        axis.loglog(steps, [start * (step / steps[0]) ** 2 for step in steps], "k--", label="second order")
        axis.set(title=name, xlabel="step / wavelength in the core", ylabel="error of the effective index")
        axis.legend(fontsize=5)
    for axis in axes.flat[len(all_errors) :]:
        axis.remove()
    figure.tight_layout()
    figure.savefig(place, dpi=120)
    plt.close(figure)


def compare(folder: pathlib.Path, picture: pathlib.Path) -> str:
    """The tables; the plot goes to `picture`."""
    rows, all_errors = [], {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for guide in guides() + conductor_guides():
            errors = all_errors[guide.name] = measure(guide, folder, pool)
            for mode, averaged in errors[True, 20].items():
                staircased = errors[False, 20][mode]
                what = f"{guide.name}, {mode}"
                if guide.modes[mode] == guide.largest:
                    # A transverse wave in one medium has its index on every grid.
                    hold(
                        f"{what}: error at 20 steps",
                        f"{averaged:.0e}",
                        f"below {EXACT:.0e}",
                        averaged < EXACT,
                    )
                    continue
                power = order(errors, mode)
                rows.append([
                    guide.name, mode, f"{guide.modes[mode]:.6f}", f"{staircased:.1e}", f"{averaged:.1e}",
                    f"{staircased / averaged:.0f}", f"{errors[True, 40][mode]:.1e}", f"{power:.1f}",
                ])  # fmt: skip
                hold(f"{what}: error at 20 steps, averaged to staircased", f"{averaged / staircased:.2f}", "at most 0.5",
                     averaged <= 0.5 * staircased)  # fmt: skip
        for steps, bar in ((20, 2e-3), (40, 5e-4)):
            found = indices(silicon_strip(steps), folder)
            for (mode, exact), ours in zip(SILICON_STRIP.items(), found, strict=True):
                error = abs(ours - exact)
                what = f"silicon strip, {mode}, {steps} steps per wavelength: error of the index"
                hold(what, f"{error:.1e}", f"at most {bar:.0e}", error <= bar)
    plot(all_errors, picture)
    head = ["guide", "mode", "effective index", "error staircased, 20 steps", "averaged, 20 steps", "times better",
            "averaged, 40 steps", "order averaged"]  # fmt: skip
    method = (
        f"Uniform grids of so many steps per wavelength in the densest medium; the largest error of {len(OFFSETS)} places on "
        f"the grid. The order is fitted over {', '.join(map(str, STEPS))} steps. The plot is {picture.name}.\n"
    )
    return table("Errors of effective indices", head, rows) + "\n" + method
