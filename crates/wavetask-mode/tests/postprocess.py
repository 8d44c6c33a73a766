"""Writes what the client's local mode solver makes of an eigensolver's modes, for a comparison.

One JSON object per line: the document, the grid, what came out of the eigensolver at each frequency, and the raw data
that the client made of it.
"""

import json
import pathlib
import sys

import numpy as np
import tidy3d as td
from tidy3d.components.mode import mode_solver as module
from tidy3d.plugins.mode import ModeSolver

if hasattr(td.config, "logging"):
    td.config.logging.level = "ERROR"
else:
    td.config.logging_level = "ERROR"
F0 = td.C_0 / 1.55
TRIPLE = [0.97 * F0, F0, 1.03 * F0]


def complex_list(values):
    values = np.asarray(values)
    flat = values.ravel().astype(complex)
    return {"shape": list(values.shape), "re": flat.real.tolist(), "im": flat.imag.tolist()}


def structure(size, permittivity, center=(0, 0, 0), **medium):
    return td.Structure(
        geometry=td.Box(center=center, size=size), medium=td.Medium(permittivity=permittivity, **medium)
    )


def simulation(
    size=(2.4, 1.5, 2), step=0.068, symmetry=(0, 0, 0), core=(0.5, td.inf, 0.22), center=(0, 0, 0), **kwargs
):
    kwargs.setdefault("structures", [structure(core, 12.1, center)])
    return td.Simulation(
        center=center,
        size=size,
        medium=td.Medium(permittivity=2.1),
        # No interface on a grid line: rounding would decide on which side of it the line lies.
        grid_spec=td.GridSpec.uniform(dl=step),
        run_time=1e-12,
        symmetry=symmetry,
        subpixel=False,
        **kwargs,
    )


def solver(sim, plane=None, spec=None, freqs=(F0,), **kwargs):
    return ModeSolver(
        simulation=sim,
        plane=plane or td.Box(center=sim.center, size=(1.6, 0, 1.4)),
        mode_spec=spec or td.ModeSpec(num_modes=2),
        freqs=list(freqs),
        **kwargs,
    )


def slanted(angle, normal=1, axis=2, center=(0, 0, 0), permittivity=12.1, medium=None):
    """A strip that leaves the normal of its plane by an angle around an axis."""
    lateral = 3 - normal - axis
    ends = np.array([[-0.25, -5], [0.25, -5], [0.25, 5], [-0.25, 5]])  # across and along
    turned = ends @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned += [center[lateral], center[normal]]
    if lateral > normal:
        turned = turned[:, ::-1]
    slab = td.PolySlab(vertices=turned, axis=axis, slab_bounds=(center[axis] - 0.11, center[axis] + 0.11))
    return td.Structure(geometry=slab, medium=medium or td.Medium(permittivity=permittivity))


def group_cases():
    """Group indices of media and planes of several kinds."""

    def spec(**kwargs):
        return td.ModeSpec(num_modes=2, group_index_step=True, **kwargs)

    silica = td.Sellmeier(coeffs=[(0.6962, 0.00468), (0.4079, 0.01351), (0.8975, 97.934)])
    nitride = td.Sellmeier(coeffs=[(3.0249, 0.01836), (40314.0, 1.5373e6)])
    core = td.Structure(geometry=td.Box(size=(1.13, td.inf, 0.43)), medium=nitride)
    dispersive = simulation(structures=[core], step=0.083).updated_copy(medium=silica)
    yield "group, dispersive", solver(dispersive, spec=spec(), freqs=TRIPLE)
    lossy = td.Structure(
        geometry=td.Box(size=(0.5, td.inf, 0.22)),
        medium=td.Lorentz(eps_inf=11.0, coeffs=[(0.4, 2.2e14, 1e12)]),
    )
    yield "group, lossy half", solver(simulation(structures=[lossy], symmetry=(0, 0, 1)), spec=spec())
    bent = spec(bend_radius=5, bend_axis=1)
    yield "group, bent", solver(simulation(), spec=bent, freqs=TRIPLE, colocate=False)
    crystal = td.AnisotropicMedium(
        xx=td.Medium(permittivity=4.9), yy=td.Medium(permittivity=4.6), zz=td.Medium(permittivity=4.9)
    )
    rib = td.Structure(geometry=td.Box(size=(0.93, 0.47, td.inf)), medium=crystal)
    along_z = simulation(size=(2.4, 2, 1.5), structures=[rib])
    yield "group, anisotropic", solver(along_z, td.Box(size=(1.9, 1.6, 0)), spec(), TRIPLE, direction="-")
    slab = simulation(size=(0, 1.5, 2), core=(td.inf, td.inf, 0.22))
    yield "group, slab", solver(slab, td.Box(size=(td.inf, 0, 1.4)), spec(), TRIPLE)


