"""The ``wavetask`` command that the wheel installs: hands over to the binary inside the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def binary() -> Path | None:
    """The binary that came with the package, if it did."""
    path = Path(__file__).parent / "bin" / ("wavetask.exe" if os.name == "nt" else "wavetask")
    return path if path.is_file() else None


def main() -> int:
    """Becomes the binary, with the same words and the same exit status."""
    named = os.environ.get("WAVETASK_BINARY")
    path = Path(named) if named else binary()
    if path is None:
        print(
            "this installation of wavetask came without its binary; name one with WAVETASK_BINARY",
            file=sys.stderr,
        )
        return 127
    words = [str(path), *sys.argv[1:]]
    if os.name == "nt":
        # There is no exec on Windows that the calling shell would wait for.
        return subprocess.call(words)
    os.execv(path, words)


if __name__ == "__main__":
    sys.exit(main())
