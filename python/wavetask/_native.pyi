"""The native half: see the crate's documentation in ``python/src/lib.rs``. Private; use ``wavetask``.

Everything that may take long releases the interpreter lock and lets signal handlers run every 100 ms. In a forked
child, handles of the parent raise ``RuntimeError``.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any, final

import numpy

from wavetask.errors import WavetaskError

__all__ = [
    "REFERENCES",
    "Batch",
    "Client",
    "Document",
    "Packed",
    "Pending",
    "Port",
    "Status",
    "Submission",
    "Task",
    "__version__",
    "adopt",
    "after_fork",
    "before_fork",
    "expression_type",
    "locate",
    "pack",
    "whole_labels",
]

__version__: str

REFERENCES: str
"""The tag of batches that only compute what other tasks refer to: users do not see them."""

def adopt() -> None:
    """Notes that what is made from now on belongs to this process: for forked children."""

def before_fork() -> None:
    """Lets the engines' journals come to rest, so that no lock is copied that nobody releases in the child."""

def after_fork() -> None:
    """In the parent: the journals go on."""

def expression_type(expression: str, fields: str) -> str | None:
    """Dimensions, coordinates and element type of an expression, as JSON, from those of its fields (a JSON list, each
    with ``field``, ``dimensions``, ``data_type`` and ``mesh``); ``None`` if more would have to be known.

    Raises `Usage` if the expression means nothing, and ``ValueError`` for a list that is none.
    """

def locate(
    url: str | None = None, key: str | None = None, data: str | PathLike[str] | None = None
) -> tuple[str, str]:
    """Which server is meant, by arguments, environment and files, without its key: ``("url", address)``, or
    ``("data", folder)`` for whatever server that data folder has."""

def pack(kind: str, json: str, arrays: Sequence[tuple[str, numpy.ndarray[Any, Any] | list[str]]]) -> Packed:
    """Describes and hashes a simulation, on all cores and without the interpreter lock.

    Arrays are not copied if they are little-endian and in C order; do not change them before they have been sent.
    Raises ``TypeError`` and ``ValueError``, naming the path, for what no document holds, and `InvalidSimulation` for
    what cannot be a document.
    """

@final
class Port:
    """A queue of completions: pushed by engine threads, waited for by threads or watched by event loops."""

    def __new__(cls) -> Port: ...
    def fileno(self) -> int:
        """A descriptor that is readable while tokens are there; ``NotImplementedError`` where there is none."""
    def push(self, token: int) -> None:
        """Puts a token in."""
    def drain(self) -> list[int]:
        """Takes the tokens that are there, without waiting."""
    def wait(self, timeout: float | None = None) -> list[int]:
        """Waits for tokens and takes them; empty if ``timeout`` seconds are over first."""

@final
class Packed:
    """A simulation, described and hashed, with views of its arrays."""

    @property
    def digest(self) -> str:
        """The canonical digest: equal for equal content."""
    @property
    def array_bytes(self) -> int:
        """Bytes of all arrays together."""

