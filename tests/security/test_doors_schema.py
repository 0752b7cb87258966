"""The HTTP schema that the server publishes, and requests drawn from it and from beside it: none is a server error."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

OPERATIONS = [
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "GET /metadata",
    "GET /schema",
    "GET /state",
    "POST /reset",
    "POST /step",
    "POST /mcp",
    "GET /list_environments",
    "GET /{env_name}/splits",
    "POST /{env_name}/tasks",
    "POST /{env_name}/num_tasks",
    "POST /{env_name}/task",
    "POST /{env_name}/task_range",
]
BODIES = ["POST /reset", "POST /step", *(label for label in OPERATIONS if label.startswith("POST /{env_name}"))]
STARTING = {"GET /ready"}
"""Answered with 503 until the workers are there, as the schema says."""


@pytest.fixture(scope="module")
def operations(live_server: str) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{live_server}/openapi.json")
    return {operation.label: operation for result in schema.get_all_operations() for operation in [result.ok()]}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(OPERATIONS) == set(operations)


@pytest.mark.parametrize(
    ("label", "mode"),
    [(label, GenerationMode.POSITIVE) for label in OPERATIONS] + [(label, GenerationMode.NEGATIVE) for label in BODIES],
    ids=str,
)
def test_no_request_is_answered_with_a_server_error(
    operations: dict[str, Any], session: requests.Session, label: str, mode: GenerationMode
) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operations[label].as_strategy(generation_mode=mode))
    def law(case: Any) -> None:
        if label in BODIES and "env_name" in case.path_parameters:
            case.path_parameters["env_name"] = "ml_trainer_env"  # any other is not found, whatever the body
        response = case.call(session=session, timeout=60.0)
        assert response.status_code < 500 or (response.status_code == 503 and label in STARTING), response.text

    law()
