"""An episode as a Python script that repeats its calls, as JSON lines, and as CSV. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.server.room.views import View

__all__ = ["as_csv", "as_json_lines", "as_python"]

_CLIENTS = {
    "MLTrainerEnv": "from ml_trainer_env import MLTrainerEnv",
    "FleetEnv": "from ml_trainer_env.fleet_client import FleetEnv",
}


def as_python(facts: Mapping[str, Any], view: View, calls: Sequence[Mapping[str, Any]]) -> str:
    """Return a script that repeats the calls that were accepted.

    Args:
        facts: The initial facts of the episode, as `observed_header` returns them.
        view: The view of its game.
        calls: Its calls, as `observed_call` returns them.
    """
    client = view.client
    lines = [
        "import os",
        "",
        _CLIENTS[client],
        "",
        'token = os.environ.get("ML_TRAINER_TOKEN")  # the server\'s, if it has one',
        'headers = {"Authorization": f"Bearer {token}"} if token else {}',
        f'with {client}(base_url="http://localhost:8000", headers=headers) as env:',
        f"    env.reset(task_id={facts['task']!r}, seed={facts['seed']!r}, rubric={facts['rubric']!r})",
    ]
    for call in calls:
        if call["reply"] is not None:
            given = "".join(f", {name}={value!r}" for name, value in call["arguments"].items() if name.isidentifier())
            lines.append(f"    env.call_tool({call['tool']!r}{given})")
    return "\n".join(lines) + "\n"


def as_json_lines(facts: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> str:
    """Return the episode and its calls, a JSON object a line."""
    return "".join(json.dumps(one) + "\n" for one in (facts, *calls))


def as_csv(unit: str, rows: Mapping[str, Sequence[Any]]) -> str:
    """Return the figures of the units, a line for each. A missing figure is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([unit, *rows])
    writer.writerows([number, *values] for number, values in enumerate(zip(*rows.values(), strict=True), 1))
    return text.getvalue()
