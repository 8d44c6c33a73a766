"""The same cases of handles wherever Python runs."""

import asyncio
import os
import pathlib
import subprocess
import sys

from harness import needed_module

HERE = pathlib.Path(__file__).parent
CASES = "handles_cases"


def python(*words, timeout=300, **settings):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    answer = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**environment, **settings},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_as_a_script(server):
    output = python(str(HERE / f"{CASES}.py"))
    assert "cases passed" in output


def test_in_threads(server):
    import handles_cases

    assert handles_cases.run_threads("threads") == len(handles_cases.CASES)


def test_within_an_event_loop(server):
    import handles_cases

    assert asyncio.run(handles_cases.run_inside_loop("loop")) == len(handles_cases.CASES)


def test_in_ipython(server):
    needed_module("IPython")
    code = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
cells = ["import {CASES}", "count = {CASES}.run_sync('ipython')", "count += await {CASES}.run_async('ipython')",
         "import wavetask as wt\\ndata = await wt.submit({CASES}.slab(), name='top level')\\ndata.simulation"]
for cell in cells:
    shell.run_cell(cell).raise_error()
print("ran", shell.user_ns["count"])
"""
    assert "ran" in python("-c", code)


def test_in_a_jupyter_kernel(server, tmp_path):
    nbclient = needed_module("nbclient")
    nbformat = needed_module("nbformat")
    needed_module("ipykernel")
    folder = tmp_path / "kernels" / "wavetask-test"
    folder.mkdir(parents=True)
    import json

    (folder / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "wavetask-test",
                "language": "python",
            }
        )
    )
    cells = [
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import {CASES}",
        f"count = {CASES}.run_sync('kernel')",
        f"count += await {CASES}.run_async('kernel')",
        "count",
        "import threading, time\nimport wavetask as wt\nfrom wavetask import _progress\n"
        "_progress._GRACE['notebook'] = 0.2\n"
        f"scan = wt.submit([{CASES}.slab(9)], name='shown', cache=False, hold=True, progress='notebook')\n"
        "while scan[0].status != 'held': time.sleep(0.02)\n"
        "threading.Timer(0.8, scan.start).start()\nscan.results()\nNone",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(tmp_path)
    try:
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="wavetask-test").execute()
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before
    import handles_cases

    outputs = [cell.outputs for cell in notebook.cells]
    assert outputs[3][0]["data"]["text/plain"] == str(len(handles_cases.CASES))
    # One summary, updated in place, and nothing else.
    shown = [output for output in outputs[4] if output["output_type"] == "display_data"]
    assert len(shown) == 1 and "1 of 1 done" in shown[0]["data"]["text/plain"]
