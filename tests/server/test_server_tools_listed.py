"""The tools as an agent finds them: names, docstrings, choices and bounds."""

from typing import Any

import pytest

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.server.tuning.tools import TOOLS

BOUNDED = [
    ("configure_training", "learning_rate", {"type": "number", "minimum": 1e-6, "maximum": 10}),
    ("configure_training", "batch_size", {"type": "string", "enum": ["32", "64", "128", "256"]}),
    ("configure_training", "weight_decay", {"type": "number", "minimum": 0, "maximum": 1}),
    ("configure_training", "dropout", {"type": "number", "minimum": 0, "maximum": 0.5}),
    ("configure_training", "warmup_epochs", {"type": "integer", "minimum": 0, "maximum": 20}),
    ("configure_training", "augmentation_strength", {"type": "number", "minimum": 0, "maximum": 1}),
    ("configure_training", "optimizer", {"type": "string", "enum": ["sgd", "adam", "adamw"]}),
    ("configure_training", "lr_schedule", {"type": "string", "enum": ["constant", "step", "cosine", "warmup_cosine"]}),
    ("configure_training", "augmentation", {"type": "boolean"}),
    ("configure_training", "reinitialize", {"type": "boolean"}),
    ("run_epochs", "num_epochs", {"type": "integer", "minimum": 1, "maximum": 20}),
    ("adjust_learning_rate", "new_lr", {"type": "number", "minimum": 1e-6, "maximum": 10}),
    ("toggle_augmentation", "enabled", {"type": "boolean"}),
    ("toggle_augmentation", "strength", {"type": "number", "minimum": 0, "maximum": 1}),
    ("save_checkpoint", "name", {"type": "string", "description": "1 to 64 letters, digits, . _ -"}),
    ("restore_checkpoint", "name", {"type": "string", "description": "1 to 64 letters, digits, . _ -"}),
]

REQUIRED = {
    "run_epochs": ["num_epochs"],
    "adjust_learning_rate": ["new_lr"],
    "toggle_augmentation": ["enabled"],
    "save_checkpoint": ["name"],
    "restore_checkpoint": ["name"],
}


@pytest.fixture
def schemas(env: MLTrainerEnv) -> dict[str, Any]:
    return {tool.name: tool.input_schema for tool in env.list_tools()}


def test_the_tools_are_listed_before_any_reset(env: MLTrainerEnv) -> None:
    assert [tool.name for tool in env.list_tools()] == list(TOOLS.names)


def test_every_tool_says_what_it_does(env: MLTrainerEnv) -> None:
    assert all(len(tool.description) > 20 for tool in env.list_tools())


@pytest.mark.parametrize(("tool", "parameter", "stated"), BOUNDED)
def test_a_parameter_states_its_choices_or_bounds(
    schemas: dict[str, Any], tool: str, parameter: str, stated: dict[str, Any]
) -> None:
    schema = schemas[tool]["properties"][parameter]

    assert stated.items() <= schema.items()
    assert schema["description"]


@pytest.mark.parametrize("tool", TOOLS.names)
def test_a_tool_refuses_a_parameter_that_it_does_not_list(env: MLTrainerEnv, tool: str) -> None:
    env.reset()
    with pytest.raises(ToolCallError, match="'made_up': Unexpected keyword argument"):
        env.call_tool(tool, made_up=1)


@pytest.mark.parametrize("tool", TOOLS.names)
def test_a_tool_says_which_parameters_it_needs_and_lists_no_others(schemas: dict[str, Any], tool: str) -> None:
    assert schemas[tool].get("required", []) == REQUIRED.get(tool, [])
    listed = {(name, parameter) for name, parameter, _ in BOUNDED if name == tool}
    assert {(tool, parameter) for parameter in schemas[tool]["properties"]} == listed