@final
class Client:
    """A connection to a server, with the engine behind it."""

    def __new__(
        cls,
        *,
        url: str | None = None,
        key: str | None = None,
        data: str | PathLike[str] | None = None,
        bandwidth: str | None = None,
        memory: str | None = None,
        binary: str | PathLike[str] | None = None,
    ) -> Client:
        """Connects; without an address to the embedded server on the data folder, which ``binary`` is started for
        if it does not run. ``bandwidth`` and ``memory`` are amounts as the user wrote them."""
    @property
    def url(self) -> str:
        """Where the server answers."""
    def evaluates(self) -> bool:
        """Whether the server computes expressions over results, and has tasks wait for others."""
    def bytes_sent(self) -> int:
        """Bytes of arrays that have left by now, those under way included; less again when a try fails."""
    @property
    def key(self) -> str | None:
        """The key that is shown to the server; not to be shown to anybody else."""
    def submit(
        self,
        *,
        name: str | None,
        tags: Sequence[str],
        cache: bool,
        hold: bool,
        lazy: bool,
        folder: str,
        priority: int,
        after: Sequence[str],
        program: str | None,
    ) -> Submission:
        """Begins a submission; ``program`` is what to name a batch after that has no name."""
    def open(self, name_or_id: str) -> Task | Batch:
        """A batch by name or a task by id."""
    def open_batch(self, name: str) -> Batch:
        """A batch by name."""
    def told(self, task: str, part: str) -> str | None:
        """What the tidy3d protocol tells of a task that goes by another id there, as JSON: its ``detail`` or its
        ``progress``. ``None`` for every other task."""
    def batches(
        self,
        *,
        name: str | None = None,
        tag: str | None = None,
        without_tag: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> tuple[list[dict[str, Any]], bool]:
        """A page of batches, the last touched first, of those behind the batch of the name ``after``, and whether more
        follow. A page has at most ``limit`` batches, and 1000."""
    def tasks(
        self,
        conditions: str | None = None,
        *,
        state: str | None = None,
        folder: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        without_tag: str | None = None,
        batch: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> tuple[list[dict[str, Any]], bool]:
        """A page of tasks, newest first, of those behind the task ``after``, and whether more follow; ``conditions`` on
        parameters such as ``I>=0.004,width=0.5``. A page has at most ``limit`` tasks, and 1000."""

@final
class Submission:
    """A submission under way."""

    @property
    def name(self) -> str:
        """The batch's name."""
    @property
    def batch(self) -> Batch:
        """The batch."""
    def add(
        self, key: str, name: str | None, parameters: dict[str, bool | int | float | str]
    ) -> tuple[Task, Pending]:
        """Announces a member that is yet to be packed; ``name`` is its name for people, the key without."""
    def finish(self) -> None:
        """No more members come."""

@final
class Pending:
    """A member that is announced and not yet packed. Let go of unpacked, its task fails."""

    def after(self, tasks: Sequence[Task]) -> None:
        """Tasks that must succeed before this one starts; the server need not know them yet."""
    def push(self, packed: Packed) -> None:
        """Hands the simulation over; blocks while the budget of bytes is used up."""
    def evaluate(self, recipe: str, tasks: Sequence[Task]) -> None:
        """Hands a recipe over: expressions over results of tasks, which it names ``handle-<place in the list>``. It is
        submitted when all of them are known to the server. Raises `Usage` for a recipe that means nothing."""
    def gather(self, tasks: Sequence[Task], ids: Sequence[str]) -> None:
        """Hands over what succeeds when all of these have; the server need not know the tasks yet. The ids are those that
        the submission runs after."""
    def fill(self, packed: Packed, slots: Sequence[tuple[str, Task, int]]) -> None:
        """Hands a simulation over of which some arrays are outputs of evaluations: where, of which, and its number. It
        is submitted when the evaluations are known to the server; blocks as `push`."""
    def fail(self, group: str, code: str, message: str, hint: str | None = None) -> None:
        """Says why it could not be packed; ``group`` is the name of a class of `wavetask.errors`."""

@final
class Batch:
    """A batch."""

    @property
    def name(self) -> str:
        """Its name."""
    def tasks(self, first: int = 0) -> list[Task]:
        """The tasks in order, without so many of the first."""
    def sealed(self) -> bool:
        """Whether all tasks are there: no more will come."""
    def watch_growth(self, known: int, port: Port, token: int) -> None:
        """Pushes the token once when there are more tasks than ``known`` or no more will come, at once if so."""
    def get(self, key: str) -> Task | None:
        """The task of this key."""
    def progress(self) -> tuple[dict[str, int], float]:
        """How many tasks are in which phase, and how far the whole is: 0 to 100."""
    def cancel(self) -> None:
        """Stops all that have not ended."""
    def retry(self) -> None:
        """Runs those again that ended without success; raises the first reason why one could not be."""
    def start(self) -> None:
        """Starts those that are held, and those on their way once they are; raises the first reason why one could not be."""
    def delete(self) -> None:
        """Deletes all with their results; raises the first reason why one could not be."""

@final
class Task:
    """A task from the moment that it is submitted."""

    @property
    def key(self) -> str:
        """Its name within the batch."""
    @property
    def batch(self) -> str:
        """The batch's name; empty if the task was opened by its id."""
    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters."""
    @property
    def id(self) -> str | None:
        """The server's id, once the server knows it."""
    def status(self) -> Status:
        """Where it stands, as far as it is known here."""
    def ended(self) -> bool:
        """Whether it has ended."""
    def wait(self, timeout: float | None = None) -> bool:
        """Waits for its end; whether it has ended."""
    def watch(self, port: Port, token: int) -> None:
        """Pushes the token once when it has ended, at once if it has."""
    def document(self) -> Document:
        """Waits, and gives its result; raises why there is none."""
    def simulation(self) -> Document:
        """Its simulation, without waiting. Raises `NotFound` (`task.no_simulation`) where the server does not give it, and
        while results that it is made of are not there; `Usage` if the server does not know the task yet."""
    def leave_result(self) -> None:
        """Leaves the result on the server until it is asked for."""
    def cancel(self) -> None:
        """Stops it; returns at once."""
    def retry(self) -> None:
        """Runs it again if it ended without success."""
    def start(self) -> None:
        """Starts it if it is held, or once it is."""
    def delete(self) -> None:
        """Deletes it with its result."""
    def log(self) -> str:
        """What the solver has written so far."""
    def save(self, path: str | PathLike[str]) -> None:
        """Waits, and writes the result as an HDF5 file."""

@final
class Status:
    """Where a task stands. Times are seconds since 1970 (UTC)."""

    @property
    def phase(self) -> str:
        """Where it is on its way: see `wavetask.Task.status`."""
    @property
    def state(self) -> str | None:
        """The server's word for it."""
    @property
    def percent(self) -> float | None:
        """How far the solver is: 0 to 100."""
    @property
    def stage(self) -> str:
        """What the solver is doing, in a word or two."""
    @property
    def diverged(self) -> bool:
        """Whether the solution diverged."""
    @property
    def attempts(self) -> int:
        """Attempts begun."""
    @property
    def created(self) -> float | None:
        """When the server created it."""
    @property
    def started(self) -> float | None:
        """When its last attempt began."""
    @property
    def ended(self) -> float | None:
        """When it ended."""
    @property
    def error(self) -> WavetaskError | None:
        """Why it ended without a result."""

@final
class Document:
    """A result as it is stored: JSON text, and arrays by path, fetched when they are asked for."""

    @property
    def json(self) -> str:
        """The JSON text; class names stand where arrays belong."""
    @property
    def diverged(self) -> bool:
        """Whether the solution diverged."""
    @property
    def task(self) -> str:
        """The id of the task."""
    def paths(self) -> list[str]:
        """The paths of the arrays, such as ``data/0/temperature/x``."""
    def shape(self, path: str) -> list[int]:
        """The shape of an array, without fetching it; ``KeyError`` if there is none."""
    def array(
        self, path: str, ranges: Sequence[tuple[int, int]] | None = None
    ) -> numpy.ndarray[Any, Any] | list[str]:
        """The array at a path, or the part of it from each range's first index to before its second; dimensions
        without a range are whole. Only the blocks that are touched are fetched."""
    def fetch(self, prefixes: Sequence[str] = ...) -> None:
        """Fetches the arrays below these paths (all without any) into memory, as far as there is room."""

def whole_labels(data: str, name: str, stored: str) -> str | None:
    """The dimensions of the whole of a field of a symmetric simulation, as JSON, from those that are stored: ``data`` is
    the JSON of what the field belongs to. ``None`` if what it stands for is not known here.

    Raises ``ValueError`` for a list that is none.
    """
