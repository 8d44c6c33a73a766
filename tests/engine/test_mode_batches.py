"""Modes through the engine."""

from __future__ import annotations

import pytest
import tidy3d as td
from guides import FREQUENCY, assert_same_modes, batch_of, mode_simulation, mode_solver, of_lossy_metal


def test_both_kinds_equal_the_local_solver(connected):
    spec = td.ModeSpec(num_modes=2, group_index_step=True)
    batch = connected.submit(
        {"solver": mode_solver(spec=spec), "simulation": mode_simulation()}, progress=False
    )
    assert_same_modes(batch["solver"].result(), mode_solver(spec=spec).solve())
    assert_same_modes(batch["simulation"].result().modes, mode_simulation().run_local().modes)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_batch_of_fifty(connected, lazy):
    solvers = batch_of(50)
    results = connected.submit(solvers, progress=False, lazy=lazy).results()
    indices = [float(result.n_eff.values[0, 0]) for result in results.values()]
    assert len(indices) == 50 and indices == sorted(indices)
    for name in ("strip 0", "strip 49"):
        assert_same_modes(results[name], solvers[name].copy().solve())


def test_what_cannot_be_run_says_so(connected):
    task = connected.submit(of_lossy_metal(), progress=False)
    with pytest.raises(connected.errors.WavetaskError, match="SurfaceImpedance"):
        task.result()


def test_frequencies_are_hertz(connected):
    result = connected.submit(mode_solver(), progress=False).result()
    assert result.n_complex.f.values == pytest.approx([FREQUENCY])
