"""What runs elsewhere can run: the paths that the workflow names are there, and its tests need no more than it installs."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
BRIDGE = "python/tests/test_bridge.py"


def commands() -> list[str]:
    return re.findall(r"^\s*(?:-\s+)?run:\s*(.+)$", WORKFLOW.read_text(), re.MULTILINE)


def paths(command: str) -> list[str]:
    """Words of a command that name files of the repository."""
    return [word for word in command.split() if re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)+", word)]


def test_every_path_that_the_workflow_names_is_there():
    named = [path for command in commands() for path in paths(command)]
    assert {".ci/run", "python/Cargo.toml", BRIDGE} <= set(named), "the workflow is not read as it is written"
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_target_that_it_makes_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert made and {word for words in made for word in words.split()} <= targets


def test_the_bridge_is_tested_with_what_the_workflow_installs():
    installed = next(command for command in commands() if "pip install maturin" in command).split()
    assert {"pytest", "numpy"} <= set(installed)
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("tidy3d", "h5py", "xarray", "scipy", "pydantic", "harness"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {str(ROOT / BRIDGE)!r}]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0 and "passed" in answer.stdout, answer.stdout + answer.stderr
