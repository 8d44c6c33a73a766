"""Simulations of which some arrays are references: templates, filled in where the data is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wavetask import _adaptor, errors

from .arguments import refuse
from .data import DataReference
from .reference import Reference
from .remote import computable
from .simulation import SimulationReference

__all__ = ["Template", "perturb", "replace", "template_of"]


class Template:
    """A simulation of which some arrays are references.

    >>> bent = wt.perturb(mode_solver, temperature=task["temperature"].temperature.interp(x=xs, y=[0], z=zs))
    >>> bent.slots                     # which arrays are computed of which results
    >>> bent.resolve()                 # waits, and gives tidy3d's own object with the arrays in place
    """

    __slots__ = ("__weakref__", "simulation", "slots")

    def __init__(self, simulation: Any, slots: dict[str, Reference]) -> None:
        self.simulation = simulation
        """tidy3d's object, in which values that nobody knows yet stand at the slots."""
        self.slots = slots
        """What belongs where: references by the paths of arrays, such as ``structures/0/medium/permittivity``."""

    @property
    def tasks(self) -> list[Any]:
        """The tasks of whose results it is made, each once."""
        found: list[Any] = []
        for slot in self.slots.values():
            found.extend(task for task in slot.tasks if not any(task is other for other in found))
        return found

    @property
    def computable(self) -> bool:
        """Whether the server computes what belongs in the slots, so that nothing of it passes through here. Without
        that, `submit` waits for the results and resolves it here."""
        return all(computable(slot._expression) for slot in self.slots.values())

    def resolve(self) -> Any:
        """Waits for the results, and gives the simulation with the arrays in place. Raises as `Task.result`, and what
        tidy3d's validation raises."""
        return _templates().filled(self.simulation, {path: slot.load() for path, slot in self.slots.items()})

    load = resolve

    def __reduce__(self) -> tuple[Any, ...]:
        return Template, (self.simulation, self.slots)

    def __repr__(self) -> str:
        places = ", ".join(self.slots)
        return f"wavetask.Template({type(self.simulation).__name__}; computed of results: {places})"


def template_of(simulation: Any) -> Template:
    """A simulation as a template: without slots if all of it is here."""
    if isinstance(simulation, Template):
        return simulation
    if isinstance(simulation, SimulationReference):
        return Template(*simulation._absent())
    return Template(simulation, {})


def perturb(
    simulation: Any,
    temperature: Any = None,
    electron_density: Any = None,
    hole_density: Any = None,
    interp_method: str = "linear",
) -> Template:
    """The simulation (a `Simulation` or `Scene`, or a mode solver of one) as ``perturbed_mediums_copy`` makes it, for
    fields that need not be there yet.

    ``temperature`` (K), ``electron_density`` and ``hole_density`` (1/cm³) are references, or labelled arrays, on one
    rectangular grid of x, y and z (um), whose coordinates are known; with lists of one place a dimension stays:
    ``.interp(x=xs, y=[0], z=zs)``. ``interp_method`` is what the custom media between the points of the grid do,
    ``"linear"`` or ``"nearest"``. As there, media are perturbed that have perturbation models and belong to structures
    within the simulation, or to the background; the optical part of a `MultiPhysicsMedium` is not.

    Raises `errors.Usage` for what cannot be perturbed, or fields that do not fit.
    """
    fields = {"temperature": temperature, "electron_density": electron_density, "hole_density": hole_density}
    before = template_of(simulation)
    adapted = _adapted("perturb")
    inner, slots = adapted.with_models(before.simulation, before.slots)
    perturbed, new = adapted.perturb(inner, fields, interp_method)
    return Template(perturbed, {**slots, **new})


def replace(
    simulation: Any,
    path: str | Mapping[str, Reference],
    reference: Reference | DataReference | Mapping[str, Reference] | None = None,
) -> Template:
    """The simulation with a reference in the place of one of its arrays: ``structures/0/medium/permittivity``, or as
    Python has it, ``structures[0].medium.permittivity``. What is there stands for it until the result is there, and says
    which dimensions it has; its extent and labels may be others.

    Several at once: a mapping of paths, or the path of what the arrays belong to and a mapping of their names (or the
    data of a monitor, whose fields of these names are taken)::

        fields = {name: task.data.fields[name].sel(mode_index=0) for name in ("Ex", "Ey", "Hx", "Hy")}
        wt.replace(simulation, "sources[0].field_dataset", fields)

    Raises `errors.Usage` if there is no array, naming those that there are, and for references that have other
    dimensions.
    """
    before = template_of(simulation)
    wanted = _wanted(before.simulation, path, reference)
    places = {_place(written): written for written in wanted}
    dims = _templates().dimensions(before.simulation, places)
    slots = {place: _fitting(wanted[written], dims[place], written) for place, written in places.items()}
    return Template(before.simulation, {**before.slots, **slots})


def _wanted(simulation: Any, path: Any, reference: Any) -> dict[str, Any]:
    """References by the paths that their user wrote."""
    if isinstance(path, Mapping):
        if reference is not None:
            raise refuse("`replace` takes a mapping of paths, or a path and what belongs there")
        return dict(path)
    if isinstance(reference, DataReference):
        fields, below = reference.fields, f"{_place(path)}/"
        names = [each[len(below) :] for each in _templates().arrays(simulation) if each.startswith(below)]
        reference = {name: fields[name] for name in names if name in fields}
        if not reference:
            there = ", ".join(fields)
            raise refuse(f"no array below `{path}` has the name of a field", f"the fields: {there or 'none'}")
    if isinstance(reference, Mapping):
        return {f"{path}/{name}": each for name, each in reference.items()}
    return {path: reference}


def _place(path: str) -> str:
    """A path as documents have it."""
    keys = [key for key in re.split(r"[/.\[\]]+", path.strip()) if key]
    for key in keys:
        if re.fullmatch(r"-\d+", key):
            raise refuse(f"the path `{path}` counts from the end", "places in lists are counted from 0")
        if not re.fullmatch(r"\w+", key):
            raise refuse(f"`{key}` in the path `{path}` is neither a name nor a place in a list")
    return "/".join(str(int(key)) if key.isdigit() else key for key in keys)


def _fitting(reference: Any, dims: tuple[str, ...], path: str) -> Reference:
    """A reference with its dimensions in this order."""
    if not isinstance(reference, Reference):
        what = f"a {type(reference).__name__} is no reference"
        raise refuse(f"`{path}`: {what}", "tidy3d's own updated_copy takes arrays")
    if reference._mesh:
        raise refuse(
            f"what is to be put at `{path}` is at the points of an unstructured mesh",
            "interpolate it to a grid with .interp(x=…, y=…, z=…)",
        )
    if sorted(reference.dims) != sorted(dims):
        raise refuse(
            f"`{path}` has the dimensions {list(dims)}, the reference {list(reference.dims)}",
            "interpolate or select so that it has the same; a list of one place keeps a dimension",
        )
    return reference if reference.dims == dims else reference.transpose(*dims)


def _templates() -> Any:
    return _adapted("template")


def _adapted(module: str) -> Any:
    try:
        return _adaptor.module(module)
    except ImportError as error:
        raise errors.Usage(
            "simulations are changed by tidy3d, which cannot be imported",
            code="client.no_tidy3d",
            hint="pip install tidy3d",
        ) from error
