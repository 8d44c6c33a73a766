"""Recipes that no client of ours makes: each is refused with words that say why, or means what IEEE says.

What is looked at is the native API alone, as somebody with a key and bad intentions has it; server and workers stay up,
and small.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tidy3d as td
from driver import Driver, packed
from harness import wait_until
from scenes import slab
from test_hostile import alive, memory

ENDS = {"success", "error", "diverged", "aborted"}
GROWTH = 300e6
"""Bytes that the server may have grown by all of this together; each of the arrays asked for is larger."""


class Attacker:
    """Submits one member at a time, and says what became of it: where it ended, the code, the message, and its task."""

    def __init__(self, driver: Driver):
        self.driver = driver
        self.number = 0

    def member(self, document, kind="EVALUATION", inputs=(), key=None, after=()) -> dict:
        self.number += 1
        name = key or f"{id(self)} {self.number}"
        return {
            "key": name, "position": 0, "kind": kind, "name": "hostile", "folder": "default",
            "document": document, "inputs": list(inputs), "after": list(after), "cache": True,
            "idempotency_key": name,
        }  # fmt: skip

    def post(self, *members: dict) -> tuple[int, dict]:
        body = {"batch": "hostile", "submission": "s", "members": members, "complete": False}
        return self.driver.server.native("POST", "/api/v1/batches", body, key=self.driver.key)

    def submit(self, document, **more) -> tuple[str, str, str, str]:
        status, answer = self.post(self.member(document, **more))
        if status != 200:
            return "request", str(answer.get("code", status)), answer.get("message", str(answer)), ""
        [member] = answer["members"]
        if member["outcome"] != "accepted":
            return member["outcome"], member["error"]["code"], member["error"]["message"], ""
        task = member["task"]["task"]

        def ended():
            status, summary = self.driver.server.native("GET", f"/api/v1/tasks/{task}")
            return summary if status == 200 and summary["state"] in ENDS else None

        summary = wait_until(ended, 120, f"{task} ends")
        error = summary["error"] or {"code": "", "message": ""}
        return summary["state"], error["code"], error["message"], task

    def recipe(self, *outputs, **more) -> tuple[str, str, str, str]:
        text = json.dumps({"type": "Evaluation", "version": 1, "outputs": outputs})
        return self.submit(inline(text), **more)


def inline(text: str, arrays: dict | None = None) -> dict:
    return {"inline": {"json": text, "arrays": arrays or {}}}


def recipe(*outputs: str) -> str:
    """The text of a recipe whose outputs are texts."""
    return '{"type": "Evaluation", "version": 1, "outputs": [' + ", ".join(outputs) + "]}"


def number(value: float) -> dict:
    return {"number": {"value": value}}


def binary(function: str, left: dict, right: dict) -> dict:
    return {"binary": {"function": function, "left": left, "right": right}}


def table(name: str, count: int) -> dict:
    """A written-out array along a dimension of its own."""
    coordinate = [float(place) for place in range(count)]
    return {"array": {"dimensions": [{"name": name, "coordinate": coordinate}], "values": [1.0] * count}}


def nested(depth: int) -> str:
    return '{"unary": {"function": "negative", "of": ' * depth + '{"number": {"value": 1}}' + "}}" * depth


def field(task: str, *path: str, **more) -> dict:
    return {"field": {"source": {"task": task}, "path": list(path), **more}}


@pytest.fixture(scope="module")
def attacker(server) -> Attacker:
    return Attacker(Driver(server))


@pytest.fixture(scope="module")
def heat(server, tmp_path_factory) -> str:
    """A task with a plane of temperatures on a grid, done."""
    driver = Driver(server)
    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=False)
    content = packed(slab(mesh_size=0.25, monitors=[plane]), tmp_path_factory.mktemp("heat"))
    task = driver.start(driver.folder(), "heat", content)
    wait_until(lambda: driver.detail(task)["status"] == "success", 60, "the heat task succeeds")
    return task


@pytest.fixture(autouse=True)
def unharmed(server):
    """Whatever is thrown at it, the server and its workers are the same processes afterwards, and not much larger."""
    driver = Driver(server)
    before, workers = memory(driver), server.workers()
    yield
    alive(driver)
    assert server.workers() == workers, "no worker was lost"
    assert memory(driver) - before < GROWTH, f"grew by {(memory(driver) - before) / 1e6:.0f} MB"


TEXTS = {
    "no JSON": ("hello", "document_malformed", "expected a value"),
    "nothing": ("", "document_malformed", "ends too early"),
    "a list": ("[]", "validation.class", "needs a Evaluation"),
    "no outputs": (recipe(), "expression_invalid", "nothing to compute"),
    "another version": (recipe(nested(1)).replace("1,", "99,", 1), "expression_invalid", "99"),
    "another type": (recipe(nested(1)).replace("Evaluation", "Simulation"), "", ""),
    "an unknown operation": (recipe('{"shell": {"command": "id"}}'), "expression_invalid", "shell"),
    "more members than there are": (
        recipe('{"number": {"value": 1, "units": "K"}}'), "expression_invalid", "units",
    ),
    "a member twice": (
        recipe('{"number": {"value": 1, "value": 2}}'), "document_malformed", "repeats a key",
    ),
    "NaN": (recipe('{"number": {"value": NaN}}'), "document_malformed", "expected a value"),
    "infinity": (recipe('{"number": {"value": 1e999}}'), "expression_invalid", "number out of range"),
    "null": (recipe('{"number": {"value": null}}'), "expression_invalid", "null"),
    "NaN among coordinates": (
        recipe(json.dumps(table("x", 1)).replace("[0.0]", "[NaN]")), "document_malformed", "expected a value",
    ),
    "infinite places": (
        recipe(json.dumps({"interp": {"of": table("x", 2), "places": [["x", {"values": [0.5]}]]}}).replace("0.5", "1e400")),
        "expression_invalid", "number out of range",
    ),
    "41 operations within one another": (recipe(nested(41)), "expression_too_large", "depth = 40"),
    "a thousand": (recipe(nested(1_000)), "document_malformed", "nested too deeply"),
    "a hundred thousand": (recipe(nested(20_000)), "document_malformed", "nested too deeply"),
    "257 outputs": (recipe(*[nested(0)] * 257), "expression_too_large", "outputs = 256"),
    "thousands of outputs": (recipe(*[nested(0)] * 5_000), "expression_too_large", "outputs = 256"),
    "5000 operations": (
        recipe(*[json.dumps({"concat": {"parts": [number(1.0)] * 100, "dimension": "d"}})] * 50),
        "expression_too_large", "limit nodes",
    ),
    "a shape that is not that of its values": (
        recipe(json.dumps(table("x", 2)).replace('"values": [1.0, 1.0]', '"values": [1.0]')),
        "expression_invalid", "array",
    ),
    "a negative place in a list that is no number": (
        recipe(json.dumps({"isel": {"of": table("x", 2), "indexers": [["x", {"index": -1.5}]]}})),
        "expression_invalid", "recipe",
    ),
    "a place beyond 64 bits": (
        recipe(json.dumps({"isel": {"of": table("x", 2), "indexers": [["x", {"index": 10**20}]]}})),
        "expression_invalid", "recipe",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
def test_texts_that_are_no_recipe(attacker, what):
    text, code, words = TEXTS[what]
    where, found, message, _ = attacker.submit(inline(text))
    assert where in ("error", "refused"), (where, found, message)
    assert code in ("", found) and words in message and message, (found, message)


def test_a_literal_is_no_way_to_send_data(attacker):
    """What is written out is bounded, and a long text has to come in blocks, which are counted."""
    where, code, message, _ = attacker.recipe(table("x", 200_000))
    assert (where, code) == ("refused", "request.bad") and "1048576 bytes" in message, (
        where,
        code,
        message,
    )
    arrays = {"x": {"element_type": "f64", "shape": [2**40], "byte_length": 2**43, "blocks": []}}
    where, code, message, _ = attacker.submit(inline(recipe(nested(0)), arrays))
    assert where in ("refused", "error") and code, (where, code, message)


def product(*names: str) -> dict:
    """An array of a hundred places along each dimension, made of small tables."""
    first, *rest = (table(name, 100) for name in names)
    for other in rest:
        first = binary("add", first, other)
    return first


def total(of: dict) -> dict:
    return {"reduce": {"function": "sum", "of": of}}


SHAPES = {
    "one array": (lambda: [product(*"abcde")], "elements"),
    "the work for one output": (
        lambda: [{"concat": {"parts": [total(product(*"abcd"))] * 190, "dimension": "n", "coordinate": [float(n) for n in range(190)]}}], "work",
    ),
    "the work for all outputs": (lambda: [total(product(*"abcd"))] * 190, "work"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHAPES)
def test_shapes_beyond_every_machine(attacker, what):
    outputs, limit = SHAPES[what]
    where, code, message, _ = attacker.recipe(*outputs())
    assert (where, code) == ("error", "expression_too_large"), (where, code, message)
    assert f"exceeds the limit {limit} = " in message, message


def test_numbers_are_those_of_ieee(attacker, heat):
    zero, one = number(0.0), number(1.0)
    outside = {"interp": {"of": table("x", 3), "places": [["x", {"values": [-5.0, 0.5, 7.0]}]]}}
    backwards = {"isel": {"of": table("x", 3), "indexers": [["x", {"index": -3}]]}}
    largest = binary("multiply", number(1e308), number(10.0))
    empty = {"isel": {"of": table("x", 3), "indexers": [["x", {"slice": {"start": 2, "stop": 1}}]]}}
    mean = {"reduce": {"function": "mean", "of": empty}}
    cold = binary("subtract", field(heat, "plane", "temperature"), field(heat, "plane", "temperature"))
    where, code, message, task = attacker.recipe(
        binary("divide", one, zero), binary("divide", number(-1.0), zero), binary("divide", zero, zero),
        outside, backwards, largest, total(empty), mean, binary("divide", cold, cold),
        binary("power", number(-8.0), number(1 / 3)),
    )  # fmt: skip
    assert where == "success", (code, message)

    def value(output: int):
        return attacker.driver.arrays(task, f"outputs/{output}")["__xarray_dataarray_variable__"]

    assert value(0) == np.inf and value(1) == -np.inf and np.isnan(value(2))
    np.testing.assert_array_equal(value(3), [np.nan, 1.0, np.nan])
    assert value(4) == 1.0 and value(5) == np.inf and value(6) == 0.0 and np.isnan(value(7))
    assert np.isnan(value(8)).all() and value(8).size > 10 and np.isnan(value(9))


def fields(heat: str) -> dict[str, tuple[dict, str, str]]:
    plane = field(heat, "plane", "temperature")
    isel = {"isel": {"of": plane, "indexers": [["x", {"index": -1_000_000}]]}}
    return {
        "no path": (field(heat), "expression_field", "could not be read"),
        "a monitor": (field(heat, "plane"), "expression_field", "plane"),
        "a number of the simulation": (field(heat, "size", part="simulation"), "expression_field", "size"),
        "a text of the simulation": (field(heat, "medium", "name", part="simulation"), "expression_field", "medium"),
        "what lies below an array": (field(heat, "plane", "temperature", "x"), "expression_field", "temperature/x"),
        "a file": (field(heat, "..", "..", "key"), "expression_field", "../../key"),
        "a file in one part": (field(heat, "plane/../../../key"), "expression_field", "could not be read"),
        "an absolute path": (field(heat, "/etc/passwd"), "expression_field", "could not be read"),
        "a zero byte": (field(heat, "plane\0", "temperature"), "expression_field", "could not be read"),
        "a long path": (field(heat, *["x" * 1_000] * 200), "expression_field", "could not be read"),
        "a place that is not there": (isel, "expression_invalid", "-1000000"),
        "a step of nothing": (
            {"isel": {"of": plane, "indexers": [["x", {"slice": {"start": 0, "stop": 5, "step": 0}}]]}},
            "expression_invalid", "step",
        ),
        "a dimension that is not there": (
            {"isel": {"of": plane, "indexers": [["f", {"index": 0}]]}}, "expression_invalid", "f",
        ),
        "a label that is not there": (
            {"sel": {"of": plane, "selectors": [["x", {"value": 1e300}]]}}, "expression_invalid", "",
        ),
    }  # fmt: skip


def test_fields_that_are_no_arrays(attacker, heat):
    for what, (expression, code, words) in fields(heat).items():
        where, found, message, _ = attacker.recipe(expression)
        assert (where, found) == ("error", code), (what, where, found, message)
        assert words in message and "/work" not in message and "wavetask.db" not in message, (what, message)


def test_a_document_is_named_by_its_task(attacker, heat):
    digest = {"field": {"source": {"result": "0" * 64}, "path": ["plane", "temperature"]}}
    where, code, message, _ = attacker.recipe(digest)
    assert (where, code) == ("error", "expression_invalid") and "name the task" in message, message


def test_tasks_of_others_are_like_tasks_that_do_not_exist(server, attacker, heat):
    """In every place where a task can be named, the answers differ in the id alone."""
    theirs = json.loads(server.command("key", "add", "a stranger", "--json"))
    stranger = Attacker(Driver(server, theirs["secret"]))
    text = recipe(nested(0))
    slot = {"path": "medium", "output": 0}
    template = json.dumps({"type": "HeatSimulation", "medium": {"type": "Medium"}})
    told = []
    for name in (heat, "task-00000000-0000-7000-8000-000000000000"):
        answers = [
            stranger.recipe(field(name, "plane", "temperature")),
            stranger.submit(inline(text), after=[name]),
            stranger.submit(inline(template), kind="HEAT", inputs=[{**slot, "task": name}]),
        ]
        for where, code, message, task in answers:
            assert (where, code, task) == ("refused", "task.input_not_found", ""), (
                name,
                where,
                code,
                message,
            )
        told.append([message.replace(name, "…") for _, _, message, _ in answers])
    assert told[0] == told[1], "whose it is, or whether it is anybody's, is not told"
    assert stranger.submit(inline(text), after=["../../key"])[0] == "request"


def test_a_task_cannot_refer_to_itself(attacker):
    """The only task that has an id before its document is complete is a draft that waits for blocks."""
    blocks = {"blocks": ["0" * 64]}
    template = json.dumps({"type": "HeatSimulation", "medium": {"type": "Medium"}})
    status, answer = attacker.post(attacker.member(blocks, kind="HEAT", key="itself"))
    assert status == 200 and answer["members"][0]["outcome"] == "missing", answer
    own = answer["members"][0]["task"]
    slot = {"path": "medium", "task": own, "output": 0}
    status, answer = attacker.post(
        attacker.member(inline(template), kind="HEAT", key="itself", inputs=[slot])
    )
    [member] = answer["members"]
    assert (member["outcome"], member["error"]["code"]) == ("refused", "input.slot"), member
    # What it was made to run after does not change.
    status, answer = attacker.post(attacker.member(blocks, kind="HEAT", key="itself", after=[own]))
    [member] = answer["members"]
    assert (member["outcome"], member["task"]) == ("missing", own), member
    # A recipe has no such draft: it comes with the request, and names what is there by then.
    status, answer = attacker.post(attacker.member(blocks, key="another"))
    assert answer["members"][0]["outcome"] == "refused", answer
    # A member of a submission cannot name one that comes later, or itself, by anything that it knows of it.
    for name in ("first", "second", "task-second"):
        first = attacker.member(inline(recipe(nested(0))), key="first", after=[name])
        status, answer = attacker.post(first, attacker.member(inline(recipe(nested(0))), key="second"))
        assert status != 200 or answer["members"][0]["outcome"] == "refused", answer


SLOTS = {
    "above": ({"path": ".."}, "input.path"),
    "outside": ({"path": "medium/../../key"}, "input.path"),
    "absolute": ({"path": "/medium"}, "input.path"),
    "nowhere": ({"path": "nothing/here"}, "input.path"),
    "long": ({"path": "x" * 10_000}, "input.path"),
    "an output that is not there": ({"path": "medium", "output": 4_000_000_000}, "input.slot"),
}


@pytest.mark.parametrize("what", SLOTS)
def test_slots_that_are_no_places(attacker, what):
    changes, code = SLOTS[what]
    *_, task = attacker.recipe(number(1.0))
    template = json.dumps({"type": "HeatSimulation", "medium": {"type": "Medium"}})
    slot = {"path": "medium", "task": task, "output": 0, **changes}
    where, found, message, _ = attacker.submit(inline(template), kind="HEAT", inputs=[slot])
    assert (where, found) == ("refused", code) and message, (where, found, message)


def test_slots_that_are_too_many_or_no_numbers(attacker, heat):
    template = inline(json.dumps({"type": "HeatSimulation", "medium": {"type": "Medium"}}))
    slot = {"path": "medium", "task": heat, "output": 0}
    where, _, message, _ = attacker.submit(template, kind="HEAT", inputs=[slot] * 1001)
    assert where == "refused" and "1000 inputs" in message
    where, code, message, _ = attacker.submit(template, kind="HEAT", inputs=[slot])
    assert (where, code) == ("refused", "input.slot") and "no evaluation" in message
    assert attacker.submit(template, kind="HEAT", inputs=[{**slot, "output": -1}])[0] == "request"
    where, _, message, _ = attacker.recipe(number(1.0), inputs=[slot])
    assert where == "refused" and "in its expressions" in message


def test_what_it_runs_after_is_bounded(attacker, heat):
    names = [f"task-00000000-0000-7000-8000-{place:012d}" for place in range(1_001)]
    where, _, message, _ = attacker.recipe(number(1.0), after=names)
    assert where == "refused" and "1000 others" in message, message
    where, _, message, _ = attacker.recipe(number(1.0), after=[heat, heat])
    assert where == "refused" and "twice" in message, message
    many = {"concat": {"parts": [field(name, "plane", "temperature") for name in names], "dimension": "d"}}
    where, code, message, _ = attacker.recipe(many)
    assert where == "refused" and code in ("task.too_many_inputs", "task.input_not_found"), (code, message)


def uploads(server) -> set[pathlib.Path]:
    return {path for path in (pathlib.Path(server.data) / "uploads").rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def uploads_before(server) -> set[pathlib.Path]:
    """What others have left there."""
    return uploads(server)


def test_nothing_is_left_on_the_disk(server, uploads_before):
    """Nothing that was refused is anywhere but in the database."""
    assert uploads(server) <= uploads_before
