"""Heat throughput: our solver against scikit-fem with SciPy and with PyAMG, on the same problem.

A cube of 1 um with a heated cube of 0.5 um inside, its surface at 300 K, linear tetrahedra. Each solve
runs in a process of its own, on all cores where the library uses them, so that peak memory is its own.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

from machine import table

ROOT = pathlib.Path(__file__).parents[1]
SIZES = (100_000, 300_000, 1_000_000)
CONDUCTIVITY, RATE, BASE = 2e-6, 1e-5, 300.0
TOLERANCE = 1e-8


def solve_with_scikit_fem(unknowns: int, method: str) -> dict:
    """The problem on a uniform mesh of about this many points; seconds by stage."""
    import numpy as np
    import skfem
    from scipy.sparse.linalg import LinearOperator, cg
    from skfem.models.poisson import laplace

    side = round(unknowns ** (1 / 3))
    side += 1 - side % 2  # a point at the centre
    started = time.perf_counter()
    line = np.linspace(-0.5, 0.5, side)
    mesh = skfem.MeshTet.init_tensor(line, line, line)
    meshed = time.perf_counter()
    basis = skfem.Basis(mesh, skfem.ElementTetP1())
    matrix = CONDUCTIVITY * laplace.assemble(basis)
    inside = basis.with_elements(lambda x: np.max(np.abs(x), axis=0) < 0.25)
    load = RATE * skfem.LinearForm(lambda v, w: v).assemble(inside)
    reduced, right_side, solution, free = skfem.condense(matrix, load, D=basis.get_dofs())
    assembled = time.perf_counter()
    iterations = 0

    def count(_):
        nonlocal iterations
        iterations += 1

    if method == "pyamg":
        import pyamg

        preconditioner = pyamg.ruge_stuben_solver(reduced.tocsr()).aspreconditioner()
    else:
        inverse = 1 / reduced.diagonal()
        preconditioner = LinearOperator(reduced.shape, matvec=lambda vector: inverse * vector)
    solution[free], failed = cg(
        reduced, right_side, rtol=TOLERANCE, M=preconditioner, callback=count, maxiter=20_000
    )
    solved = time.perf_counter()
    assert not failed
    centre = int(np.argmin(np.sum(mesh.p**2, axis=0)))
    return {
        "unknowns": int(mesh.p.shape[1]),
        "mesh": meshed - started,
        "assemble": assembled - meshed,
        "solve": solved - assembled,
        "total": solved - started,
        "iterations": iterations,
        "rise": float(solution[centre]),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def reference(unknowns: int, method: str) -> dict:
    answer = subprocess.run(
        [sys.executable, __file__, str(unknowns), method],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "bench")},
    )
    return json.loads(answer.stdout.splitlines()[-1])


def ours(unknowns: int) -> dict:
    """Our solver from the simulation's JSON to the monitor's data, in a process of its own."""
    answer = subprocess.run(
        ["cargo", "run", "--release", "--locked", "--quiet", "-p", "wavetask-heat", "--example", "heat_throughput",
         "--", "--unknowns", str(unknowns), "--json"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return json.loads(answer.stdout.splitlines()[-1])


def compare(folder: pathlib.Path) -> str:
    """The table of all sizes and solvers."""
    rows = []
    for unknowns in SIZES:
        figures = {"wavetask": ours(unknowns)}
        figures["scikit-fem + SciPy CG (diagonal)"] = reference(unknowns, "scipy")
        figures["scikit-fem + PyAMG CG"] = reference(unknowns, "pyamg")
        for name, figure in figures.items():
            rows.append([
                name, f"{figure['unknowns']:,}", f"{figure['mesh']:.2f}", f"{figure['assemble']:.2f}",
                f"{figure['solve']:.2f}", f"{figure['total']:.2f}", f"{figure['unknowns'] / figure['total']:,.0f}",
                f"{figure['peak_memory'] / 1e6:.0f}", f"{figure['iterations']}", f"{figure['rise']:.4f}",
            ])  # fmt: skip
    head = ["solver", "unknowns", "mesh (s)", "assemble (s)", "solve (s)", "total (s)", "unknowns/s", "peak MB",
            "iterations", "rise at the centre (K)"]  # fmt: skip
    method = (
        "Steady conduction in a cube, linear tetrahedra, relative residual 1e-8, cold processes. scikit-fem is given a "
        "uniform mesh for nothing; ours meshes the scene's geometry and samples its monitor, both counted.\n"
    )
    return table("Heat throughput", head, rows) + "\n" + method


if __name__ == "__main__":
    print(json.dumps(solve_with_scikit_fem(int(sys.argv[1]), sys.argv[2])))
