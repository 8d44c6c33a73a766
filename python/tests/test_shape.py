"""Nested containers to keys and back."""

import collections

import pytest
from wavetask import _shape, errors

Pair = collections.namedtuple("Pair", "left right")


def there_and_back(container):
    members, shape = _shape.flatten(container)
    values = dict(members)
    return _shape.rebuild(shape, values.__getitem__)


@pytest.mark.parametrize(
    "container",
    [
        [],
        {},
        [1, 2, 3],
        (1, [2, (3,)], {"a": 4}),
        {"I=4mA": [1, 2], "I=5mA": {"x": 3, "y": (4, 5)}},
        {0.004: 1, 7: 2, None: 3},
        [Pair(1, Pair(2, [3]))],
        {"a/b": 1, "a": {"c": 2}},
    ],
)
def test_containers_keep_their_shape(container):
    again = there_and_back(container)
    assert again == container
    assert type(again) is type(container)


def test_keys_are_paths_in_order():
    members, _ = _shape.flatten({"I=4mA": ["a", "b"], "rest": ("c",)})
    assert members == [("I=4mA/0", "a"), ("I=4mA/1", "b"), ("rest/0", "c")]


@pytest.mark.parametrize(
    "container",
    [
        {"a/b": 1, "a": {"b": 2}},  # the same key twice
        {1: "x", "1": "y"},
        {"": 1},
        {".": 1},
        {"a\nb": 1},
        {"k" * 300: 1},
        [{1, 2}],
        [iter([1])],
    ],
)
def test_what_cannot_be_a_batch_is_refused(container):
    with pytest.raises(errors.Usage):
        _shape.flatten(container)


def test_a_container_within_itself_ends():
    endless = []
    endless.append(endless)
    with pytest.raises(errors.Usage, match="nested more than"):
        _shape.flatten(endless)


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        (["0", "1", "2"], ["0", "1", "2"]),
        (["a/0", "a/1", "b"], {"a": ["a/0", "a/1"], "b": "b"}),
        (["0", "2"], {"0": "0", "2": "2"}),
        (["a", "a/b"], {"a": "a", "a/b": "a/b"}),
        (["a//b", "/"], {"a//b": "a//b", "/": "/"}),
        ([], {}),
    ],
)
def test_shapes_are_guessed_from_keys(keys, shape):
    assert _shape.rebuild(_shape.guess(keys), lambda key: key) == shape


def test_no_key_is_lost_by_guessing():
    keys = ["a", "a/b", "a/b/c", "x/0", "x/1/y", "x/1", "0"]
    found = []
    _shape.rebuild(_shape.guess(keys), found.append)
    assert sorted(found) == sorted(keys)
