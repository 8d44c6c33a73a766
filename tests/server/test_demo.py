"""The demo's scene through the unmodified client, against two independent converged solutions."""

from __future__ import annotations

import pathlib
import sys

import pytest
import tidy3d.web as web

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples"))

import thermo_optic_heat_sweep as demo

CORE_RISE, MAXIMUM = 14.6546, 339.266  # kelvin at 7.4 mA


@pytest.mark.parametrize(("refine", "tolerance"), [(1.0, 5e-3), (2.0, 1e-3)])
def test_core_rise(tmp_path, refine, tolerance):
    data = web.run(demo.heat_simulation(7.4e-3, refine), path=str(tmp_path / "d.hdf5"), verbose=False)
    assert demo.core_temperature(data) - demo.AMBIENT == pytest.approx(CORE_RISE, rel=tolerance)
    values = data["temperature"].temperature.values.values
    assert float(values.max()) == pytest.approx(MAXIMUM, abs=0.005 * (MAXIMUM - demo.AMBIENT))
    assert float(values.min()) == pytest.approx(demo.AMBIENT, abs=1e-6)


def test_rise_goes_as_the_square_of_the_current(tmp_path):
    currents = [1e-3, 3e-3, 7.4e-3]
    sims = {str(current): demo.heat_simulation(current) for current in currents}
    results = web.Batch(simulations=sims, verbose=False).run(path_dir=str(tmp_path))
    rises = [demo.core_temperature(results[str(current)]) - demo.AMBIENT for current in currents]
    for current, rise in zip(currents, rises, strict=True):
        assert rise / current**2 == pytest.approx(rises[-1] / currents[-1] ** 2, rel=1e-3)


def test_two_dimensional_domain_agrees(tmp_path):
    data = web.run(
        demo.heat_simulation(7.4e-3, 2.0, thickness=0.0), path=str(tmp_path / "d.hdf5"), verbose=False
    )
    assert demo.core_temperature(data) - demo.AMBIENT == pytest.approx(CORE_RISE, rel=1e-3)
