"""What the server counts, and the routes of whoever runs it."""

import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from ml_trainer_env.server.operations.metrics import Outcome, Telemetry
from ml_trainer_env.server.operations.probes import probe_routes

LIVENESS_S = 240.0


def samples(exposition: bytes | str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every figure by name and labels, as Prometheus reads them."""
    text = exposition.decode() if isinstance(exposition, bytes) else exposition
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(telemetry: Telemetry, name: str, **labels: str) -> float:
    return samples(telemetry.exposition())[(f"ml_trainer_{name}", frozenset(labels.items()))]


class TestTelemetry:
    """The figures."""

    def test_calls_are_timed_by_tool_and_outcome(self) -> None:
        telemetry = Telemetry(["run_epochs"])

        telemetry.call("run_epochs", Outcome.OK, 0.25)
        telemetry.call("run_epochs", Outcome.OK, 2.0)
        telemetry.call("run_epochs", Outcome.REFUSED, 0.001)

        assert figure(telemetry, "call_seconds_count", tool="run_epochs", outcome="ok") == 2
        assert figure(telemetry, "call_seconds_sum", tool="run_epochs", outcome="ok") == 2.25
        assert figure(telemetry, "call_seconds_bucket", tool="run_epochs", outcome="ok", le="0.3") == 1
        assert figure(telemetry, "call_seconds_count", tool="run_epochs", outcome="refused") == 1

    def test_whoever_calls_makes_up_no_labels(self) -> None:
        telemetry = Telemetry(["run_epochs"])

        for number in range(1_000):
            telemetry.call(f"made_up_{number}\ud800", Outcome.REFUSED, 0.0)

        assert figure(telemetry, "call_seconds_count", tool="unknown", outcome="refused") == 1_000
        assert b"made_up" not in telemetry.exposition()

    def test_epochs_are_counted_by_where_they_came_from_and_timed_where_they_were_trained(self) -> None:
        telemetry = Telemetry()

        telemetry.epoch("train", 0.5, from_cache=False)
        telemetry.epoch("train", 0.5, from_cache=True)
        telemetry.epoch("train", 0.5, from_cache=True)

        assert figure(telemetry, "epochs_total", split="train", source="trained") == 1
        assert figure(telemetry, "epochs_total", split="train", source="cache") == 2
        assert figure(telemetry, "epoch_seconds_count", split="train") == 1

    def test_a_figure_that_is_watched_is_asked_for_when_it_is_read_and_not_before(self) -> None:
        telemetry, asked = Telemetry(), []
        telemetry.watch("sessions", "Sessions now.", lambda: asked.append(1) or len(asked))
        telemetry.watch("worker_deaths", "Workers lost.", lambda: 7, only_grows=True)
        assert asked == []

        assert [figure(telemetry, "sessions"), figure(telemetry, "sessions")] == [1, 2]
        assert figure(telemetry, "worker_deaths_total") == 7

    def test_a_name_is_watched_once(self) -> None:
        telemetry = Telemetry()
        telemetry.watch("sessions", "Sessions now.", lambda: 1)

        with pytest.raises(ValueError, match="sessions"):
            telemetry.watch("sessions", "Sessions now.", lambda: 2)

    def test_servers_in_one_process_count_apart(self) -> None:
        one, other = Telemetry(), Telemetry()

        one.epoch("easy_mnist", 0.5, from_cache=False)

        assert b"easy_mnist" not in other.exposition()


class TestProbes:
    """The routes."""

    def client(self, is_ready: Any) -> TestClient:
        app = FastAPI()
        app.include_router(probe_routes(Telemetry(), is_ready))
        return TestClient(app)

    def test_it_is_ready_when_it_is(self) -> None:
        ready = False
        client = self.client(lambda: ready)

        assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "starting"})
        ready = True
        assert (client.get("/ready").status_code, client.get("/ready").json()) == (200, {"status": "ready"})

    def test_it_tells_why_it_is_not_ready(self) -> None:
        app = FastAPI()
        app.include_router(probe_routes(Telemetry(), lambda: False, lambda: "no worker can be started: why"))
        answer = TestClient(app).get("/ready")

        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready", "reason": "no worker can be started: why"}

    def test_figures_are_text_for_prometheus(self) -> None:
        response = self.client(lambda: True).get("/metrics")

        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=")
        assert response.headers["content-type"].count("charset") == 1


def test_a_server_gets_ready_and_shows_figures_that_prometheus_can_read(http: httpx.Client) -> None:
    ends_at = time.monotonic() + LIVENESS_S
    while http.get("/ready").json() != {"status": "ready"}:
        assert time.monotonic() < ends_at, "the server is not ready"
        time.sleep(0.1)

    assert samples(http.get("/metrics").text) is not None