def turned_cases():
    """Planes at an angle to the waveguide that are solved with the structures turned."""

    def spec(angle=0.2, **kwargs):
        return td.ModeSpec(num_modes=2, angle_theta=angle, angle_rotation=True, **kwargs)

    strip = simulation(structures=[slanted(0.2)])
    yield "turned", solver(strip, spec=spec(), freqs=TRIPLE)
    yield "turned, staggered", solver(strip, spec=spec(), colocate=False)
    if "use_colocated_integration" in getattr(ModeSolver, "model_fields", {}):
        yield (
            "turned, yee",
            solver(strip, spec=spec(), colocate=False, use_colocated_integration=False, freqs=TRIPLE),
        )
    yield "turned, backward", solver(strip, spec=spec(), direction="-")
    other = simulation(structures=[slanted(-0.3)])
    yield "turned, other side", solver(other, spec=spec(-0.3), colocate=False)
    yield "turned, half", solver(simulation(structures=[slanted(0.2)], symmetry=(0, 0, 1)), spec=spec())
    yield "turned, mirrored", solver(simulation(structures=[slanted(0.2)], symmetry=(-1, 0, 0)), spec=spec())
    for radius in [6, -6]:
        bent = spec(bend_radius=radius, bend_axis=1)
        yield f"turned, bent {radius}", solver(strip, spec=bent, direction="-" if radius < 0 else "+")
    for normal, center in [(0, (0.3, 0.2, 0.1)), (1, (0, 0, 0)), (2, (0.3, 0.2, 0.1))]:
        tangential = [axis for axis in range(3) if axis != normal]
        for phi, axis in [(0.0, tangential[1]), (np.pi / 2, tangential[0])]:
            size = [2.0, 2.2, 2.1]
            size[normal] = 1.5
            plane = [1.6, 1.5, 1.4]
            plane[normal] = 0
            scene = simulation(
                size=tuple(size), center=center, structures=[slanted(0.25, normal, axis, center)]
            )
            yield (
                f"turned, normal {normal}, around {axis}",
                solver(
                    scene,
                    td.Box(center=center, size=plane),
                    spec(0.25, angle_phi=phi),
                    colocate=axis != 1,
                ),
            )
    beside = slanted(0.0, center=(0.5, -5.4, 0.3))  # ends before the plane, reaches it when turned
    grid = td.GridSpec(
        grid_x=td.AutoGrid(min_steps_per_wvl=12),
        grid_y=td.UniformGrid(dl=0.068),
        grid_z=td.UniformGrid(dl=0.068),
        wavelength=1.55,
    )
    graded = strip.updated_copy(structures=[slanted(0.2), beside], grid_spec=grid)
    yield "turned, graded grid", solver(graded, spec=spec())
    if hasattr(ModeSolver, "_medium_supports_plane_rotation"):
        around = td.AnisotropicMedium(
            xx=td.Medium(permittivity=9), yy=td.Medium(permittivity=9), zz=td.Medium(permittivity=6)
        )
        yield (
            "turned, anisotropic",
            solver(simulation(structures=[slanted(0.2, medium=around)]), spec=spec(), fields=("Ex", "Hz")),
        )
    lossy = simulation(structures=[slanted(0.2, medium=td.Medium(permittivity=12.1, conductivity=0.05))])
    yield "turned, lossy", solver(lossy, spec=spec(), conjugated_dot_product=False)


