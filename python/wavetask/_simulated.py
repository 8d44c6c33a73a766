"""What a task knows of its simulation: the object itself, as long as somebody holds it, or what the server says of it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from wavetask import _adaptor, errors

if TYPE_CHECKING:
    from wavetask import _native
    from wavetask._task import Task

__all__ = ["Simulated"]

_REFERENCES = "wavetask._reference."
_REFERENCE = "wavetask._reference.reference"


class Simulated:
    """The part of a task that is about its simulation."""

    name: Any
    status: Any
    wait: Callable[..., bool]
    document: Callable[..., _native.Document]
    _handle: Callable[[], _native.Task]
    _errors_here: Callable[[], contextlib.AbstractContextManager[None]]
    _tidy3d: Callable[[str], Any]

    def __init__(self, simulation: Any) -> None:
        self._submitted: Callable[[], Any] = lambda: None
        self._submitted_json = ""
        # The template that it was made of.
        self._template: Callable[[], Any] = lambda: None
        # What the fields of its result are found from.
        self._outline: Any = None
        # What is known of the arrays of what is here, and what there is of a simulation that is not.
        self._arrays: Any = None
        self._held: Any = None
        if simulation is not None:
            self._remember(simulation)

    @property
    def simulation(self) -> Any:
        """The simulation: tidy3d's object where this process still has it (which is known of objects of tidy3d 2.11 and
        newer), or where there are no arrays in it. Else a `wavetask.SimulationReference`, which is like it but for its
        arrays: they are references and stay where they are. ``load()`` gives tidy3d's object.

        Waits for no result of its own; if it is made of other results, and another process submitted it, for these.
        """
        mine = self._submitted()
        if mine is not None:
            return mine
        held = self._held_simulation()
        if not held.fields:
            return held.object
        from wavetask._reference import SimulationReference

        return SimulationReference(self)

    def _remember(self, simulation: Any) -> None:
        """Keeps the simulation for as long as somebody else does: it need not be fetched back then."""

        def forget(_: object) -> None:
            self._submitted_json = ""

        if type(simulation).__module__ == _REFERENCE:
            return  # what is computed for its own sake simulates nothing
        if type(simulation).__module__.startswith(_REFERENCES):
            from wavetask._reference import SimulationReference, template_of

            self._template = weakref.ref(simulation)
            if isinstance(simulation, SimulationReference) and not simulation._task._is_described():
                return  # it would be asked for here, where nobody waits
            simulation = template_of(simulation).simulation
        else:
            with contextlib.suppress(TypeError):
                self._submitted = weakref.ref(simulation, forget)
        if type(simulation).__module__.partition(".")[0] == "tidy3d":
            self._outline = _adaptor.module("fields").outline(simulation)

    def _packed(self, json: str) -> None:
        """Notes the text that the simulation was packed to, as long as the simulation is there to go with it."""
        if self._submitted() is not None:
            self._submitted_json = json

    def _held_simulation(self) -> Any:
        """The simulation as far as it is here (`wavetask._tidy3d.simulation.Held`)."""
        describer = self._tidy3d("simulation")
        mine, template = self._submitted(), self._template()
        if mine is None and template is None:
            if self._held is None:
                self._held = describer.of_document(self._simulation_document())
            return self._held
        if mine is None:
            from wavetask._reference import template_of

            made = template_of(template)
            mine = made.simulation
            held = describer.of_template(mine, made.slots) if self._arrays is None else None
        else:
            held = describer.of_object(mine) if self._arrays is None else None
        if held is not None:
            self._arrays = held.fields, held.absent
        return describer.Held(mine, *self._arrays)

    def _is_described(self) -> bool:
        """Whether `_held_simulation` asks nobody."""
        return self._held is not None or self._submitted() is not None or self._template() is not None

    def _whole_simulation(self) -> Any:
        """tidy3d's object with all arrays: fetches what is not here."""
        mine = self._submitted()
        if mine is not None:
            return mine
        document = self._simulation_document()
        with self._errors_here():
            if hasattr(document, "fetch"):
                document.fetch()
            return self._tidy3d("simulation").whole(document)

    def _simulation_document(self) -> Any:
        """The document of the simulation. Where the server has none yet, waits for the end; where it gives none, takes it
        from the result."""
        for last in (False, True):
            try:
                with self._errors_here():
                    return self._handle().simulation()
            except (errors.NotFound, errors.Usage) as error:
                if error.code not in ("task.no_simulation", "task.not_placed"):
                    raise
                if last:
                    break
            self.wait()
        result = self.document()
        try:
            return self._tidy3d("simulation").Part(result, "simulation")
        except KeyError as error:
            raise errors.NotFound(
                f"neither the server nor the result says what the simulation of `{self.name}` was",
                code="task.no_simulation",
                task=cast("Task", self),
            ) from error

    def _simulation_field(self, path: Sequence[str], selections: list[Any]) -> Any:
        """What selections take of an array of the simulation; nothing else is fetched."""
        field, describer = self._tidy3d("field"), self._tidy3d("simulation")
        try:
            if self._is_described():
                here = describer.array(self._held_simulation(), tuple(path))
                if here is not None:
                    return field.select(here, selections)
            document = self._simulation_document()
            return field.build_field(
                document.json, path, selections, document.array, frozenset(document.paths())
            )
        except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise errors.NotFound(
                f"the simulation has no {'/'.join(path)}",
                code="result.no_such_field",
                task=cast("Task", self),
            ) from error

    def _simulation_labels(self, path: Sequence[str]) -> Any:
        """The labels of an array of the simulation, whether it is complex, and whether it is on a mesh; ``None`` where
        they are not known without waiting."""
        if self.status != "done":
            return None
        field, document = self._tidy3d("field"), self._simulation_document()
        try:
            return field.labels(
                document.json, path, document.array, frozenset(document.paths()), document.shape
            )
        except (KeyError, IndexError, ValueError):
            return None
