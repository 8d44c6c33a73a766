"""Scenes in the manner of the client's public examples, each as a function that makes the simulation."""

from __future__ import annotations

import numpy as np
import tidy3d as td

SCENES = {}

si = td.Medium(permittivity=3.48**2)
sio2 = td.Medium(permittivity=1.44**2)
sin = td.Medium(permittivity=2.0**2)


def scene(function):
    SCENES[function.__name__] = function
    return function


def pulse(wavelength=1.55):
    frequency = td.C_0 / wavelength
    return td.GaussianPulse(freq0=frequency, fwidth=frequency / 10)


def mode_source(center, size, wavelength=1.55, direction="+"):
    return td.ModeSource(center=center, size=size, source_time=pulse(wavelength), direction=direction)


def box(center, size, medium):
    return td.Structure(geometry=td.Box(center=center, size=size), medium=medium)


@scene
def strip_waveguide():
    return td.Simulation(
        size=(4, 3, 2.5),
        medium=sio2,
        structures=[box((0, 0, 0), (td.inf, 0.5, 0.22), si)],
        sources=[mode_source((-1.5, 0, 0), (0, 2, 1.5))],
        run_time=1e-12,
        symmetry=(0, -1, 1),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=20),
        boundary_spec=td.BoundarySpec.all_sides(td.PML()),
    )


@scene
def ring_resonator():
    radius, width, gap = 3.0, 0.5, 0.1
    outer = td.Cylinder(center=(0, 0, 0), radius=radius + width / 2, length=0.22, axis=2)
    inner = td.Cylinder(center=(0, 0, 0), radius=radius - width / 2, length=0.22, axis=2)
    ring = td.ClipOperation(operation="difference", geometry_a=outer, geometry_b=inner)
    y = radius + width + gap
    return td.Simulation(
        size=(9, 10, 2),
        medium=sio2,
        structures=[
            box((0, y, 0), (td.inf, width, 0.22), si),
            box((0, -y, 0), (td.inf, width, 0.22), si),
            td.Structure(geometry=ring, medium=si),
        ],
        sources=[mode_source((-4, y, 0), (0, 2, 1.5))],
        run_time=1e-12,
        symmetry=(0, 0, 1),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=10),
        boundary_spec=td.BoundarySpec(
            x=td.Boundary.absorber(num_layers=30), y=td.Boundary.pml(), z=td.Boundary.pml(num_layers=8)
        ),
    )


@scene
def bragg_grating():
    teeth = [box((-4.96 + 0.32 * i, 0, 0), (0.16, 0.6, 0.22), si) for i in range(32)]
    return td.Simulation(
        size=(14, 3, 2),
        medium=sio2,
        structures=[box((0, 0, 0), (td.inf, 0.44, 0.22), si), *teeth],
        sources=[mode_source((-6.5, 0, 0), (0, 2, 1.5))],
        run_time=1e-12,
        symmetry=(0, -1, 1),
        grid_spec=td.GridSpec(
            grid_x=td.UniformGrid(dl=0.04),
            grid_y=td.AutoGrid(min_steps_per_wvl=15),
            grid_z=td.AutoGrid(min_steps_per_wvl=15),
        ),
        boundary_spec=td.BoundarySpec.all_sides(td.PML()),
    )


@scene
def mmi_splitter():
    vertices = [(-1, -0.25), (0, -0.5), (0, 0.5), (-1, 0.25)]
    taper = td.PolySlab(vertices=vertices, slab_bounds=(0, 0.22), axis=2)
    arms = td.GeometryGroup(
        geometries=[td.Box(center=(8, s * 0.9, 0.11), size=(6, 0.5, 0.22)) for s in (-1, 1)]
    )
    return td.Simulation(
        center=(2.5, 0, 0.11),
        size=(10, 5, 2.5),
        medium=sio2,
        structures=[
            td.Structure(geometry=taper, medium=si),
            box((2.5, 0, 0.11), (5, 3.2, 0.22), si),
            td.Structure(geometry=arms, medium=si),
            box((-3, 0, 0.11), (4, 0.5, 0.22), si),
        ],
        sources=[mode_source((-2.2, 0, 0.11), (0, 2, 1.5))],
        run_time=1e-12,
        symmetry=(0, 1, 0),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=16, wavelength=1.55),
    )


@scene
def metalens_pillar():
    return td.Simulation(
        center=(0, 0, 0.3),
        size=(0.45, 0.45, 2.6),
        structures=[
            box((0, 0, -5), (td.inf, td.inf, 10), sio2),
            td.Structure(
                geometry=td.Cylinder(center=(0, 0, 0.3), radius=0.12, length=0.6, axis=2),
                medium=td.Medium(permittivity=2.4**2),
            ),
        ],
        sources=[
            td.PlaneWave(
                center=(0, 0, -0.7), size=(td.inf, td.inf, 0), source_time=pulse(0.66), direction="+"
            )
        ],
        run_time=1e-13,
        symmetry=(-1, 1, 0),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=20, wavelength=0.66),
        boundary_spec=td.BoundarySpec(
            x=td.Boundary.periodic(), y=td.Boundary.periodic(), z=td.Boundary.pml()
        ),
    )


