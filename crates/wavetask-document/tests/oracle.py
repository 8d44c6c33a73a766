"""The oracle of the HDF5 tests: tidy3d's own classes and h5py.

    oracle.py make DIR     writes DIR/in/*.hdf5[.gz] with this client and with h5py
    oracle.py check DIR    compares DIR/out/* (made from DIR/in by the Rust side) with DIR/in

Names of inputs say what is expected: `same_*` must all have one digest, `td_*` load as tidy3d
classes and must compare equal, `h5_*` are compared dataset by dataset only.
"""

import gzip
import json
import pathlib
import sys

import h5py
import numpy as np
import tidy3d as td
import tidy3d.components.base as base

VERSION = tuple(int(part) for part in td.__version__.split(".")[:2])


def spatial(*shape):
    values = np.random.default_rng(1).random(shape)
    axes = [np.linspace(0, 1, n) for n in shape]
    return td.SpatialDataArray(values, coords=dict(zip("xyz", axes, strict=True)))


def heat():
    solid = td.Medium(permittivity=2, name="si", heat_spec=td.SolidSpec(conductivity=148e-6, capacity=1))
    spec = td.SolidSpec(conductivity=1e-6, capacity=1)
    custom = td.CustomMedium(permittivity=1 + spatial(3, 4, 5), name="custom", heat_spec=spec)
    boundary = td.HeatChargeBoundarySpec(
        condition=td.TemperatureBC(temperature=300), placement=td.StructureBoundary(structure="wire")
    )
    return td.HeatChargeSimulation(
        size=(4, 4, 2),
        medium=td.Medium(name="air", heat_spec=td.FluidSpec()),
        structures=[
            td.Structure(geometry=td.Box(size=(1, 1, 1)), medium=solid, name="wire"),
            td.Structure(geometry=td.Box(size=(1, 2, 1), center=(0, 1, 0)), medium=custom, name="custom"),
        ],
        sources=[td.HeatSource(rate=1, structures=["wire"])],
        boundary_spec=[boundary],
        grid_spec=td.UniformUnstructuredGrid(dl=0.1),
        monitors=[
            td.TemperatureMonitor(size=(1, 1, 1), name="box"),
            td.TemperatureMonitor(size=(1, 0, 1), name="plane", unstructured=True),
            td.TemperatureMonitor(size=(1, 1, 0), name="no data"),
        ],
    )


def heat_data(sim):
    tetra = td.TetrahedralGridDataset(
        points=td.PointDataArray(np.random.default_rng(2).random((5, 3)), dims=("index", "axis")),
        cells=td.CellDataArray(np.array([[0, 1, 2, 3], [1, 2, 3, 4]]), dims=("cell_index", "vertex_index")),
        values=td.IndexedDataArray(np.arange(5.0) + 300, dims=("index",)),
    )
    return td.HeatChargeSimulationData(
        simulation=sim,
        data=[
            td.TemperatureData(monitor=sim.monitors[0], temperature=spatial(2, 3, 4)),
            td.TemperatureData(monitor=sim.monitors[1], temperature=tetra),
            td.TemperatureData(monitor=sim.monitors[2], temperature=None),
        ],
        log="Größe: 1 µm → ok",
    )


def simulation():
    freqs = [2e14, 2.1e14, 2.2e14]
    pulse = td.GaussianPulse(freq0=2e14, fwidth=1e13)
    return td.Simulation(
        size=(2, 2, 2),
        run_time=1e-12,
        grid_spec=td.GridSpec.uniform(dl=0.1),
        structures=[
            td.Structure(
                geometry=td.Box(size=(1, 1, 1)), medium=td.CustomMedium(permittivity=2 + spatial(3, 4, 5))
            ),
        ],
        sources=[td.PointDipole(source_time=pulse, polarization="Ex")],
        monitors=[
            td.FluxMonitor(size=(1, 1, 0), freqs=freqs, name="flux"),
            td.ModeMonitor(size=(1, 1, 0), freqs=freqs, mode_spec=td.ModeSpec(num_modes=2), name="mode"),
            td.FieldMonitor(size=(0.3, 0.3, 0), freqs=freqs, fields=["Ex", "Ey"], name="field"),
            td.FluxTimeMonitor(size=(1, 1, 0), name="time"),
        ],
    )


