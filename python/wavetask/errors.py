"""What can go wrong, named by what to do next.

Every error has ``task`` (the handle it is about, if any), ``code`` (stable, for programs), ``hint`` (what to do) and
``__cause__`` (what caused it). Where Python has a name of its own for the situation, the class is also one of
those: ``except TimeoutError`` and ``except ValueError`` work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavetask._task import Task

__all__ = [
    "Cancelled",
    "ConnectionLost",
    "DataCorrupted",
    "Diverged",
    "Infrastructure",
    "InputFailed",
    "Internal",
    "InvalidSimulation",
    "NotFound",
    "ServerBusy",
    "SolverFailed",
    "TimedOut",
    "Unauthorized",
    "Usage",
    "WavetaskError",
]


class WavetaskError(Exception):
    """Anything that wavetask reports."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        hint: str | None = None,
        task: Task | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.task = task
        self.task_id = task_id
        self.failures: dict[str, WavetaskError] = {}
        self._of_several = False

    def __str__(self) -> str:
        text = self.message or type(self).__name__
        if self._of_several:
            pass  # it names the batch
        elif self.task is not None:
            text = f"{self.task.name}: {text}"
        elif self.task_id:
            text = f"{self.task_id}: {text}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"code": self.code, "hint": self.hint, "task": self.task, "task_id": self.task_id}
        return type(self), (self.message,), state


class ConnectionLost(WavetaskError, ConnectionError):
    """The server cannot be reached, or went away and stayed away: check address and network, go on later."""


class Unauthorized(WavetaskError, PermissionError):
    """The key is not accepted or may not do this: set another."""


class ServerBusy(WavetaskError):
    """The server does not take more now (overload, a quota, a full disk): wait, or free something."""


class InvalidSimulation(WavetaskError, ValueError):
    """The simulation cannot be run as it is: change it."""


class SolverFailed(WavetaskError):
    """The solver found no solution: change mesh or physics."""


class Diverged(WavetaskError, ArithmeticError):
    """The solution diverged: what there is of it can be fetched with ``task.document()``."""


class Cancelled(WavetaskError):
    """The task was cancelled, by this program or another.

    Not asyncio's ``CancelledError``: nobody cancelled the coroutine that waits.
    """


class DataCorrupted(WavetaskError):
    """Bytes are not what their digest says, here or there: fetch or submit again."""


class NotFound(WavetaskError, KeyError):
    """There is no such task, batch, monitor or field: check the name."""


class TimedOut(WavetaskError, TimeoutError):
    """The time that the caller gave is over; the work goes on."""


class Infrastructure(WavetaskError):
    """Too little memory or disk, a crashed or lost worker: look at the log, run it again."""


class InputFailed(WavetaskError):
    """An input of the task failed: mend that first."""


class Usage(WavetaskError, ValueError):
    """What was asked for makes no sense or is not supported: the message names it."""


class Internal(WavetaskError):
    """A fault of this program or of the server: report it."""


class Reason(Exception):
    """One link of the chain of causes, as the engine words it."""


_GROUPS: dict[str, type[WavetaskError]] = {
    group.__name__: group
    for group in (
        Cancelled,
        ConnectionLost,
        DataCorrupted,
        Diverged,
        Infrastructure,
        InputFailed,
        Internal,
        InvalidSimulation,
        NotFound,
        ServerBusy,
        SolverFailed,
        TimedOut,
        Unauthorized,
        Usage,
    )
}


def make(
    group: str, code: str, message: str, hint: str | None, task_id: str | None, causes: list[str]
) -> WavetaskError:
    """The exception for an error of the engine; the native module calls this."""
    error = _GROUPS.get(group, WavetaskError)(message, code=code, hint=hint, task_id=task_id)
    below: BaseException = error
    for cause in causes:
        reason = Reason(cause)
        below.__cause__ = reason
        below = reason
    return error
