"""Simulations of which some arrays are references: templates, filled in where the data is."""

from __future__ import annotations

from typing import Any

from wavetask import _adaptor, errors

from .arguments import refuse
from .reference import Reference
from .remote import computable

__all__ = ["Template", "perturb", "replace"]


class Template:
    """A simulation of which some arrays are references.

    >>> bent = wt.perturb(mode_solver, temperature=task["temperature"].temperature.interp(x=xs, y=[0], z=zs))
    >>> bent.slots                     # which arrays are computed of which results
    >>> bent.resolve()                 # waits, and gives tidy3d's own object with the arrays in place
    """

    __slots__ = ("simulation", "slots")

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

    def __reduce__(self) -> tuple[Any, ...]:
        return Template, (self.simulation, self.slots)

    def __repr__(self) -> str:
        places = ", ".join(self.slots)
        return f"wavetask.Template({type(self.simulation).__name__}; computed of results: {places})"


def perturb(
    simulation: Any,
    temperature: Any = None,
    electron_density: Any = None,
    hole_density: Any = None,
    interp_method: str = "linear",
) -> Template:
    """The simulation (a `Simulation`, or a mode solver of one) as ``perturbed_mediums_copy`` makes it, for fields that
    need not be there yet: references on a rectangular grid of x, y and z, whose coordinates are known, all the same.

    Raises `errors.Usage` for what cannot be perturbed, or fields that do not fit.
    """
    fields = {"temperature": temperature, "electron_density": electron_density, "hole_density": hole_density}
    inner, known = (
        (simulation.simulation, simulation.slots) if isinstance(simulation, Template) else (simulation, {})
    )
    perturbed, slots = _adapted("perturb").perturb(inner, fields, interp_method)
    return Template(perturbed, {**known, **slots})


def replace(simulation: Any, path: str, reference: Reference) -> Template:
    """The simulation with a reference in the place of one of its arrays: ``structures/0/medium/permittivity``, or as
    Python has it, ``structures[0].medium.permittivity``. What is there stands for it until the result is there, and says
    which dimensions it has.

    Raises `errors.Usage` if there is no array, and for references that have other dimensions.
    """
    if not isinstance(reference, Reference):
        raise refuse(
            f"a {type(reference).__name__} is no reference", "tidy3d's own updated_copy takes arrays"
        )
    inner, slots = (
        (simulation.simulation, simulation.slots) if isinstance(simulation, Template) else (simulation, {})
    )
    place = path.replace("[", "/").replace("]", "").replace(".", "/").strip("/")
    dims = _templates().dimensions(inner, place)
    if reference._mesh or sorted(reference.dims) != sorted(dims):
        raise refuse(
            f"`{path}` has the dimensions {list(dims)}, the reference {list(reference.dims)}",
            "interpolate or select so that it has the same; a list of one place keeps a dimension",
        )
    ordered = reference if reference.dims == dims else reference.transpose(*dims)
    return Template(inner, {**slots, place: ordered})


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
