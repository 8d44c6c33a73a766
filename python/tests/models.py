"""tidy3d objects of many kinds, each with arrays in places of its own; fast to make."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import tidy3d as td

NEW_CLIENT = tuple(int(part) for part in td.__version__.split(".")[:2]) >= (2, 11)
MAKERS: dict[str, Callable[[], object]] = {}


def maker(function: Callable[[], object]) -> Callable[[], object]:
    MAKERS[function.__name__] = function
    return function


def numbers(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape) / 7 + 1


def grid(*shape: int) -> dict[str, np.ndarray]:
    return {name: np.linspace(-1, 1, count) for name, count in zip("xyz", shape, strict=True)}


def spatial(*shape: int) -> td.SpatialDataArray:
    return td.SpatialDataArray(numbers(*shape), coords=grid(*shape))


PULSE = td.GaussianPulse(freq0=2e14, fwidth=2e13)


def fdtd(**changes) -> td.Simulation:
    settings = dict(
        size=(2, 2, 2),
        grid_spec=td.GridSpec.uniform(dl=0.1),
        run_time=1e-13,
        sources=[td.PointDipole(source_time=PULSE, polarization="Ex")],
        monitors=[td.FluxMonitor(size=(1, 1, 0), freqs=[2e14], name="flux")],
    )
    settings.update(changes)
    return td.Simulation(**settings)


def box(medium) -> td.Structure:
    return td.Structure(geometry=td.Box(size=(1, 1, 1)), medium=medium)


def slab(rate=1e-5, kind=td.HeatChargeSimulation, **changes):
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(), heat=td.SolidSpec(conductivity=2e-6, capacity=1, density=1), name="solid"
    )
    air = td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name="air")
    settings = dict(
        size=(1, 0, 3),
        medium=air,
        structures=[td.Structure(geometry=td.Box(size=(td.inf, td.inf, 2)), medium=solid, name="slab")],
        sources=[td.HeatSource(structures=["slab"], rate=rate)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["solid", "air"]),
                condition=td.TemperatureBC(temperature=300),
            )
        ],
        grid_spec=td.UniformUnstructuredGrid(dl=0.2),
        monitors=[
            td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=True),
            td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False),
        ],
    )
    settings.update(changes)
    return kind(**settings)


def tetrahedra() -> td.TetrahedralGridDataset:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=float)
    cells = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    return td.TetrahedralGridDataset(
        points=td.PointDataArray(points, dims=("index", "axis")),
        cells=td.CellDataArray(cells, dims=("cell_index", "vertex_index")),
        values=td.IndexedDataArray(numbers(5), dims=("index",)),
    )


def triangles() -> td.TriangularGridDataset:
    points = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    return td.TriangularGridDataset(
        normal_axis=1,
        normal_pos=0,
        points=td.PointDataArray(points, dims=("index", "axis")),
        cells=td.CellDataArray(np.array([[0, 1, 2], [1, 2, 3]]), dims=("cell_index", "vertex_index")),
        values=td.IndexedDataArray(numbers(4), dims=("index",)),
    )


def fields(thing) -> dict[str, object]:
    return {name: value for name, value in thing.__dict__.items() if not name.startswith("_")}


def unvalidated(kind, **values):
    return getattr(kind, "model_construct", kind.construct)(**values)


@maker
def heat():
    return slab()


@maker
def heat_deprecated():
    return slab(kind=td.HeatSimulation)


@maker
def heat_rate():
    return slab(rate=spatial(3, 4, 5))


@maker
def heat_rate_transposed():
    """The client turns the dimensions into its own order: a view that is not in C order."""
    x = grid(3, 4, 5)
    rate = td.SpatialDataArray(
        numbers(5, 4, 3).transpose(2, 1, 0), coords={"x": x["x"], "y": x["y"], "z": x["z"]}
    )
    return slab(rate=rate)


@maker
def heat_rate_in_other_types():
    rate = td.SpatialDataArray(
        numbers(2, 2, 2).astype("f4"),
        coords={"x": [0, 1], "y": np.array([0, 1], "i4"), "z": np.array([0, 1], ">f8")},
    )
    return slab(rate=rate)


@maker
def plain_fdtd():
    return fdtd()


@maker
def attributes():
    simulation = fdtd(attrs={"study": {"run": 3, "of": ["a", "b"], "deep": {"x": [1.5, None, True]}}})
    return simulation.updated_copy(medium=td.Medium(permittivity=2, attrs={"Infinity": "FluxDataArray"}))


@maker
def odd_text():
    return fdtd(
        structures=[
            td.Structure(geometry=td.Box(size=(td.inf, 1, 1)), medium=td.Medium(name='é "λ" \\ 名'), name="ü")
        ]
    )


@maker
def numbers_in_line():
    coordinates = np.linspace(-1, 1, 30)
    return fdtd(
        grid_spec=td.GridSpec(
            grid_x=td.CustomGridBoundaries(coords=coordinates),
            grid_y=td.UniformGrid(dl=0.1),
            grid_z=td.UniformGrid(dl=0.1),
        ),
        structures=[
            td.Structure(
                geometry=td.PolySlab(
                    vertices=[[0, 0], [1, 0], [1, 1], [0.2, 0.9]], axis=2, slab_bounds=(-1, 1)
                ),
                medium=td.PoleResidue(eps_inf=1.5, poles=[(-1e14 + 2e14j, 3e14 - 1e13j)]),
            )
        ],
    )


@maker
def custom_medium():
    medium = td.CustomMedium(permittivity=spatial(3, 2, 4), conductivity=spatial(3, 2, 4))
    return fdtd(structures=[box(medium), box(medium)])


@maker
def custom_medium_dispersive():
    return fdtd(
        structures=[
            box(
                td.CustomPoleResidue(
                    eps_inf=spatial(2, 2, 2),
                    poles=[(-1e14 * spatial(2, 2, 2), 1e14 * spatial(2, 2, 2).astype(complex))],
                )
            ),
            box(
                td.CustomAnisotropicMedium(
                    **{name: td.CustomMedium(permittivity=spatial(2, 2, 2)) for name in ("xx", "yy", "zz")}
                )
            ),
        ]
    )


@maker
def custom_medium_unstructured():
    return fdtd(
        structures=[
            box(td.CustomMedium(permittivity=tetrahedra())),
            box(td.CustomMedium(permittivity=triangles())),
        ]
    )


@maker
def perturbation():
    heat_data = td.HeatDataArray(numbers(4), coords={"T": [290.0, 300.0, 310.0, 320.0]})
    charge_data = td.ChargeDataArray(numbers(2, 3), coords={"n": [0, 1], "p": [0, 1, 2]})
    return fdtd(
        structures=[
            box(
                td.PerturbationMedium(
                    permittivity=3,
                    permittivity_perturbation=td.ParameterPerturbation(
                        heat=td.CustomHeatPerturbation(perturbation_values=heat_data),
                        charge=td.CustomChargePerturbation(perturbation_values=charge_data),
                    ),
                )
            )
        ]
    )


@maker
def custom_source():
    field = td.ScalarFieldDataArray(
        numbers(3, 4, 1, 1) + 1j,
        coords={"x": [-1.0, 0, 1], "y": [-1.0, 0, 1, 2], "z": [0.0], "f": [2e14]},
    )
    dataset = td.FieldDataset(Ex=field, Hy=field.astype("complex64"))
    current = td.CustomCurrentSource(size=(1, 1, 0), source_time=PULSE, current_dataset=dataset)
    return fdtd(
        sources=[td.CustomFieldSource(size=(1, 1, 0), source_time=PULSE, field_dataset=dataset), current]
    )


@maker
def custom_source_time():
    from tidy3d.components.data.data_array import TimeDataArray
    from tidy3d.components.data.dataset import TimeDataset

    time = TimeDataset(values=TimeDataArray(numbers(6) + 0.5j, coords={"t": np.linspace(0, 1e-13, 6)}))
    pulse = td.CustomSourceTime(freq0=2e14, fwidth=2e13, source_time_dataset=time)
    return fdtd(sources=[td.PointDipole(source_time=pulse, polarization="Ez")])


@maker
def triangle_mesh():
    from tidy3d.components.data.data_array import TriangleMeshDataArray
    from tidy3d.components.data.dataset import TriangleMeshDataset

    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    corners = vertices[faces]
    dataset = TriangleMeshDataset(
        surface_mesh=TriangleMeshDataArray(
            corners,
            coords={"face_index": np.arange(4), "vertex_index": np.arange(3), "axis": np.arange(3)},
        )
    )
    if importlib.util.find_spec("trimesh"):
        mesh = td.TriangleMesh(mesh_dataset=dataset)
    else:  # its validation asks for that package
        mesh = unvalidated(td.TriangleMesh, mesh_dataset=dataset)
    medium = td.Medium(permittivity=2)
    structure = unvalidated(td.Structure, geometry=mesh, medium=medium)
    return unvalidated(td.Simulation, **{**fields(fdtd()), "structures": (structure,)})


@maker
def mode_solver():
    from tidy3d.plugins.mode import ModeSolver

    return ModeSolver(
        simulation=fdtd(structures=[box(td.CustomMedium(permittivity=spatial(3, 3, 3)))]),
        plane=td.Box(size=(1, 1, 0)),
        mode_spec=td.ModeSpec(num_modes=2),
        freqs=[2e14],
    )


@maker
def mode_simulation():
    return td.ModeSimulation(
        size=(1, 1, 0),
        structures=[box(td.CustomMedium(permittivity=spatial(3, 3, 3)))],
        mode_spec=td.ModeSpec(num_modes=2),
        freqs=[2e14],
        grid_spec=td.GridSpec.uniform(dl=0.1),
    )


@maker
def eigenmode_expansion():
    return td.EMESimulation(
        size=(1, 1, 1),
        axis=2,
        freqs=[2e14],
        eme_grid_spec=td.EMEUniformGrid(num_cells=2, mode_spec=td.EMEModeSpec(num_modes=2)),
        structures=[box(td.CustomMedium(permittivity=spatial(3, 3, 3)))],
        grid_spec=td.GridSpec.uniform(dl=0.1),
    )


@maker
def mesher():
    return td.VolumeMesher(
        simulation=slab(rate=spatial(3, 4, 5)),
        monitors=[td.VolumeMeshMonitor(size=(td.inf, td.inf, td.inf), name="mesh")],
    )


def flux_result(simulation=None):
    """A result as a server makes it, with a string coordinate and complex numbers."""
    simulation = simulation or fdtd(
        monitors=[
            td.FluxMonitor(size=(1, 1, 0), freqs=[1e14, 2e14], name="flux"),
            td.ModeMonitor(size=(1, 1, 0), freqs=[2e14], mode_spec=td.ModeSpec(num_modes=2), name="modes"),
        ]
    )
    modes = {"f": [2e14], "mode_index": [0, 1]}
    return td.SimulationData(
        simulation=simulation,
        log="",
        data=[
            td.FluxData(
                monitor=simulation.monitors[0], flux=td.FluxDataArray(numbers(2), coords={"f": [1e14, 2e14]})
            ),
            td.ModeData(
                monitor=simulation.monitors[1],
                amps=td.ModeAmpsDataArray(
                    numbers(2, 1, 2) * (1 + 2j), coords={"direction": ["+", "-"], **modes}
                ),
                n_complex=td.ModeIndexDataArray(numbers(1, 2) + 0.1j, coords=modes),
            ),
        ],
    )


def heat_result(simulation=None):
    simulation = simulation or slab(rate=spatial(3, 4, 5))
    return td.HeatChargeSimulationData(
        simulation=simulation,
        log="done",
        data=[
            td.TemperatureData(monitor=simulation.monitors[0], temperature=triangles()),
            td.TemperatureData(monitor=simulation.monitors[1], temperature=spatial(1, 1, 1)),
        ],
    )


def symmetric_result():
    """A field of which the half on one side of a plane of symmetry is stored."""
    simulation = fdtd(
        symmetry=(1, 0, 0),
        monitors=[td.FieldMonitor(size=(2, 0, 0), freqs=[2e14], name="field", fields=["Ey"], colocate=False)],
        sources=[td.PointDipole(source_time=PULSE, polarization="Ey")],
    )
    [monitor] = simulation.monitors
    coords = {"x": np.array([0.05, 0.15, 0.25]), "y": [0.0], "z": [0.0], "f": [2e14]}
    field = td.ScalarFieldDataArray(numbers(3, 1, 1, 1) + 0j, coords=coords)
    data = td.FieldData(
        monitor=monitor,
        Ey=field,
        symmetry=(1, 0, 0),
        symmetry_center=(0, 0, 0),
        grid_expanded=simulation.discretize_monitor(monitor),
    )
    return td.SimulationData(simulation=simulation, log="", data=[data])


def symmetric_heat_result():
    """Temperatures on a grid of which the half on one side of a plane of symmetry is stored."""
    line = td.TemperatureMonitor(size=(1, 0, 0), name="line", unstructured=False)
    simulation = slab(symmetry=(1, 0, 0), monitors=[line])
    coords = {"x": [0.0, 0.1, 0.3, 0.5], "y": [0.0], "z": [0.0]}
    field = td.SpatialDataArray(numbers(4, 1, 1), coords=coords)
    data = td.TemperatureData(monitor=line, temperature=field, symmetry=(1, 0, 0))
    return td.HeatChargeSimulationData(simulation=simulation, log="", data=[data])
