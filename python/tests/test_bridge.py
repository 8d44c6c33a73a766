"""The bridge from the engine's threads to event loops and blocked threads: the part of the package that is different on
each system, so its tests run on all of them. They need neither a server nor tidy3d.
"""

import asyncio
import os
import selectors
import signal
import subprocess
import sys
import threading
import time

import pytest
from wavetask import _bridge, _native


def test_a_port_serves_blocked_threads():
    port = _native.Port()
    assert port.wait(0.01) == []
    threading.Timer(0.05, port.push, (7,)).start()
    began = time.monotonic()
    assert port.wait(5) == [7]
    assert time.monotonic() - began < 1
    with pytest.raises(ValueError, match="not a number"):
        port.wait(float("nan"))


@pytest.mark.skipif(os.name != "nt", reason="elsewhere there is a descriptor")
def test_a_port_without_a_descriptor_says_so():
    with pytest.raises(NotImplementedError):
        _native.Port().fileno()


@pytest.mark.skipif(os.name == "nt", reason="there is no descriptor")
def test_a_port_is_readable_exactly_while_tokens_are_there():
    port = _native.Port()
    port.push(1)
    with selectors.DefaultSelector() as selector:
        selector.register(port.fileno(), selectors.EVENT_READ)
        for _ in range(3):
            assert selector.select(0)
            port.push(2)
            assert port.drain()
            assert not selector.select(0)
            port.push(3)
        assert selector.select(0)


def test_no_token_is_lost_between_many_pushers_and_a_loop():
    count, pushers = 3_000, 4

    async def main():
        arrived = []
        here = _bridge.port()
        assert _bridge.port() is here
        tokens = [here.expect(lambda: arrived.append(1)) for _ in range(count * pushers)]
        threads = [
            threading.Thread(
                target=lambda part: [here.native.push(t) for t in part], args=(tokens[i::pushers],)
            )
            for i in range(pushers)
        ]
        for thread in threads:
            thread.start()
        while len(arrived) < len(tokens):
            await asyncio.sleep(0.001)
        for thread in threads:
            thread.join()

    asyncio.run(asyncio.wait_for(main(), 30))
    asyncio.run(asyncio.wait_for(main(), 30))


def loops():
    """The kinds of event loops of this system: on Windows, one that watches descriptors and one that cannot."""
    names = ("ProactorEventLoop", "SelectorEventLoop")
    return [getattr(asyncio, name) for name in names if hasattr(asyncio, name)]


@pytest.mark.parametrize("kind", loops())
def test_every_kind_of_loop_is_woken(kind):
    async def main():
        await _bridge.finished(lambda port, token: port.push(token))
        await _bridge.finished(lambda port, token: threading.Timer(0.05, port.push, (token,)).start())

    loop = kind()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 10))
    finally:
        loop.close()


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop like Windows' Proactor."""

    def add_reader(self, *_):
        raise NotImplementedError


def test_loops_that_watch_no_descriptors_are_woken_by_a_thread():
    async def main():
        await _bridge.finished(lambda port, token: threading.Timer(0.05, port.push, (token,)).start())

    loop = WithoutReaders()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 10))
    finally:
        loop.close()


def test_cancelling_a_wait_forgets_it():
    async def main():
        waiting = asyncio.ensure_future(_bridge.finished(lambda port, token: None))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not _bridge.port()._calls

    asyncio.run(main())


def test_ctrl_c_ends_a_wait_within_its_slice():
    def interrupt():
        time.sleep(0.2)
        if os.name == "nt":
            # There, killing ends the process whatever it has made of the signal.
            signal.raise_signal(signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _native.Port().wait(30)
    assert time.monotonic() - began < 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told_and_not_left_waiting():
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
from wavetask import _native, _bridge
port = _native.Port()
child = os.fork()
if child == 0:
    try:
        port.wait(1)
    except RuntimeError as error:
        assert "forked child" in str(error), error
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
port.push(1)
assert port.wait(1) == [1]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