def simulation_data(sim):
    random = np.random.default_rng(3)
    f = list(sim.monitors[0].freqs)

    def complexes(*shape, kind=np.complex128):
        return (random.random(shape) + 1j * random.random(shape)).astype(kind)

    modes = dict(f=f, mode_index=[0, 1])
    xyz = dict(x=np.linspace(-0.2, 0.2, 5), y=np.linspace(-0.2, 0.2, 4), z=[0.0], f=f)
    data = [
        td.FluxData(monitor=sim.monitors[0], flux=td.FluxDataArray(random.random(3), coords=dict(f=f))),
        td.ModeData(
            monitor=sim.monitors[1],
            amps=td.ModeAmpsDataArray(complexes(2, 3, 2), coords=dict(direction=["+", "-"], **modes)),
            n_complex=td.ModeIndexDataArray(complexes(3, 2), coords=modes),
        ),
        td.FieldData(
            monitor=sim.monitors[2],
            Ex=td.ScalarFieldDataArray(complexes(5, 4, 1, 3, kind=np.complex64), coords=xyz),
            Ey=td.ScalarFieldDataArray(complexes(5, 4, 1, 3), coords=xyz),
            grid_expanded=sim.discretize_monitor(sim.monitors[2]),
        ),
        td.FluxTimeData(
            monitor=sim.monitors[3],
            flux=td.FluxTimeDataArray(
                random.random(7).astype(np.float32), coords=dict(t=np.arange(7) * 1e-15)
            ),
        ),
    ]
    return td.SimulationData(simulation=sim, data=data, log="done", diverged=False)


def models():
    sim = simulation()
    thermal = heat()
    found = {
        "simulation": sim,
        "simulation_data": simulation_data(sim),
        "heat": thermal,
        "heat_data": heat_data(thermal),
    }
    monitor = td.VolumeMeshMonitor(size=(1, 1, 1), name="mesh")
    found["mesher"] = td.VolumeMesher(simulation=thermal, monitors=[monitor])
    return found


