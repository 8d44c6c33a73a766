"""The native half: see the crate's documentation in ``python/src/lib.rs``. Private; use ``wavetask``."""

from typing import final

__version__: str

def adopt() -> None:
    """Notes that what is made from now on belongs to this process: for forked children."""

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
        """Waits for tokens, interpreter lock released, signals seen within 100 ms; empty if the time is over."""
