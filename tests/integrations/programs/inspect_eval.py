"""Evaluates the model of an OpenAI-compatible endpoint on a task of Inspect. Prints the log of its sample."""

import json
import sys

from inspect_ai import eval as evaluate

from ml_trainer_env.integrations.inspect_ai import ml_fleet, ml_trainer


def main(game: str, url: str, folder: str) -> None:
    task = {"tuning": ml_trainer, "fleet": ml_fleet}[game](base_url=url, count=1)
    (log,) = evaluate(task, model="openai-api/scripted/scripted", log_dir=folder, display="none")
    assert log.status == "success", log.error
    (sample,) = log.samples
    score = sample.scores["episode_score"]
    facts = {
        "id": sample.id,
        "score": score.value,
        "explanation": score.explanation,
        "metadata": score.metadata,
        "answers": [message.text for message in sample.messages if message.role == "tool"],
        "errors": [message.error.message for message in sample.messages if message.role == "tool" and message.error],
        "prompts": [message.text for message in sample.messages if message.role == "user"],
        "mean": log.results.scores[0].metrics["mean"].value,
        "arguments": log.eval.task_args,
    }
    print(json.dumps(facts))


main(*sys.argv[1:])