def copy(source, target, **options):
    """Copies a file with h5py, storing every array in another way."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and item.shape and item.dtype != object:
                new.create_dataset(name, data=item[()], **options)
            elif isinstance(item, h5py.Dataset):
                new[name] = item[()]

        old.visititems(visit)


def zoo(path):
    """Every type and layout that h5py users come by, beside the client's own."""
    random = np.random.default_rng(4)
    with h5py.File(path, "w") as file:
        file["JSON_STRING"] = '{"type":"Zoo"}'
        for kind in [
            "f4",
            "f8",
            ">f4",
            ">f8",
            "i1",
            "i2",
            "i4",
            "i8",
            ">i2",
            ">i8",
            "u1",
            "u2",
            "u4",
            "u8",
            ">u4",
        ]:
            low = 0 if "u" in kind else -100
            values = random.random((3, 5)) if "f" in kind else random.integers(low, 100, (3, 5))
            file[f"types/{kind}"] = values.astype(kind)
        for kind in ["c8", "c16", ">c8", ">c16"]:
            file[f"types/{kind}"] = (random.random((2, 3)) + 1j * random.random((2, 3))).astype(kind)
        file["types/bool"] = random.random(9) > 0.5
        file["text/variable"] = ["+", "-", "", "µm", "x" * 5000]
        file["text/fixed"] = np.array([b"abc", b"", b"abcdefgh"], "S8")
        file["text/grid"] = np.array([["a", "bb"], ["ccc", "dddd"]], dtype=h5py.string_dtype())
        spaced = h5py.h5t.C_S1.copy()
        spaced.set_size(6)
        spaced.set_strpad(h5py.h5t.STR_SPACEPAD)
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(file.id, b"text/spaced", spaced, space).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab    ", b"abcdef"], "S6"), mtype=spaced
        )
        file["text/scalar"] = "one"
        file["shapes/scalar"] = 1.5
        file["shapes/empty"] = np.zeros((0,))
        file["shapes/empty2"] = np.zeros((3, 0, 2), "i4")
        file["shapes/no text"] = np.zeros((0,), dtype=h5py.string_dtype())
        file["shapes/deep"] = random.random((2, 1, 3, 1, 2, 2))
        file.create_dataset("never/zero", (5, 7), "f8")
        file.create_dataset("never/filled", (5, 7), "f4", fillvalue=2.5)
        file.create_dataset("never/chunked", (5, 7), ">i4", fillvalue=-3, chunks=(2, 3))
        partly = file.create_dataset(
            "never/partly", (50, 7, 3), "f8", fillvalue=1.25, chunks=(8, 3, 2), compression=1
        )
        partly[20:30, 2:5] = random.random((10, 3, 3))
        ragged = random.random((37, 11, 5))
        chunks = file.create_group("chunks")
        chunks.create_dataset("plain", data=ragged, chunks=(8, 4, 3))
        chunks.create_dataset(
            "all", data=ragged, chunks=(5, 5, 5), compression=9, shuffle=True, fletcher32=True
        )
        chunks.create_dataset("sum", data=ragged.astype("i2"), chunks=(7, 3, 5), fletcher32=True)
        chunks.create_dataset("large", data=ragged, chunks=(64, 64, 64), compression=1, maxshape=(None,) * 3)
        chunks.create_dataset("one", data=np.arange(3000), chunks=(1,))
        strings = ["a", "bc", "", "d"] * 9
        chunks.create_dataset("text", data=strings, chunks=(5,), dtype=h5py.string_dtype(), compression=1)
        chunks.create_dataset("complex", data=ragged + 1j, chunks=(9, 9, 2), shuffle=True, compression=4)
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F64LE, space, creation)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4.0))
        file["attributed"] = np.arange(3)
        for index in range(40):
            file["attributed"].attrs[f"attribute {index}"] = "x" * 100
            file["types"].attrs[f"attribute {index}"] = index
        for index in range(700):
            file[f"many/{index}/x"] = np.array([index, 2.0])
        file["/".join(["deep"] * 40) + "/x"] = 1.0


