"""A chat that is exported renders in the chat templates of today, and the calls can be read back from the text.

The templates are those that TRL ships, rendered with the settings of transformers. Each format has a reader here, which
takes the calls from the text as the server of such a model does from what the model wrote.
"""

import asyncio
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ml_trainer_env.server.commands.journal import main
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.errors import ConfigError

Call = tuple[str, dict[str, Any]]

CALLS: list[Call] = [
    ("get_training_status", {}),
    (
        "configure_training",
        {
            "optimizer": "adamw", "learning_rate": 1e-05, "batch_size": 64, "weight_decay": 0.0,
            "lr_schedule": "cosine", "augmentation": False, "reinitialize": True,
        },
    ),
    ("run_epochs", {"num_epochs": 1}),
    ("configure_training", {"optimizer": 'li"on\n<é>', "dropout": None}),  # refused: what a model may well write
    ("save_checkpoint", {"name": "7"}),
    ("adjust_learning_rate", {"new_lr": 0.5}),
    ("toggle_augmentation", {"enabled": True, "strength": 0.25}),
    ("restore_checkpoint", {"name": "7"}),
    ("submit_model", {}),
]  # fmt: skip


async def play(services: Services) -> None:
    opened = await services.registry.open(EpisodeRequest(episode_id="chatty"))
    for tool, arguments in CALLS:
        try:
            await opened.call(tool, arguments)
        except (EpisodeError, ConfigError):
            continue


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("chatty")
    settings = Settings.from_environment({"ML_TRAINER_STATE_DIR": str(state), "ML_TRAINER_DOWNLOAD": "no"})

    async def served() -> None:
        services = Services(settings, InProcessExecutor(settings.torch_threads, probe=PROBE))
        try:
            await play(services)
        finally:
            await services.close()

    asyncio.run(served())
    return state


