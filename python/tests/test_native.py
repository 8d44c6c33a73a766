"""The native half by itself: views of arrays, and hashing without the interpreter lock."""

import asyncio
import time
import weakref

import numpy as np
import pytest
from wavetask import _native, errors

A = np.arange(24.0).reshape(2, 3, 4)


def digest(value, json="{}"):
    return _native.pack("HEAT", json, [("a", value)]).digest


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "u1", "c16", "c8"])
def test_the_same_numbers_are_the_same_however_they_lie(dtype):
    array = A.astype(dtype)
    if np.iscomplexobj(array):
        array = array + np.array(1j * A[::-1], dtype)
    plain = digest(array)
    assert digest(array.copy()) == plain
    assert digest(np.asfortranarray(array)) == plain
    assert digest(array.astype(array.dtype.newbyteorder(">"))) == plain
    assert digest(np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))) == plain
    assert digest(np.stack([array, array + 1], -1)[..., 0]) == plain
    assert digest(np.ascontiguousarray(array[::-1, :, ::-1])[::-1, :, ::-1]) == plain
    other = array.copy()
    other[1, 2, 3] += 1
    assert digest(other) != plain
    assert digest(array.reshape(3, 2, 4)) != plain


def test_arrays_of_every_shape():
    assert digest(np.broadcast_to(np.float64(2), (3, 4))) == digest(np.full((3, 4), 2.0))
    assert digest(np.array(3.0)) != digest(np.array([3.0]))
    assert digest(np.empty((0, 3))) != digest(np.empty((3, 0)))
    assert digest(np.asfortranarray(np.empty((0, 3)))) == digest(np.empty((0, 3)))
    assert digest(np.array([True, False])) == digest(np.array([1, 0], "u1"))
    assert digest(["+", "-"]) != digest(["+-"])
    assert digest([]) != digest(["", ""])
    assert digest(np.array(5, ">f8")) == digest(np.array(5.0))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (A.astype("f2"), ValueError),
        (np.array(["text"]), ValueError),
        (np.array([object()]), ValueError),
        (np.array([1], "datetime64[s]"), ValueError),
        ([1, 2], TypeError),
        ("text", TypeError),
        (None, TypeError),
    ],
)
def test_what_no_document_holds_is_refused_by_path(value, error):
    with pytest.raises(error, match="`deep/inside`"):
        _native.pack("HEAT", "{}", [("deep/inside", value)])


def test_malformed_documents_are_refused():
    with pytest.raises(errors.InvalidSimulation):
        _native.pack("HEAT", "{", [])
    with pytest.raises(errors.InvalidSimulation):
        _native.pack("HEAT", "{}", [("../x", A)])
    with pytest.raises(errors.InvalidSimulation):
        _native.pack("HEAT", "{}", [("x", A), ("x", A)])
    with pytest.raises(ValueError, match="no task of the kind"):
        _native.pack("SOUP", "{}", [])
    assert _native.pack("HeatSimulation", "{}", []).digest == _native.pack("HEAT", "{}", []).digest


def test_views_keep_their_array_alive_and_let_go_of_it():
    array = np.arange(10.0)
    gone = weakref.ref(array)
    packed = _native.pack("HEAT", "{}", [("a", array)])
    del array
    assert gone() is not None
    assert packed.array_bytes == 80
    del packed
    _native.Port().wait(0)
    assert gone() is None


def test_contiguous_arrays_are_not_copied():
    resource = pytest.importorskip("resource")
    array = np.ones(40_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    packed = _native.pack("HEAT", "{}", [("a", array)])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert packed.array_bytes == 320_000_000
    assert grown < 60, f"{grown} MiB more for 305 MiB of array"


def test_an_event_loop_keeps_ticking_while_a_gigabyte_is_packed():
    """A 100 ms tick stays under 10 ms late; the best of five tries counts, for other programs make it late, too."""
    array = np.ones(1_000_000_000 // 8)

    async def latest(work):
        late, stop = [], False

        async def tick():
            while not stop:
                began = time.perf_counter()
                await asyncio.sleep(0.1)
                late.append(time.perf_counter() - began - 0.1)

        ticking = asyncio.ensure_future(tick())
        await asyncio.to_thread(work)
        stop = True
        await ticking
        return max(late)

    def packing():
        for _ in range(3):
            _native.pack("HEAT", "{}", [("a", array)])

    tries = []
    while len(tries) < 5 and min(tries, default=1.0) >= 0.010:
        tries.append(asyncio.run(latest(packing)))
    print(f"the latest tick: {min(tries) * 1e3:.1f} ms")
    # With the lock held it would be late by all the time that a gigabyte takes.
    assert min(tries) < 0.010