def respell(file):
    """The same JSON, spelt otherwise: keys reversed, spaces, escapes; in a string of fixed length."""

    def turn(value):
        if isinstance(value, dict):
            return {key: turn(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return [turn(item) for item in value]
        return value

    text = json.dumps(turn(json.loads(file["JSON_STRING"][()])), ensure_ascii=True, indent=1)
    del file["JSON_STRING"]
    file["JSON_STRING"] = np.bytes_(text)


def make(folder):
    inputs = folder / "in"
    inputs.mkdir(parents=True, exist_ok=True)
    for name, model in models().items():
        model.to_file(str(inputs / f"td_{name}.hdf5"))
        model.to_file(str(inputs / f"td_{name}_gz.hdf5.gz"))
    plain = (inputs / "td_simulation_data.hdf5").read_bytes()
    for level in (0, 1, 9):
        (inputs / f"same_level{level}.hdf5.gz").write_bytes(gzip.compress(plain, level))
    third = len(plain) // 3
    members = [plain[:third], b"", plain[third : 2 * third], plain[2 * third :]]
    whole = b"".join(gzip.compress(member, 1) + b"\0" * (3 * n) for n, member in enumerate(members))
    (inputs / "same_members.hdf5.gz").write_bytes(whole)
    (inputs / "same_plain.hdf5").write_bytes(plain)
    copy(inputs / "same_plain.hdf5", inputs / "same_chunked.hdf5", chunks=True)
    copy(
        inputs / "same_plain.hdf5",
        inputs / "same_filtered.hdf5",
        compression=9,
        shuffle=True,
        fletcher32=True,
    )
    with h5py.File(inputs / "same_filtered.hdf5", "a") as file:
        respell(file)
    limit = base.MAX_STRING_LENGTH
    base.MAX_STRING_LENGTH = 1000
    models()["simulation_data"].to_file(str(inputs / "same_split.hdf5"))
    base.MAX_STRING_LENGTH = limit
    zoo(inputs / "h5_zoo.hdf5")


def datasets(path):
    found = {}
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream, h5py.File(stream, "r") as file:

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = item[()]

        file.visititems(visit)
    return found


def text(values):
    """Strings as a list of str, from whatever h5py made of them; None for numbers."""
    array = np.asarray(values, object if isinstance(values, bytes) else None)
    if array.dtype.kind in "SO":
        return [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    return None


def same_values(name, old, new):
    assert np.shape(old) == np.shape(new), (name, np.shape(old), np.shape(new))
    strings = text(old)
    if strings is not None:
        strings = [string.rstrip(" ") for string in strings] if name == "text/spaced" else strings
        assert strings == text(new), name
        assert np.asarray(new).dtype == object or np.shape(new) == (), name
        return
    old, new = np.asarray(old), np.asarray(new)
    if old.dtype.kind in "fc":
        assert old.dtype.newbyteorder("=") == new.dtype, (name, old.dtype, new.dtype)
    assert np.array_equal(old.astype(new.dtype), new) and np.array_equal(new.astype(old.dtype), old), name


def check_lazily(path, data):
    """One monitor at a time, as the client does it for a batch that is loaded lazily."""
    cls = type(data)
    assert cls.from_file(str(path), lazy=True).simulation == data.simulation
    for index, part in enumerate(data.data):
        assert type(part).from_file(str(path), group_path=f"/data/{index}") == part
        with h5py.File(path) as file:
            assert str(index) in file["data"]
        # Up to 2.10 this one function of the client reads only the first part of a split JSON.
        whole = VERSION > (2, 10) or "JSON_STRING_1" not in h5py.File(path)
        if isinstance(data, td.SimulationData) and whole:
            assert cls.mnt_data_from_file(str(path), part.monitor.name) == part


def check(folder):
    checked = 0
    for source in sorted((folder / "in").iterdir()):
        old, new = datasets(source), datasets(folder / "out" / source.name.removesuffix(".gz"))
        parts = sorted((name for name in old if "JSON_STRING" in name), key=lambda name: int("0" + name[12:]))
        assert b"".join(bytes(old[name]) for name in parts) == new["JSON_STRING"], source.name
        names = {name for name in old if "JSON_STRING" not in name}
        assert names == set(new) - {"JSON_STRING"}, (source.name, names ^ set(new))
        for name in names:
            same_values(name, old[name], new[name])
        checked += 1
    for name, model in models().items():
        for suffix in ("", "_gz", "_split"):
            path = folder / "out" / f"td_{name}{suffix}.hdf5"
            loaded = type(model).from_file(str(path))
            assert loaded == model, path
            if hasattr(model, "data") and hasattr(model, "simulation"):
                check_lazily(path, loaded)
            checked += 1
    thermal = heat()
    assert td.HeatChargeSimulation.from_file(str(folder / "out" / "mesher_simulation.hdf5")) == thermal
    mesh = td.VolumeMesherData.from_file(str(folder / "out" / "mesher_data.hdf5"))
    assert mesh.simulation == thermal and len(mesh.data) == 0
    path = folder / "out" / "heat_result.hdf5"
    result = td.HeatChargeSimulationData.from_file(str(path))
    assert result.simulation == thermal and result.log == "solved"
    assert np.array_equal(result["box"].temperature.values, np.arange(24.0).reshape(2, 3, 4) + 300)
    assert list(result["box"].temperature.coords["z"].values) == [0, 1, 2, 3]
    assert np.array_equal(result["plane"].temperature.cells.values, [[0, 1, 2]])
    check_lazily(path, result)
    with h5py.File(path) as file, h5py.File(folder / "in" / "td_heat.hdf5") as upload:
        assert upload["JSON_STRING"][()] in file["JSON_STRING"][()], "the upload is echoed verbatim"
    print(f"checked {checked + 3} files with tidy3d {td.__version__}")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