@pytest.fixture
def export(
    played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(played))
    monkeypatch.setenv("ML_TRAINER_DOWNLOAD", "no")

    def exported(*options: str) -> dict[str, Any]:
        assert main(["export", "chatty", "--format", "chat", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return exported


def between(text: str, begin: str, end: str) -> Iterator[str]:
    return (found[1] for found in re.finditer(f"{re.escape(begin)}(.*?){re.escape(end)}", text, re.DOTALL))


def read_tagged_json(text: str, _: dict[str, Any]) -> Iterator[Call]:
    """Qwen 2.5 and 3: JSON in <tool_call>, in a turn of the assistant."""
    for turn in between(text, "<|im_start|>assistant", "<|im_end|>"):
        for call in between(turn, "<tool_call>\n", "\n</tool_call>"):
            read = json.loads(call)
            yield read["name"], read["arguments"]


def read_llama(text: str, _: dict[str, Any]) -> Iterator[Call]:
    """Llama 3.1: the whole turn is JSON."""
    for turn in between(text, "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"):
        read = json.loads(turn)
        yield read["name"], read["parameters"]


def read_deepseek(text: str, _: dict[str, Any]) -> Iterator[Call]:
    """DeepSeek V3: JSON in a fenced block, behind the tool's name."""
    for call in between(text, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```<｜tool▁call▁end｜>"):  # noqa: RUF001
        name, arguments = call.split("\n```json\n")
        yield name, json.loads(arguments)


def read_harmony(text: str, _: dict[str, Any]) -> Iterator[Call]:
    """gpt-oss: a message to the tool, on the commentary channel."""
    for call in between(text, "<|start|>assistant to=functions.", "<|call|>"):
        name, arguments = call.split("<|channel|>commentary json<|message|>")
        yield name, json.loads(arguments)


def read_glm(text: str, tools: dict[str, Any]) -> Iterator[Call]:
    """GLM 4: a pair of tags an argument. A text stands as it is, anything else as JSON: the schema tells them apart."""
    for turn in re.split(r"<\|(?:user|observation|system)\|>", text):
        for call in between(turn, "<|assistant|>\n<think></think>\n<tool_call>", "\n</tool_call>"):
            name, *pairs = call.split("\n<arg_key>")
            keys_and_values = [pair.removesuffix("</arg_value>").split("</arg_key>\n<arg_value>") for pair in pairs]
            types = {key: schema.get("type") for key, schema in tools[name.strip()]["properties"].items()}
            arguments = {
                key: value if types[key] == "string" else json.loads(value)
                for key, value in map(tuple, keys_and_values)
            }
            yield name.strip(), arguments


def read_gemma(text: str, _: dict[str, Any]) -> Iterator[Call]:
    """Gemma 4: bare keys, and texts in a quote of their own. Quoted as JSON quotes them, that is JSON."""
    for call in between(text, "<|tool_call>call:", "<tool_call|>"):
        name, body = call.split("{", 1)
        parts = body.removesuffix("}").split('<|"|>')
        plain = [re.sub(r"(^|,)([a-z_]+):", r'\1"\2":', part) for part in parts[::2]]
        quoted = [json.dumps(part) for part in parts[1::2]]
        whole = "".join(part for pair in zip(plain, [*quoted, ""], strict=True) for part in pair)
        yield name, json.loads("{" + whole + "}")


def read_pythonic_tags(text: str, tools: dict[str, Any]) -> Iterator[Call]:
    """Qwen 3.5 and later: <function=name> and <parameter=key>."""
    for turn in between(text, "<|im_start|>assistant", "<|im_end|>"):
        for call in between(turn, "<tool_call>\n<function=", "</function>\n</tool_call>"):
            name, rest = call.split(">\n", 1)
            types = {key: schema.get("type") for key, schema in tools[name]["properties"].items()}
            found = re.findall(r"<parameter=(\w+)>\n(.*?)\n</parameter>\n", rest, re.DOTALL)
            yield name, {key: value if types[key] == "string" else json.loads(value) for key, value in found}


@dataclass(frozen=True)
class Form:
    """A template and how its calls are read.

    Attributes:
        read: Takes the calls from a text, with the parameters of each tool at hand.
        arguments: The option of the export that the template wants.
    """

    read: Callable[[str, dict[str, Any]], Iterator[Call]]
    arguments: str = "object"


FORMS = {
    "qwen2_5": Form(read_tagged_json),
    "qwen2_5_training": Form(read_tagged_json),
    "qwen3": Form(read_tagged_json),
    "qwen3_training": Form(read_tagged_json),
    "qwen3_instruct_2507": Form(read_tagged_json),
    "qwen3_6": Form(read_pythonic_tags),
    "llama3_1": Form(read_llama),
    "gemma4_v5": Form(read_gemma),
    "glm4moe": Form(read_glm),
    "glm4moe_training": Form(read_glm),
    "deepseekv3": Form(read_deepseek, arguments="json"),
    "deepseekv3_training": Form(read_deepseek),
    "gptoss": Form(read_harmony),
    "gptoss_training": Form(read_harmony),
}


class Generation(Extension):
    """Renders what {% generation %} encloses. It marks what a model is trained on."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def refuse(message: str) -> None:
    raise TemplateError(message)


def rendered(template: str, row: dict[str, Any]) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, ensure_ascii=False, **options: json.dumps(
        value, ensure_ascii=ensure_ascii, **options
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return environment.from_string(template).render(
        messages=row["messages"], tools=row["tools"], bos_token="<s>", add_generation_prompt=False
    )


def template_of(name: str) -> str:
    """The template of that name that TRL ships. TRL itself is not imported: what it depends on is not installed."""
    trl = importlib.util.find_spec("trl")
    if trl is None or trl.origin is None:
        pytest.skip("trl, which ships the chat templates, is not installed")
    return (Path(trl.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMS)
def test_the_calls_are_read_back_from_the_text_that_a_template_renders(
    name: str, export: Callable[..., dict[str, Any]]
) -> None:
    form = FORMS[name]
    row = export("--arguments", form.arguments)
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}

    text = rendered(template_of(name), row)

    assert list(form.read(text, tools)) == CALLS


@pytest.mark.parametrize("name", FORMS)
def test_every_reply_and_every_tool_is_in_the_text(name: str, export: Callable[..., dict[str, Any]]) -> None:
    row = export("--arguments", FORMS[name].arguments)

    text = rendered(template_of(name), row)

    contents = [message["content"] for message in row["messages"]]
    assert [content for content in contents if content not in text and json.dumps(content) not in text] == []
    if "deepseek" not in name:  # whose template has no place for tools
        assert [tool["function"]["name"] for tool in row["tools"] if tool["function"]["name"] not in text] == []


def test_arguments_are_objects(export: Callable[..., dict[str, Any]]) -> None:
    assert [call["arguments"] for call in calls_in(export())] == [arguments for _, arguments in CALLS]


def test_arguments_are_text_where_that_is_asked_for(export: Callable[..., dict[str, Any]]) -> None:
    given = [call["arguments"] for call in calls_in(export("--arguments", "json"))]

    assert [json.loads(text) for text in given] == [arguments for _, arguments in CALLS]


def test_no_message_has_a_null_besides_the_arguments_that_a_model_gave(export: Callable[..., dict[str, Any]]) -> None:
    for message in export()["messages"]:
        assert isinstance(message["content"], str)
        assert None not in message.values()


def test_a_reply_names_the_tool_and_the_call_that_it_answers(export: Callable[..., dict[str, Any]]) -> None:
    _, _, *turns = export()["messages"]

    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        (call,) = asked["tool_calls"]
        assert (answered["tool_call_id"], answered["name"]) == (call["id"], call["function"]["name"])


def test_the_tools_are_a_column_beside_the_messages(export: Callable[..., dict[str, Any]]) -> None:
    tools = export()["tools"]

    assert {name for name, _ in CALLS} <= {tool["function"]["name"] for tool in tools}
    assert {tool["type"] for tool in tools} == {"function"}
    assert {tool["function"]["parameters"]["type"] for tool in tools} == {"object"}


def test_only_choices_between_texts_are_listed_in_a_schema(export: Callable[..., dict[str, Any]]) -> None:
    # The template of gpt-oss joins them to text, and the default too.
    properties = [one for tool in export()["tools"] for one in tool["function"]["parameters"]["properties"].values()]

    assert any("enum" in schema for schema in properties)
    assert {type(choice) for schema in properties for choice in schema.get("enum", ())} == {str}


def calls_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [call["function"] for message in row["messages"] for call in message.get("tool_calls", ())]
