"""The example of the thermo-optic phase shifter: its phase, and that both ways agree and move as little as they say."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from harness import Server
from wire import Wire

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples"))

import thermo_optic_phase_shifter as example

CONVERGED = 3.817
"""Radians at 7.4 mA, by two independent pairs of solvers for heat and modes."""


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """Indices by current, and bytes over the wire, of each way on a server of its own."""
    import wavetask

    found = {}
    for way in ("server", "loop"):
        folder = tmp_path_factory.mktemp(way)
        server = Server(folder / "server").start()
        wire = Wire(server.port)
        try:
            wavetask.connect(wire.url, server.variables()["SIMCLOUD_APIKEY"], data=folder / "client")
            if way == "server":
                indices = example.with_references()
            else:
                indices = example.with_a_loop("wavetask.web", folder)
            found[way] = indices, wire.sent + wire.received
        finally:
            wire.close()
            server.stop()
    return found


def test_the_phase_is_the_converged_one(ways):
    indices, _ = ways["server"]
    phases = example.phases(indices)
    assert phases[-1] == pytest.approx(CONVERGED, rel=0.01)
    # Power goes with the square of the current, the rise with the power, the index with the rise.
    ratios = phases[1:] / example.CURRENTS[1:] ** 2
    np.testing.assert_allclose(ratios, ratios[-1], rtol=5e-3)


def test_both_ways_agree(ways):
    (one, _), (other, _) = ways["server"], ways["loop"]
    assert list(one) == list(other)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=0, atol=1e-9)


def test_little_passes_through_the_client(ways):
    assert ways["server"][1] < 300e3
    assert ways["loop"][1] < 5e6