@scene
def photonic_crystal_slab():
    lattice = 0.42
    holes = [
        td.Cylinder(
            center=((i + 0.5 * (j % 2)) * lattice, j * lattice * np.sqrt(3) / 2, 0),
            radius=0.12,
            length=0.22,
            axis=2,
        )
        for i in range(-5, 6)
        for j in range(-5, 6)
        if j != 0
    ]
    return td.Simulation(
        size=(5, 4, 1.6),
        structures=[
            box((0, 0, 0), (td.inf, td.inf, 0.22), si),
            *(td.Structure(geometry=hole, medium=td.Medium()) for hole in holes),
        ],
        sources=[td.PointDipole(center=(0.1, 0, 0), source_time=pulse(1.5), polarization="Ey")],
        run_time=1e-12,
        symmetry=(0, 0, 1),
        grid_spec=td.GridSpec(
            grid_x=td.UniformGrid(dl=lattice / 16),
            grid_y=td.UniformGrid(dl=lattice * np.sqrt(3) / 32),
            grid_z=td.AutoGrid(min_steps_per_wvl=16),
        ),
        boundary_spec=td.BoundarySpec(
            x=td.Boundary.absorber(), y=td.Boundary.absorber(), z=td.Boundary.pml()
        ),
    )


@scene
def taper():
    vertices = [(-4, -0.25), (4, -1.5), (4, 1.5), (-4, 0.25)]
    slab = td.PolySlab(
        vertices=vertices, slab_bounds=(-0.11, 0.11), axis=2, sidewall_angle=0.15, reference_plane="bottom"
    )
    return td.Simulation(
        size=(10, 5, 2),
        medium=sio2,
        structures=[
            box((0, 0, 0), (td.inf, 0.5, 0.22), si),
            td.Structure(geometry=slab, medium=si),
        ],
        sources=[mode_source((-4.5, 0, 0), (0, 2, 1.5))],
        run_time=1e-12,
        grid_spec=td.GridSpec.auto(
            min_steps_per_wvl=12,
            override_structures=[
                td.MeshOverrideStructure(
                    geometry=td.Box(center=(0, 0, 0), size=(td.inf, 1.2, 0.4)), dl=(None, 0.03, 0.02)
                )
            ],
        ),
        boundary_spec=td.BoundarySpec.all_sides(td.StablePML(num_layers=20)),
    )


@scene
def edge_coupler():
    tip = td.PolySlab(
        vertices=[(0, -0.09), (20, -0.25), (20, 0.25), (0, 0.09)], slab_bounds=(0, 0.22), axis=2
    )
    return td.Simulation(
        center=(8, 0, 0),
        size=(22, 8, 8),
        medium=sio2,
        structures=[
            box((-5, 0, 0), (10, td.inf, td.inf), td.Medium()),
            box((8, 0, -10), (td.inf, td.inf, 14), si),
            td.Structure(geometry=tip, medium=si),
        ],
        sources=[
            td.GaussianBeam(
                center=(-2, 0, 0), size=(0, 4, 4), source_time=pulse(), direction="+", waist_radius=1.2
            )
        ],
        run_time=1e-12,
        symmetry=(0, -1, 0),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=10, max_scale=1.6),
        boundary_spec=td.BoundarySpec.all_sides(td.PML()),
    )


@scene
def grating_coupler():
    period, duty = 0.63, 0.5
    trenches = [box((i * period, 0, 0.19), (period * (1 - duty), td.inf, 0.07), sio2) for i in range(1, 16)]
    return td.Simulation(
        center=(5, 0, 0.5),
        size=(14, 0, 4),
        medium=sio2,
        structures=[
            box((0, 0, -2.5), (td.inf, td.inf, 1), si),
            box((0, 0, 0.11), (td.inf, td.inf, 0.22), si),
            *trenches,
        ],
        sources=[mode_source((-1, 0, 0.11), (0, td.inf, 1.5))],
        run_time=1e-12,
        grid_spec=td.GridSpec.auto(
            min_steps_per_wvl=20, snapping_points=[(0, 0, 0), (None, None, 0.155), (3.3, None, 0.22)]
        ),
        boundary_spec=td.BoundarySpec(x=td.Boundary.pml(), y=td.Boundary.periodic(), z=td.Boundary.pml()),
    )


@scene
def nanoparticle():
    return td.Simulation(
        size=(0.6, 0.6, 0.6),
        structures=[
            td.Structure(
                geometry=td.Sphere(radius=0.05),
                medium=td.Drude(eps_inf=9.0, coeffs=[(2.1e15, 1.7e13)]),
            )
        ],
        sources=[td.PointDipole(source_time=pulse(0.5), polarization="Ez", center=(0, 0, 0.1))],
        run_time=1e-13,
        grid_spec=td.GridSpec.auto(
            min_steps_per_wvl=15,
            override_structures=[
                td.MeshOverrideStructure(
                    geometry=td.Box(size=(0.12, 0.12, 0.12)), dl=(0.002,) * 3, enforce=True
                )
            ],
        ),
        boundary_spec=td.BoundarySpec.all_sides(td.PML()),
    )


