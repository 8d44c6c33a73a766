"""Deleting: tasks and batches by their handles, and `wavetask.web.Batch` asking about many members at once."""

from __future__ import annotations

import harness
import pytest
import wavetask as wt
from wavetask import errors


@pytest.fixture
def cases(server):
    import handles_cases

    return handles_cases


def test_a_task_is_deleted_with_its_result(server, cases):
    task = wt.submit(cases.slab(51), name=cases.named("delete one"), cache=False, progress=False)
    assert cases.rise(task.result(timeout=60)) > 0
    task.delete()
    with pytest.raises(errors.NotFound):
        wt.open(task.id)
    assert all(row["id"] != task.id for row in wt.connect().tasks())


def test_a_batch_is_deleted_in_one_request_whatever_its_tasks_do(cases, own_server, tmp_path):
    server = own_server
    client = wt.connect(
        server.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client", current=False
    )
    name = cases.named("delete many")
    scan = client.submit(
        [cases.slab(60 + n) for n in range(20)], name=name, hold=True, cache=False, progress=False
    )
    harness.wait_until(lambda: all(task.status == "held" for task in scan.tasks), 120, "all are there")
    scan[0].start()
    scan[1].cancel()
    assert cases.rise(scan[0].result(timeout=60)) > 0
    before = harness.answered(server)
    scan.delete()
    asked = harness.answered(server) - before
    assert harness.members(server, name) == [] and client.tasks(batch=name) == []
    # The event stream's requests, and whatever goes on beside, are few; one for each task would be twenty.
    assert 1 <= asked <= 6, asked
    # What is named like it afterwards is new.
    again = client.submit([cases.slab(60)], name=name, progress=False)
    assert list(again) == ["0"] and cases.rise(again.results(timeout=60)["0"]) > 0


@pytest.fixture
def own_server(tmp_path):
    """A server that logs what it answers."""
    running = harness.Server(
        tmp_path / "data", environment={"WAVETASK_LOG": "info,wavetask_server::connection=debug"}
    ).start()
    yield running
    running.stop()


def test_the_clients_batch_asks_about_its_members_at_once(server, cases, tmp_path, monkeypatch):
    import wavetask.web as web
    from wavetask.web import _door

    monkeypatch.chdir(tmp_path)
    asked = []
    answer = _door._request

    def heard(method, path, body):
        asked.append((method, path))
        return answer(method, path, body)

    simulations = {f"n={n}": cases.slab(100 + n) for n in range(24)}
    batch = web.Batch(simulations=simulations, verbose=False)
    batch.run(path_dir=tmp_path)
    monkeypatch.setattr(_door, "_request", heard)
    for ask in (batch.get_info, batch.get_run_info, batch.real_cost, batch.estimate_cost):
        asked.clear()
        told = ask()
        assert asked == [("POST", "api/v1/tasks/details")], ask
        if isinstance(told, dict):
            assert list(told) == list(simulations)
        else:
            assert told > 0
    assert [info.taskName for info in batch.get_info().values()] == list(simulations)

    asked.clear()
    ids = [job.task_id for job in batch.jobs.values()]
    batch.delete()
    assert asked == [], "not one after the other"
    left = {row["id"] for row in wt.connect().tasks(limit=1000)}
    assert not left & set(ids)
