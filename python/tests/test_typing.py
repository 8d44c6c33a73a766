"""The package is typed, and its stubs say what the native module has."""

import pathlib
import subprocess
import sys

import pytest
from harness import needed_module

PROJECT = pathlib.Path(__file__).parents[1]
SETTINGS = str(PROJECT / "pyproject.toml")


@pytest.fixture(autouse=True)
def checker():
    needed_module("mypy")


def mypy(*words, cwd):
    answer = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=cwd)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_stub_is_complete_and_right(tmp_path):
    mypy("mypy.stubtest", "wavetask._native", "--mypy-config-file", SETTINGS, cwd=tmp_path)


def test_the_package_is_typed(tmp_path):
    mypy("mypy", "--config-file", SETTINGS, "--cache-dir", str(tmp_path), cwd=PROJECT)


def test_users_see_the_types(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import wavetask as wt\n"
        "from collections.abc import Iterator\n"
        "def simulations() -> Iterator[object]: yield 1\n"
        "scan: wt.Batch = wt.submit([1, 2])\n"
        "more: wt.Batch = wt.submit(simulations())\n"
        "task: wt.Task = scan['0']\n"
        "for each in scan.as_completed(timeout=1.0): each.save('x.hdf5')\n"
        "async def main() -> dict[str, object]:\n"
        "    async for each in scan: await each\n"
        "    return await scan\n"
        "try: task.result()\n"
        "except wt.errors.TimedOut as error: print(error.hint, error.task)\n"
        "data: wt.DataReference = task['monitor']\n"
        "field: wt.Reference = data.fields['T'].interp(x=[0.0], y=0).sel(z=1.0) - 300\n"
        "names: tuple[str, ...] = field.dims\n"
        "size: int = field.nbytes\n"
        "both: wt.Reference = wt.concat({1.0: field.max('x'), 2.0: field.std()}, 'I')\n"
        "made: wt.Template = wt.replace(object(), 'sources[0].field_dataset', {'Ex': field, 'Ey': both})\n"
        "made = wt.replace(made, {'structures/0/medium/permittivity': field})\n"
        "made = wt.perturb(made, temperature=field, interp_method='nearest')\n"
        "slots: dict[str, wt.Reference] = made.slots\n"
    )
    mypy("mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script), cwd=tmp_path)
