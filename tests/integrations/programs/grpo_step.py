"""Trains a small model for one step of TRL's GRPOTrainer on a real server. Prints what TRL logged and what it saw.

The model has one layer and 32 dimensions. It is taught beforehand to answer everything with two tool calls, an epoch
and the submission, each of them one token. It is saved in the folder `model`.
"""

import json
import sys
from functools import partial

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from ml_trainer_env.integrations.trl import FleetGame, TuningGame, train_dataset

CALLS = tuple(
    f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
    for name, arguments in (("run_epochs", {"num_epochs": 1}), ("submit_model", {}))
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core = Tokenizer(models.BPE({character: number for number, character in enumerate(sorted(alphabet))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(["<|im_start|>", *CALLS])
    tokenizer.chat_template = qwen3_chat_template
    return tokenizer


def taught_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Train."}], tokenize=False)
    text = f"{chat}<|im_start|>assistant\n{''.join(CALLS)}<|im_end|>"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        logits = model(ids).logits[0, -4:-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, -3:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 1e-4:
            break
    return model


def main(url: str, folder: str) -> None:
    tokenizer = make_tokenizer()
    trainer = GRPOTrainer(
        model=taught_model(tokenizer),
        processing_class=tokenizer,
        train_dataset=train_dataset("tuning/validation", range(2), seeds=[1]),
        environment_factory=partial(TuningGame, url),
        args=GRPOConfig(
            output_dir=folder,
            max_steps=1,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=4096,
            max_tool_calling_iterations=1,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=False,
        ),
    )
    trainer.train()
    trainer.save_model(f"{folder}/model")
    schemas = {
        game.__name__: [get_json_schema(tool)["function"] for tool in tools_of(game)]
        for game in (TuningGame, FleetGame)
    }
    print(json.dumps({"log": trainer.state.log_history[0], "schemas": schemas}))


def tools_of(game: type) -> list:
    """The methods that TRL takes for tools, as it finds them."""
    names = [name for name in dir(game) if not name.startswith("_") and name not in ("reset", "get_reward")]
    return [getattr(game(), name) for name in names]


main(*sys.argv[1:])
