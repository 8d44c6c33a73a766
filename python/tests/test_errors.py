"""Errors are classes by what to do next, and Python's own where it has a name for the situation."""

import pickle

import pytest
from wavetask import errors


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.TimedOut, TimeoutError),
        (errors.Usage, ValueError),
        (errors.InvalidSimulation, ValueError),
        (errors.NotFound, KeyError),
        (errors.NotFound, LookupError),
        (errors.ConnectionLost, ConnectionError),
        (errors.Unauthorized, PermissionError),
        (errors.Diverged, ArithmeticError),
    ],
)
def test_python_names(ours, theirs):
    assert issubclass(ours, theirs) and issubclass(ours, errors.WavetaskError)


def test_cancelled_is_not_that_of_asyncio():
    import asyncio

    assert not issubclass(errors.Cancelled, asyncio.CancelledError)


def test_every_group_has_its_class():
    groups = [name for name in errors.__all__ if name != "WavetaskError"]
    for group in groups:
        error = errors.make(group, "a.code", "what happened", "do this", "task-1", ["because", "of this"])
        assert type(error) is getattr(errors, group)
        assert (error.code, error.hint, error.task_id) == ("a.code", "do this", "task-1")
        assert str(error) == "task-1: what happened\n  hint: do this"
        assert str(error.__cause__) == "because" and str(error.__cause__.__cause__) == "of this"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.code) == (type(error), str(error), error.code)
    assert type(errors.make("SomethingNewer", "", "", None, None, [])) is errors.WavetaskError