def cases():
    yield from turned_cases()
    yield "plain", solver(simulation())
    yield "staggered", solver(simulation(), colocate=False)
    if "use_colocated_integration" in getattr(ModeSolver, "model_fields", {}):
        yield "yee", solver(simulation(), colocate=False, use_colocated_integration=False, freqs=TRIPLE)
    for symmetry in [(-1, 0, 0), (0, 0, 1), (-1, 0, 1), (1, 0, -1), (-1, 1, 1)]:
        for colocate in [True, False]:
            yield (
                f"symmetry {symmetry} {colocate}",
                solver(simulation(symmetry=symmetry), colocate=colocate, freqs=TRIPLE),
            )
    along_x = simulation(size=(1.5, 2.4, 2), core=(td.inf, 0.5, 0.22), symmetry=(0, -1, 0))
    yield "normal x", solver(along_x, td.Box(size=(0, 1.6, 1.4)), direction="-", freqs=TRIPLE)
    along_z = simulation(size=(2.4, 2, 1.5), core=(0.5, 0.22, td.inf), center=(0.3, 0.2, 0.1))
    yield "normal z", solver(along_z, td.Box(center=(0.31, 0.2, 0.17), size=(1.6, 1.4, 0)))
    yield (
        "off centre",
        solver(
            simulation(symmetry=(0, 1, 1), size=(2.4, 3, 2)),
            td.Box(center=(0.1, -0.6, 0), size=(1.7, 0, 1.5)),
        ),
    )
    yield (
        "whole",
        solver(simulation(), td.Box(size=(td.inf, 0, td.inf)), td.ModeSpec(num_modes=2, num_pml=(3, 4))),
    )
    whole = solver(simulation(symmetry=(-1, 0, 1)), td.Box(size=(td.inf, 0, td.inf)), freqs=TRIPLE)
    yield "whole, symmetric", whole
    periodic = simulation(boundary_spec=td.BoundarySpec.all_sides(td.Periodic()))
    yield "periodic", solver(periodic, td.Box(size=(td.inf, 0, td.inf)))
    yield "flat", solver(simulation(size=(2.4, 0, 2)), freqs=TRIPLE)
    slab = simulation(size=(0, 1.5, 2), core=(td.inf, td.inf, 0.22))
    yield "slab", solver(slab, td.Box(size=(td.inf, 0, 1.4)), freqs=TRIPLE)
    yield (
        "slab, symmetric",
        solver(slab.updated_copy(symmetry=(0, 0, 1)), td.Box(size=(1, 0, 1.4)), colocate=False),
    )
    yield "group", solver(simulation(), spec=td.ModeSpec(num_modes=3, group_index_step=True), freqs=TRIPLE)
    yield from group_cases()
    wide = simulation(core=(1.1, td.inf, 0.35), structures=[structure((1.1, td.inf, 0.35), 12.1)])
    lossy = simulation(structures=[structure((0.5, td.inf, 0.22), 12.1, conductivity=0.01)])
    yield "lossy", solver(lossy, conjugated_dot_product=False, freqs=TRIPLE)
    yield "te", solver(wide, spec=td.ModeSpec(num_modes=4, filter_pol="te"))
    yield "tm", solver(wide, spec=td.ModeSpec(num_modes=4, filter_pol="tm"), freqs=TRIPLE)
    yield "single", solver(simulation(), spec=td.ModeSpec(num_modes=2, precision="single"))
    yield "fields", solver(simulation(), fields=("Ex", "Ey", "Ez"))
    angled = td.ModeSpec(
        num_modes=4, angle_theta=0.3, angle_phi=0.0, sort_spec=td.ModeSortSpec(sort_key="wg_TE_fraction")
    )
    yield "angled", solver(wide, spec=angled)
    yield "bent", solver(wide, spec=td.ModeSpec(num_modes=2, bend_radius=4, bend_axis=1), freqs=TRIPLE)
    for key in ["n_eff", "k_eff", "TE_fraction", "TM_fraction", "wg_TM_fraction", "mode_area"]:
        spec = td.ModeSortSpec(sort_key=key, track_freq=None)
        yield f"sort {key}", solver(wide, spec=td.ModeSpec(num_modes=4, sort_spec=spec), freqs=TRIPLE)
    spec = td.ModeSortSpec(
        filter_key="TE_fraction", filter_reference=0.5, sort_key="mode_area", sort_reference=0.3
    )
    yield "filter", solver(wide, spec=td.ModeSpec(num_modes=4, sort_spec=spec), freqs=TRIPLE)
    if "keep_modes" in getattr(td.ModeSortSpec, "model_fields", {}):
        kept = spec.updated_copy(keep_modes="filtered")
        yield "kept", solver(wide, spec=td.ModeSpec(num_modes=4, sort_spec=kept), freqs=TRIPLE)
        two = spec.updated_copy(keep_modes=2, filter_order="under")
        yield "two", solver(wide, spec=td.ModeSpec(num_modes=4, sort_spec=two), freqs=TRIPLE)
        box = td.ModeSortSpec(sort_key="fill_fraction_box", bounding_box=td.Box(size=(0.5, 1, 0.3)))
        yield "box", solver(wide, spec=td.ModeSpec(num_modes=4, sort_spec=box))
    many = np.linspace(0.9 * F0, 1.1 * F0, 7)
    for method, count in [("linear", 3), ("cubic", 5), ("poly", 4)]:
        for reduce in [False, True]:
            if method == "poly":
                interp = td.ModeInterpSpec.cheb(num_points=count, reduce_data=reduce)
            else:
                interp = td.ModeInterpSpec.uniform(num_points=count, method=method, reduce_data=reduce)
            spec = td.ModeSpec(num_modes=2, interp_spec=interp, group_index_step=0.01)
            yield f"interpolated {method} {reduce}", solver(simulation(step=0.083), spec=spec, freqs=many)


