#!/usr/bin/env python3
"""Runs every example of the Python package on a server of its own; the notebook in a Jupyter kernel.

The server is the embedded one that the package starts by itself, on a data folder that is removed at the end.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from harness import stop_embedded

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
OUTPUT = EXAMPLES.parent / "example-output"
SCRIPTS = (
    "parameter_scan.py",
    "one_line_changed.py",
    "overlapping_functions.py",
    "coming_back.py",
    "thermo_optic_phase_shifter.py",
)
NOTEBOOKS = ("parameter_scan.ipynb",)


def run_notebook(path: pathlib.Path) -> None:
    """Executes a notebook and keeps it, with its outputs, in the output folder."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    nbformat.write(notebook, OUTPUT / path.name)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wavetask-examples-") as data:
        for name in [name for name in os.environ if name.startswith("WAVETASK_") and "TEST" not in name]:
            del os.environ[name]
        os.environ["WAVETASK_DATA"] = data
        try:
            for name in SCRIPTS:
                print(f"--- {name}", flush=True)
                started = time.monotonic()
                subprocess.run([sys.executable, str(EXAMPLES / name)], cwd=OUTPUT, check=True)
                print(f"--- {name}: {time.monotonic() - started:.1f} s", flush=True)
            for name in NOTEBOOKS:
                print(f"--- {name}", flush=True)
                run_notebook(EXAMPLES / name)
                print(f"--- {name}: kept with its outputs in {OUTPUT / name}", flush=True)
        finally:
            stop_embedded(pathlib.Path(data))


if __name__ == "__main__":
    main()
