"""What one task has becomes a part of the next one's simulation, at the server: modes as sources, arrays of simulations."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scenes
import tidy3d as td
from guides import FREQUENCY, NEW_CLIENT, mode_solver, simulation
from harness import wait_until
from wire import Wire

CHILD = pathlib.Path(__file__).with_name("reference_child.py")
PULSE = td.GaussianPulse(freq0=FREQUENCY, fwidth=FREQUENCY / 20)
FIELDS = ("Ex", "Ey", "Ez", "Hx", "Hy", "Hz")


@pytest.fixture
def wired(server, tmp_path):
    """`wavetask`, each time as a new process with an empty folder would have it, and the wire that it is connected by."""
    import wavetask

    wires = []

    def make() -> Wire:
        wires.append(Wire(server.port))
        folder = tmp_path / f"client-{len(wires)}"
        wavetask.connect(wires[-1].url, server.variables()["SIMCLOUD_APIKEY"], data=folder)
        return wavetask, wires[-1]

    yield make
    for wire in wires:
        wire.close()


def standing_source():
    """A source whose fields are yet to come: a value for each says that it has that field."""
    one = td.ScalarFieldDataArray(
        np.ones((2, 1, 2, 1), complex), coords={"x": [-1, 1], "y": [0.0], "z": [-1, 1], "f": [FREQUENCY]}
    )
    dataset = td.FieldDataset(**dict.fromkeys(FIELDS, one))
    return td.CustomFieldSource(size=(2.0, 0, 1.6), source_time=PULSE, field_dataset=dataset)


def with_source(source):
    """The modes of a strip in whose simulation a source is: what is fed is what a time-domain simulation would have."""
    return mode_solver(modes=1, scene=simulation(sources=[source], run_time=1e-12))


def test_a_mode_is_the_source_of_the_next_simulation(wired):
    wt, wire = wired()
    modes = wt.submit(
        mode_solver(modes=2, scene=simulation(step=0.02)), name="modes", lazy=True, progress=False
    )
    first = {name: modes.data.fields[name].sel(mode_index=0) for name in FIELDS}
    template = wt.replace(with_source(standing_source()), "simulation.sources[0].field_dataset", first)
    assert list(template.slots) == [f"simulation/sources/0/field_dataset/{name}" for name in FIELDS]
    fed = wt.submit(template, name="fed", lazy=True, progress=False)
    assert fed.wait(300) and fed.exception() is None
    moved = wire.sent + wire.received

    solved = modes.result()
    arrays = {name: solved.field_components[name].sel(mode_index=0, drop=True) for name in FIELDS}
    total = sum(array.nbytes for array in arrays.values())
    assert total > 500_000 and moved < total / 5, f"{moved} bytes for {total} of the fields"
    source = standing_source().updated_copy(
        field_dataset=td.FieldDataset(
            **{name: td.ScalarFieldDataArray(each) for name, each in arrays.items()}
        )
    )
    expected = with_source(source)
    made = fed.simulation
    assert isinstance(made, wt.SimulationReference)
    dataset = made.simulation.sources[0].field_dataset
    for name in FIELDS:
        assert dataset.Ex.dims == ("x", "y", "z", "f") and getattr(dataset, name).shape == arrays[name].shape
    whole = made.load()
    assert type(whole) is type(expected)
    for name in FIELDS:
        ours = getattr(whole.simulation.sources[0].field_dataset, name)
        theirs = getattr(expected.simulation.sources[0].field_dataset, name)
        assert type(ours) is type(theirs) and ours.dims == theirs.dims
        np.testing.assert_array_equal(ours.values, theirs.values)
        for dim in ours.dims:
            np.testing.assert_array_equal(ours.coords[dim].values, theirs.coords[dim].values)
    assert whole == expected
    plain = wt.submit(mode_solver(modes=1), progress=False).result()
    np.testing.assert_array_equal(fed.result().n_complex.values, plain.n_complex.values)


def graded(seed=1, scale=1.0, count=120):
    """A scene with 14 MB of noise in it."""
    noise = np.random.default_rng(seed).random((count, count, count))
    grid = {name: np.linspace(-1.2, 1.2, count) for name in "xyz"}
    medium = td.CustomMedium(permittivity=td.SpatialDataArray(2 + 0.1 * scale * noise, coords=grid))
    core = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=medium, name="core")
    return simulation(structures=[core], symmetry=(1, 0, 0))


GRID = {"x": np.linspace(-0.5, 0.5, 6), "y": [0.0], "z": np.linspace(-0.6, 0.6, 9)}


def media():
    """Perturbed media of both classes, whose models are lines, tables and what is made of them."""

    def heat(coefficient):
        return td.LinearHeatPerturbation(temperature_ref=scenes.BASE, coeff=coefficient)

    table = td.HeatDataArray([0.001, 0.02, 0.004], coords=dict(T=[300.2, 300.9, 302.0]))
    table = td.CustomHeatPerturbation(perturbation_values=table)
    charge = td.LinearChargePerturbation(
        electron_ref=1e15, electron_coeff=1e-20, hole_ref=2e15, hole_coeff=3e-20
    )
    values = td.ChargeDataArray([[0.001, 0.002], [0.003, 0.001]], coords=dict(n=[2e16, 9e16], p=[1e16, 4e16]))
    charges = td.CustomChargePerturbation(perturbation_values=values)
    both = td.ParameterPerturbation(heat=heat(1e-3), charge=charge)
    tables = td.ParameterPerturbation(heat=table, charge=charges)
    return [
        td.PerturbationMedium(
            permittivity=12, permittivity_perturbation=tables, conductivity_perturbation=both
        ),
        td.PerturbationMedium(
            permittivity=12,
            perturbation_spec=td.IndexPerturbation(delta_n=both, delta_k=tables, freq=FREQUENCY),
        ),
        td.PerturbationPoleResidue(
            eps_inf=2,
            poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14)],
            eps_inf_perturbation=tables,
            poles_perturbation=[(None, td.ParameterPerturbation(heat=heat(1e11 * (1 + 0.5j))))],
        ),
        td.PerturbationPoleResidue(
            eps_inf=2,
            poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14)],
            perturbation_spec=td.PermittivityPerturbation(delta_eps=both, delta_sigma=tables),
        ),
    ]


def test_a_perturbed_simulation_at_the_server_is_tidy3ds(wired):
    wt, _ = wired()
    structures = [
        td.Structure(
            geometry=td.Box(center=(0.4 * index - 0.6, 0, 0), size=(0.35, td.inf, 0.22)), medium=medium
        )
        for index, medium in enumerate(media())
    ]
    solver = mode_solver(modes=1, scene=simulation(structures=structures))
    heat = wt.submit(scenes.slab(6e-6, 0.25), name="heat", progress=False)
    temperature = heat["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
    density = td.SpatialDataArray(
        1e16 + 7e16 * np.random.default_rng(4).random((6, 1, 9)), coords={**GRID, "y": np.array([0.0])}
    )
    template = wt.perturb(
        solver, temperature=temperature, electron_density=density, hole_density=0.5 * temperature * 1e14
    )
    task = wt.submit(template, name="perturbed", progress=False)
    assert task.wait(300) and task.exception() is None
    there = temperature.load()
    assert float(there.max()) > 300.9, "the tables are used"
    expected = solver.updated_copy(
        simulation=solver.simulation.perturbed_mediums_copy(
            temperature=there, electron_density=density, hole_density=0.5 * there * 1e14
        )
    )
    found = wt.open(task.id).simulation.load()
    assert type(found) is type(expected)
    for index in range(len(structures)):
        ours, theirs = (each.simulation.structures[index].medium for each in (found, expected))
        assert type(ours) is type(theirs) and ours.derived_from == theirs.derived_from
    plane = td.Box(size=(2.0, 0, 1.0))
    for frequency in (FREQUENCY, 0.9 * FREQUENCY):
        ours, theirs = (
            each.simulation.epsilon(plane, coord_key="centers", freq=frequency).values
            for each in (found, expected)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)
    assert np.ptp(theirs.real) > 1


def test_a_temperature_makes_the_heat_of_the_next_simulation(wired):
    wt, _ = wired()
    first = wt.submit(scenes.slab(3e-6, 0.25), name="first", progress=False)
    places = {"x": [-0.5, 0.5], "y": [0.0], "z": np.linspace(-1.0, 1.0, 11)}
    rise = first["plane"].temperature.interp(**places) - scenes.BASE
    standing = td.SpatialDataArray(np.ones((1, 1, 1)), coords={"x": [0], "y": [0], "z": [0]})
    template = wt.replace(scenes.slab(standing, 0.25), "sources[0].rate", 1e-6 * rise)
    found = wt.submit(template, name="second", progress=False).result(timeout=300)
    by_hand = scenes.slab(1e-6 * rise.load(), 0.25)
    expected = wt.submit(by_hand, progress=False).result(timeout=300)
    ours, theirs = (each["centre"].temperature.values for each in (found, expected))
    assert theirs.item() > scenes.BASE + 0.05
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


PATH = "simulation.structures[0].medium.permittivity"


def test_the_simulation_of_a_task_of_another_process_is_named_not_fetched(wired, tmp_path):
    wt, wire = wired()
    original = mode_solver(modes=1, scene=graded())
    array = original.simulation.structures[0].medium.permittivity
    task = wt.submit(original, name="graded", progress=False)
    if NEW_CLIENT:  # whose objects can be held as long as somebody else does
        assert task.simulation is original
    assert task.wait(300) and task.exception() is None

    wt, wire = wired()
    again = wt.open(task.id)
    found = again.simulation
    assert isinstance(found, wt.SimulationReference)
    assert found.mode_spec == original.mode_spec and found.freqs == original.freqs
    structure = found.simulation.structures[0]
    assert structure.name == "core" and structure.geometry == original.simulation.structures[0].geometry
    permittivity = structure.medium.permittivity
    assert isinstance(permittivity, wt.Reference) and permittivity.shape == array.shape
    np.testing.assert_array_equal(permittivity.x.values, array.x.values)
    assert wire.received < array.nbytes / 8, "its text, labels, and a block"

    # A number of it is computed at the server, by a task of its own; and it is a part of another simulation there.
    np.testing.assert_allclose(float(permittivity.mean()), float(array.mean()), rtol=1e-12)
    other = mode_solver(modes=1, scene=graded(scale=0.0, count=3))
    bright = wt.submit(wt.replace(other, PATH, permittivity + 1), name="bright", lazy=True, progress=False)
    changed = wt.replace(found, PATH, 2 * permittivity - 2)
    denser = wt.submit(changed, name="denser", lazy=True, progress=False)
    assert bright.wait(300) and bright.exception() is None and denser.wait(300) and denser.exception() is None
    assert wire.sent + wire.received < array.nbytes / 6

    sent = tmp_path / "handles.pickle"
    sent.write_bytes(pickle.dumps((permittivity.isel(y=7), found.simulation, denser)))
    plane, frequency, values = in_another_process(sent, tmp_path)
    np.testing.assert_array_equal(plane, array.isel(y=7).values)
    assert frequency == original.freqs[0]
    np.testing.assert_array_equal(values, 2 * array.values - 2)

    by_hand = original.updated_copy(path="simulation/structures/0/medium", permittivity=2 * array - 2)
    theirs = wt.submit(by_hand, progress=False).result()
    np.testing.assert_allclose(denser.result().n_complex.values, theirs.n_complex.values, rtol=1e-12)
    assert found.load() == original


def in_another_process(file, tmp_path):
    """What a process that has never heard of these tasks finds in pickled handles of them."""
    out = tmp_path / "found.npz"
    environment = {**os.environ, "WAVETASK_DATA": str(tmp_path / "child")}
    from wavetask import _client

    environment["WAVETASK_URL"] = _client.current().url
    environment["WAVETASK_KEY"] = os.environ["SIMCLOUD_APIKEY"]
    answer = subprocess.run(
        [sys.executable, str(CHILD), str(file), str(out)], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    found = np.load(out)
    return found["plane"], float(found["frequency"]), found["values"]


def test_a_simulation_is_there_before_its_result_and_when_there_is_none(wired):
    wt, wire = wired()
    held = wt.submit(mode_solver(modes=1, scene=graded(seed=2)), name="held", hold=True, progress=False)
    wait_until(lambda: held.status == "held", 60, "it is held")
    wt, wire = wired()
    found = wt.open(held.id).simulation
    assert isinstance(found, wt.SimulationReference) and found.simulation.structures[0].name == "core"
    assert wire.received < 3_000_000
    wt.open(held.id).cancel()
    np.testing.assert_array_equal(
        found.simulation.structures[0].medium.permittivity.isel(x=0).values,
        graded(seed=2).structures[0].medium.permittivity.isel(x=0).values,
    )
    assert wt.web.load_simulation(held.id, "held.hdf5", verbose=False) == mode_solver(
        modes=1, scene=graded(seed=2)
    )


def test_a_simulation_without_arrays_is_tidy3ds_own(wired):
    wt, _ = wired()
    task = wt.submit(mode_solver(modes=1), name="plain", progress=False)
    task.wait(300)
    wt, _ = wired()
    assert wt.open(task.id).simulation == mode_solver(modes=1)


def test_what_a_simulation_is_made_of_is_known_before_it_is_there(wired, server):
    wt, _ = wired()
    heat = wt.submit(scenes.slab(1.7e-6, 0.25), name="held heat", hold=True, progress=False)
    temperature = heat["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
    model = td.LinearHeatPerturbation(temperature_ref=scenes.BASE, coeff=1e-3)
    medium = td.PerturbationMedium(
        permittivity=12, permittivity_perturbation=td.ParameterPerturbation(heat=model)
    )
    core = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=medium)
    template = wt.perturb(mode_solver(modes=1, scene=simulation(structures=[core])), temperature=temperature)
    task = wt.submit(template, name="made of it", progress=False)
    array = task.simulation.simulation.structures[0].medium.permittivity
    assert array.shape == (4, 1, 3), "what covers the structure"
    assert "simulation/simulation/structures/0/medium/permittivity" in repr(array)
    np.testing.assert_array_equal(array.z.values, GRID["z"][3:6])
    wait_until(lambda: task.id is not None, 60, "the server knows it")
    path = f"/api/v1/tasks/{task.id}/simulation"
    status, answer = server.native("GET", path)
    assert status == 404 and answer["code"] == "task.no_simulation", answer
    heat.start()
    found = wt.open(task.id).simulation
    assert isinstance(found, wt.SimulationReference)
    expected = template.resolve().simulation.structures[0].medium.permittivity
    np.testing.assert_allclose(array.values, expected.values, rtol=1e-12)
    there = found.simulation.structures[0].medium.permittivity
    np.testing.assert_array_equal(there.values, array.values)
    assert server.native("GET", path)[0] == 200
