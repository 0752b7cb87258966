"""Plays an episode through NeMo Gym's own resources server for OpenEnv. Prints its addresses and what it answered."""

import json
import sys

from fastapi.testclient import TestClient
from nemo_gym.openai_utils import NeMoGymResponseCreateParamsNonStreaming
from nemo_gym.server_utils import BaseServerConfig, ServerClient
from omegaconf import DictConfig, OmegaConf
from resources_servers.openenv.app import OpenEnvResourcesServer, OpenEnvResourcesServerConfig

from ml_trainer_env.integrations.nemo_gym import TuningEnvironment, input_row


def main(configuration: str, calls: str) -> None:
    settings = OmegaConf.load(configuration).ml_trainer_resources_server.resources_servers.openenv
    config = OpenEnvResourcesServerConfig(
        host="127.0.0.1", port=0, name="ml_trainer", **OmegaConf.to_container(settings)
    )
    head = BaseServerConfig(host="127.0.0.1", port=0)  # a resources server alone does not call the head server
    client = ServerClient(head_server_config=head, global_config_dict=DictConfig({}))
    app = OpenEnvResourcesServer(config=config, server_client=client).setup_webserver()
    row = input_row(TuningEnvironment(), config.reset_kwargs["task_id"])["responses_create_params"]
    asked = NeMoGymResponseCreateParamsNonStreaming.model_validate(row)
    with TestClient(app) as http:
        assert http.post("/seed_session", json={}).status_code == 200
        answers = [http.post(f"/{name}", json=arguments).json() for name, arguments in json.loads(calls)]
        verified = http.post("/verify", json={"responses_create_params": row, "response": empty_response()})
        assert verified.status_code == 200, verified.text
    facts = {
        "addresses": sorted(route.path for route in app.routes),
        "answers": answers,
        "reward": verified.json()["reward"],
        "asked": [message.content for message in asked.input],
        "tools": [tool["name"] for tool in row["tools"]],
    }
    print(json.dumps(facts))


def empty_response() -> dict:
    """The model's answer, as the agent server hands it in. The resources server does not read it."""
    return {
        "id": "response",
        "created_at": 0,
        "model": "scripted",
        "object": "response",
        "output": [],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }


main(*sys.argv[1:])
