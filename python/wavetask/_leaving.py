"""What happens to work when the `with` block around it is left."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self", bound="Leaving")


class Leaving:
    """Work in a `with` block: an exception cancels it if it was submitted with ``cancel_on_error``, nothing else does."""

    _cancel_on_error: bool = False

    def cancel(self) -> None:
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and self._cancel_on_error:
            self.cancel()