@scene
def multilayer():
    layers, z = [], 0.0
    for index in range(14):
        thickness, medium = (0.0646, sin) if index % 2 else (0.0897, sio2)
        layers.append(box((0, 0, z + thickness / 2), (td.inf, td.inf, thickness), medium))
        z += thickness
    return td.Simulation(
        center=(0, 0, 0.5),
        size=(0, 0, 3),
        structures=layers,
        sources=[
            td.PlaneWave(
                center=(0, 0, -0.6), size=(td.inf, td.inf, 0), source_time=pulse(0.52), direction="+"
            )
        ],
        run_time=1e-13,
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=40),
        boundary_spec=td.BoundarySpec(
            x=td.Boundary.periodic(), y=td.Boundary.periodic(), z=td.Boundary.pml()
        ),
    )


@scene
def y_branch():
    x = np.linspace(0, 2, 13)
    widths = np.array([0.5, 0.5, 0.6, 0.7, 0.9, 1.26, 1.4, 1.4, 1.4, 1.4, 1.31, 1.2, 1.2])
    vertices = [*zip(x, widths / 2, strict=False), *zip(x[::-1], -widths[::-1] / 2, strict=False)]
    body = td.PolySlab(vertices=[tuple(map(float, v)) for v in vertices], slab_bounds=(-0.11, 0.11), axis=2)
    t = np.linspace(2, 8, 40)
    structures = [
        box((-1, 0, 0), (2, 0.5, 0.22), si),
        td.Structure(geometry=body, medium=si),
    ]
    for side in (-1, 1):
        middle = side * (0.35 + 0.9 * (1 - np.cos(np.pi * (t - 2) / 6)))
        outline = [*zip(t, middle + 0.25, strict=False), *zip(t[::-1], middle[::-1] - 0.25, strict=False)]
        arm = td.PolySlab(vertices=[tuple(map(float, v)) for v in outline], slab_bounds=(-0.11, 0.11), axis=2)
        structures.append(td.Structure(geometry=arm, medium=si))
    return td.Simulation(
        center=(3.5, 0, 0),
        size=(9, 5, 2),
        medium=sio2,
        structures=structures,
        sources=[mode_source((-0.7, 0, 0), (0, 2, 1.5))],
        run_time=1e-12,
        symmetry=(0, 0, 1),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=14),
        boundary_spec=td.BoundarySpec.all_sides(td.PML()),
    )


@scene
def microstrip():
    return td.Simulation(
        size=(20000, 8000, 6000),
        medium=td.Medium(),
        structures=[
            box((0, 0, -400), (td.inf, td.inf, 800), td.Medium(permittivity=4.4)),
            box(
                (0, 0, 17.5),
                (td.inf, 1500, 35),
                td.LossyMetalMedium(conductivity=58, frequency_range=(1e9, 9e9)),
            ),
            box((0, 0, -805), (td.inf, td.inf, 10), td.PECMedium()),
        ],
        lumped_elements=[
            td.LumpedResistor(
                center=(-6000, 0, -400), size=(0, 1500, 800), voltage_axis=2, resistance=50, name="port"
            )
        ],
        sources=[td.PointDipole(source_time=pulse(60000), polarization="Ez", center=(0, 0, -400))],
        run_time=1e-9,
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=12),
        boundary_spec=td.BoundarySpec(
            x=td.Boundary.pml(), y=td.Boundary.pml(), z=td.Boundary(minus=td.PECBoundary(), plus=td.PML())
        ),
    )


@scene
def quasi_uniform_rods():
    rods = [
        box((0.7 * i - 2.1, 0.3 * i - 1, 0), (0.21, 0.33, td.inf), td.Medium(permittivity=9))
        for i in range(7)
    ]
    return td.Simulation(
        size=(6, 5, 0),
        structures=rods,
        run_time=1e-12,
        grid_spec=td.GridSpec.quasiuniform(dl=0.05, snapping_points=[(0.1234, -0.4321, None)]),
        boundary_spec=td.BoundarySpec(x=td.Boundary.pml(), y=td.Boundary.pml(), z=td.Boundary.periodic()),
    )


@scene
def mode_simulation():
    return td.ModeSimulation(
        size=(4, 3, 3),
        medium=sio2,
        structures=[box((0, 0, 0), (td.inf, 0.5, 0.22), si)],
        plane=td.Box(center=(0, 0, 0), size=(0, 3, 3)),
        freqs=[td.C_0 / 1.6, td.C_0 / 1.5],
        mode_spec=td.ModeSpec(num_modes=2),
        symmetry=(0, -1, 0),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=20),
    )


@scene
def flat_mode_simulation():
    return td.ModeSimulation(
        size=(0, 3, 3),
        medium=sio2,
        structures=[box((0, 0, 0), (td.inf, 0.5, 0.22), si)],
        freqs=[td.C_0 / 1.55],
        mode_spec=td.ModeSpec(num_modes=2),
        grid_spec=td.GridSpec.auto(min_steps_per_wvl=25),
    )
