"""Planes of a large three-dimensional field: what moves and what is read is about the plane, not the field."""

from __future__ import annotations

import pathlib

import numpy as np
import scenes
import tidy3d as td

PATH = "data/0/temperature/__xarray_dataarray_variable__"


class Moved:
    """Bytes from the server to the client, and bytes that the server has read from files, since the last look."""

    def __init__(self, server, wire):
        self.server, self.wire = server, wire
        self.before = self._now()

    def _now(self) -> tuple[int, int]:
        lines = pathlib.Path(f"/proc/{self.server.process.pid}/io").read_text().splitlines()
        return self.wire.received, int(dict(line.split(": ") for line in lines)["rchar"])

    def since(self) -> tuple[int, int]:
        before, self.before = self.before, self._now()
        return self.before[0] - before[0], self.before[1] - before[1]


def simulation():
    """A cube heated by a grain in its middle: few cells, and a fine regular grid all over it."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=scenes.CONDUCTIVITY, capacity=1.0, density=1.0),
        name="solid",
    )
    return td.HeatChargeSimulation(
        size=(1.0, 1.0, 1.0),
        medium=solid,
        structures=[td.Structure(geometry=td.Box(size=(0.02, 0.02, 0.02)), medium=solid, name="grain")],
        sources=[td.HeatSource(structures=["grain"], rate=0.2)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.SimulationBoundary(), condition=td.TemperatureBC(temperature=scenes.BASE)
            )
        ],
        grid_spec=td.DistanceUnstructuredGrid(
            dl_interface=0.0072, dl_bulk=0.15, distance_interface=0.0, distance_bulk=0.3
        ),
        monitors=[td.TemperatureMonitor(size=(td.inf, td.inf, td.inf), name="grid", unstructured=False)],
    )


def test_a_plane_moves_and_reads_about_its_own_bytes(over_the_wire, server, wire, tmp_path):
    task = over_the_wire.submit(simulation(), name="planes", lazy=True, cache=False, progress=False)
    assert task.wait(timeout=300) and task.status == "done", task.error
    document = task.document()
    shape = document.shape(PATH)
    size = 8 * int(np.prod(shape))
    assert size > 16 << 20, "too small to be cut into bricks"

    moved = Moved(server, wire)
    field = task["grid"].temperature
    places = [extent // 2 for extent in shape]
    named = {dim: field.isel({dim: place}) for dim, place in zip("xyz", places, strict=True)}
    assert field.shape == tuple(shape) and field.nbytes == size
    assert named["z"].shape == (shape[0], shape[1]) and "temperature" in repr(named["z"])
    received, read = moved.since()
    assert received < 40_000 and read < size / 20, "names and labels have fetched values"

    found = {dim: plane.values for dim, plane in named.items()}
    received, read = moved.since()
    planes = sum(plane.nbytes for plane in found.values())
    assert planes <= received < 1.2 * planes
    assert planes <= read < 0.5 * size, "three layers of bricks are read, not the field"

    # What is computed of a plane reads that plane, too, and what is computed at a place what lies beside it.
    middle = places[2]
    hottest = float((named["z"] - scenes.BASE).max())
    received, read = moved.since()
    assert received < 50_000 and read < 0.25 * size, (received, read, size)
    between = float(field.z.values[middle : middle + 2].mean())
    line = (field + 1).interp(z=between).isel(y=places[1]).values
    received, read = moved.since()
    assert received < 50_000 + 8 * shape[0] and read < 0.25 * size, (received, read, size)

    # A few values, by label and by place.
    near = field.sel(x=0.1, y=0.2, method="nearest").values
    few = document.array(PATH, [(3, 5), (7, 8), (0, shape[2])])
    received, read = moved.since()
    assert received < 3 * 8 * shape[2] + 300_000 and few.shape == (2, 1, shape[2])

    # What comes whole is the same, and so is the file.
    whole = document.array(PATH)
    received, _ = moved.since()
    assert size < 1.02 * received, "the whole comes in blocks, of which next to none were here"
    assert np.array_equal(few, whole[3:5, 7:8])
    for axis, dim in enumerate("xyz"):
        assert np.array_equal(found[dim], whole.take(places[axis], axis))
    assert hottest == whole[:, :, middle].max() - scenes.BASE
    np.testing.assert_allclose(line, 1 + whole[:, places[1], middle : middle + 2].mean(axis=1), rtol=1e-12)
    assert whole.max() > scenes.BASE + 1
    data = task.result()["grid"].temperature
    assert np.array_equal(data.values, whole) and np.array_equal(
        near, data.sel(x=0.1, y=0.2, method="nearest").values
    )
    task.save(tmp_path / "one.hdf5")
    saved = td.HeatChargeSimulationData.from_file(str(tmp_path / "one.hdf5"))
    assert np.array_equal(saved["grid"].temperature.values, whole)
