"""Prompts for a language model: the task, its tools, and the state in a few lines. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.agent import Outcome
from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["answer", "countdown", "describe", "function_definitions", "instructions", "summary", "task", "tell"]


def instructions(decisions: int) -> str:
    """Write the system message.

    Args:
        decisions: Total number of decisions, including the submission.
    """
    return (
        "You are an experienced machine learning engineer. You train a real model on a "
        "fixed budget of epochs by calling tools, and the model you submit is graded.\n"
        f"You have {decisions} decisions for the whole episode. Every tool call is one "
        "decision, and so is a malformed call, a refused call, or an answer without a call. "
        "Submit your model by submit_model with the last decision at the latest: an episode "
        "that you do not submit yourself counts 0.\n"
        "run_epochs trains at most 20 epochs a call, so plan: usually one call to configure "
        "everything at once, then long runs, with a change between them only where the "
        "figures call for it. Epochs that are spent never come back.\n"
        "Always answer with a tool call. Several calls in one answer are carried out in "
        "order, a decision each, up to the first that fails."
    )


def task(brief: Brief, decisions_left: int) -> str:
    """Write the first user message: the task and the state."""
    return f"{describe(brief)}\n{countdown(decisions_left)}"


def describe(brief: Brief) -> str:
    """Write the task and the state."""
    data = brief.dataset
    stand_in = " (synthetic stand-in images)" if data.source == "synthetic" else ""
    data_line = (
        f"Network: {brief.network}, {brief.parameter_count:,} parameters. "
        f"Data: {data.name}{stand_in}, {data.train_size:,} training and "
        f"{data.validation_size:,} validation images."
    )
    return "\n".join(
        (
            f"Task {brief.task_id} ({brief.difficulty}): {brief.name}. {brief.description}",
            data_line,
            f"Budget: {_format_budget(brief)}. Target: {brief.target_metric} {brief.target_value}.",
            summary(brief.status),
        )
    )


def summary(reply: Reply) -> str:
    """Summarise an observation in a few lines. Missing values are omitted."""
    gap = _difference(reply.get("train_accuracy"), reply.get("val_accuracy"))
    lines = [
        _join(
            f"epoch {_format(reply.get('current_epoch'))} of {_format(reply.get('max_epochs'))}",
            f"{_format(reply.get('remaining_budget'))} left",
            _format_named("seconds of training left", reply.get("remaining_seconds")),
            f"signal: {reply.get('convergence_signal', 'unknown')}",
            _format_named("learning rate", reply.get("learning_rate")),
            "DIVERGED" if reply.get("is_diverged") else "",
        ),
        _join(
            _format_pair("loss", reply.get("train_loss"), reply.get("val_loss")),
            _format_pair("accuracy", reply.get("train_accuracy"), reply.get("val_accuracy")),
            _format_named("gap", gap),
        ),
        _join(
            _format_named("best val accuracy", reply.get("best_val_accuracy")),
            _format_named("at epoch", reply.get("best_val_epoch")),
        ),
        _format_history("val loss, last epochs", reply.get("val_loss_history_last_10")),
        _format_settings(reply.get("configuration")),
    ]
    return "\n".join(line for line in lines if line)


def answer(outcome: Outcome, decisions_left: int) -> str:
    """Write the answer to a call."""
    if outcome.reply is None:
        return f"Error: {outcome.refusal}\n{countdown(decisions_left)}"
    return f"{tell(outcome.reply)}\n{countdown(decisions_left)}"


def tell(reply: Reply) -> str:
    """Write a reply: its message, its reward, and the state."""
    head = _join(str(reply.get("message") or "Done."), _format_named("reward", reply.get("reward")))
    parts = (head, summary(reply), _format_checkpoints(reply.get("checkpoints")))
    return "\n".join(part for part in parts if part)


def countdown(decisions_left: int) -> str:
    """Write how many decisions are left, including the submission."""
    if decisions_left == 0:
        return "No decisions left."
    if decisions_left == 1:
        return "This is your last decision: call submit_model now, or the episode counts 0."
    return f"Decisions left, the submission included: {decisions_left}."


def function_definitions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Convert tools to the format of the chat completions API."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": {"type": "object", "properties": {}} | _without_titles(tool.input_schema),
            },
        }
        for tool in tools
    ]


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the generated titles from a schema. They cost tokens and add no information."""
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, Mapping):
            kept[key] = {name: _without_titles(part) for name, part in value.items()}
        elif isinstance(value, Mapping):
            kept[key] = _without_titles(value)
        elif key in ("anyOf", "oneOf", "allOf") and isinstance(value, list):
            kept[key] = [_without_titles(part) for part in value]
        elif key != "title":
            kept[key] = value
    return kept


def _format_budget(brief: Brief) -> str:
    epochs = f"{brief.budget_epochs} epochs"
    return epochs if brief.budget_seconds is None else f"{epochs} and {brief.budget_seconds:g} seconds of training"


def _format(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _format_named(name: str, value: object) -> str:
    return "" if value is None else f"{name} {_format(value)}"


def _format_pair(name: str, train: object, val: object) -> str:
    if train is None and val is None:
        return ""
    return f"{name} train {_format(train)} val {_format(val)}"


def _difference(train: object, val: object) -> float | None:
    if isinstance(train, int | float) and isinstance(val, int | float):
        return round(float(train) - float(val), 4)
    return None


def _join(*parts: str) -> str:
    return " | ".join(part for part in parts if part)


def _format_history(name: str, values: object) -> str:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return ""
    return f"{name}: {' '.join(_format(value) for value in values)}"


def _format_settings(configuration: object) -> str:
    if not isinstance(configuration, Mapping) or not configuration:
        return ""
    listed = ", ".join(f"{name} {_format(value)}" for name, value in configuration.items())
    return f"settings: {listed}"


def _format_checkpoints(checkpoints: object) -> str:
    return f"checkpoints: {checkpoints}" if checkpoints else ""