def main(output):
    original = module.compute_modes
    recorded = []

    def record(**kwargs):
        fields, n_complex, eps_spec = original(**kwargs)
        recorded.append((np.array(fields), np.array(n_complex), eps_spec, kwargs))
        return fields, n_complex, eps_spec

    module.compute_modes = record
    for name, mode_solver in cases():
        sys.stderr.write(f"{name}\n")
        recorded.clear()
        try:
            raw = mode_solver.data_raw
        except NotImplementedError:
            continue  # the newer client's local solver has no full tensors
        text = raw.model_dump_json() if hasattr(raw, "model_dump_json") else raw.json()
        document = mode_solver.model_dump_json() if hasattr(raw, "model_dump_json") else mode_solver.json()
        arrays = {}
        for key, value in raw.data_arrs.items() if hasattr(raw, "data_arrs") else fields_of(raw):
            arrays[key] = {"values": complex_list(value.values)} | {
                dim: np.asarray(value.coords[dim].values).tolist() for dim in value.dims
            }
        reduced = mode_solver._reduced_simulation_copy_with_fallback
        line = {
            "name": name,
            "turned": bool(mode_solver.mode_spec.angle_rotation),
            "document": json.loads(document, parse_constant=str),
            "grid": [c.tolist() for c in mode_solver.simulation.grid.boundaries.to_list],
            "solved": [
                {
                    "fields": complex_list(fields),
                    "n_complex": complex_list(n_complex),
                    "eps_spec": eps_spec,
                    "frequency": kwargs["freq"],
                    "symmetry": [int(s) for s in kwargs["symmetry"]],
                    "coords": [c.tolist() for c in kwargs["coords"]],
                }
                for fields, n_complex, eps_spec, kwargs in recorded
            ],
            "material_grid": [c.tolist() for c in reduced._solver_grid.boundaries.to_list],
            "data": json.loads(text, parse_constant=str),
            "arrays": arrays,
        }
        output.write(json.dumps(line) + "\n")


def fields_of(raw):
    for key in ("Ex", "Ey", "Ez", "Hx", "Hy", "Hz", "n_complex", "n_group_raw", "dispersion_raw"):
        value = getattr(raw, key)
        if value is not None:
            yield key, value


with pathlib.Path(sys.argv[1]).open("w") as output_file:
    main(output_file)
