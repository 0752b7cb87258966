"""Writes episodes of a journal for other people's viewers: TensorBoard, Inspect's viewer, and Weights & Biases.

The libraries are not among this package's own: whoever uses a viewer has its library. Each module of a library is
imported when it is needed.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from ml_trainer_env.errors import MissingLibraryError
from ml_trainer_env.server.commands.trajectories import UNNAMED_AGENT
from ml_trainer_env.server.store import CallRecord, JournaledEpisode

__all__ = ["VIEWERS", "write_inspect", "write_tensorboard", "write_wandb"]

_UNSAFE = re.compile(r"[^\w.@=+-]")
_LONGEST_NAME = 100


def write_tensorboard(folder: Path, episodes: Iterable[JournaledEpisode]) -> list[Path]:
    """Write a run for each episode, with a scalar for each figure and the calls as texts.

    A figure's step is the number of its unit, from 1; that of a call is the number of units before its reply. What is
    there is replaced.

    Args:
        folder: The log folder. `tensorboard --logdir` opens it.
        episodes: The episodes.

    Returns:
        The folders of the runs.

    Raises:
        MissingLibraryError: The package `tensorboard` is not installed.
    """
    event = _library("tensorboard.compat.proto.event_pb2", "tensorboard").Event
    scalar = _library("tensorboard.plugins.scalar.summary_v2", "tensorboard").scalar_pb
    text = _library("tensorboard.plugins.text.summary_v2", "tensorboard").text_pb
    open_file = _library("tensorboard.summary.writer.event_file_writer", "tensorboard").EventFileWriter

    written = []
    for episode in episodes:
        run = folder / _file_name(episode.header.name)
        for old in run.glob("events.out.tfevents.*"):
            old.unlink()
        writer = open_file(str(run))
        unit = 0
        for number, call in enumerate(episode.calls, 1):
            for one in call.units:
                unit += 1
                for name, value in _scalars(one.figures.figures):
                    writer.add_event(event(wall_time=call.at, step=unit, summary=scalar(name, value)))
            if call.reply is not None and not call.inherited:
                reward = scalar("reward", float(call.reply.get("reward", 0.0)))
                writer.add_event(event(wall_time=call.at, step=unit, summary=reward))
            told = text("calls", _markdown(number, call))
            writer.add_event(event(wall_time=call.at, step=unit, summary=told))
        writer.close()
        written.append(run)
    return written


def write_inspect(folder: Path, episodes: Iterable[JournaledEpisode]) -> list[Path]:
    """Write a log of Inspect for each agent, with its episodes as samples, and each call with its reply.

    An episode without an agent's name belongs to the agent `unnamed`. What is there is replaced.

    Args:
        folder: The log folder. `inspect view --log-dir` opens it.
        episodes: The episodes.

    Returns:
        The files.

    Raises:
        MissingLibraryError: The package `inspect-ai` is not installed.
    """
    log = _library("inspect_ai.log", "inspect-ai")
    by_agent: dict[str, list[JournaledEpisode]] = {}
    for episode in episodes:
        by_agent.setdefault(episode.header.agent or UNNAMED_AGENT, []).append(episode)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for agent, played in by_agent.items():
        samples = [_sample(one) for one in played]
        scores = [one.scores["score"].value for one in samples if one.scores]
        mean = {"mean": log.EvalMetric(name="mean", value=sum(scores) / len(scores))} if scores else {}
        names = [one.header.name for one in played]
        times = sorted(call.at for one in played for call in one.calls) or [0.0]
        made = log.EvalLog(
            status="success",
            eval=log.EvalSpec(
                created=_iso(times[0]),
                run_id="journal",
                task="ml_trainer_env",
                task_id=_file_name(agent),  # the viewer takes logs of one id for attempts at the same
                dataset=log.EvalDataset(name="journal", samples=len(played), sample_ids=names),
                model=agent,
                config=log.EvalConfig(),
            ),
            results=log.EvalResults(
                total_samples=len(played),
                completed_samples=len(played),
                scores=[log.EvalScore(name="score", scorer="score", metrics=mean)],
            ),
            stats=log.EvalStats(started_at=_iso(times[0]), completed_at=_iso(times[-1])),
            samples=samples,
        )
        path = folder / f"{_file_name(agent)}.eval"
        log.write_eval_log(made, str(path))
        written.append(path)
    return written


def write_wandb(folder: Path, episodes: Iterable[JournaledEpisode]) -> list[Path]:
    """Write an offline run of Weights & Biases for each episode: figures by unit, and a table of its calls.

    This needs no account and sends nothing. `wandb sync` uploads the runs. A second export of an episode is another
    folder with a run of the same id.

    Args:
        folder: The folder. The runs are in its folder `wandb`.
        episodes: The episodes.

    Returns:
        The folders of the runs.

    Raises:
        MissingLibraryError: The package `wandb` is not installed.
    """
    wandb = _library("wandb", "wandb")
    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for episode in episodes:
        header, unit = episode.header, 0
        rows: list[list[Any]] = []
        run = wandb.init(
            project="ml_trainer_env",
            name=header.name,
            id=_file_name(header.name),
            group=header.task,
            dir=str(folder.absolute()),
            mode="offline",
            config={"task": header.task, "seed": header.seed, "rubric": header.rubric, "agent": header.agent},
            settings=quiet,
        )
        run.define_metric("*", step_metric="unit")
        for number, call in enumerate(episode.calls, 1):
            for one in call.units:
                unit += 1
                run.log({"unit": unit, **dict(_scalars(one.figures.figures))})
            reply = call.reply or {}
            told = call.error if call.reply is None else str(reply.get("message", ""))
            rows.append([number, unit, call.tool, json.dumps(dict(call.arguments)), call.reason or "", told or ""])
            if isinstance(reply.get("score"), int | float):
                run.summary["score"] = reply["score"]
        run.log({"calls": wandb.Table(columns=["number", "unit", "tool", "arguments", "reason", "told"], data=rows)})
        written.append(Path(run.dir).parent)
        run.finish()
    return written


VIEWERS: Mapping[str, Callable[[Path, Iterable[JournaledEpisode]], list[Path]]] = {
    "tensorboard": write_tensorboard,
    "inspect": write_inspect,
    "wandb": write_wandb,
}
"""What writes the files of each viewer, by the name of its format."""


def _library(module: str, install: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"{error.name} is not installed; run: pip install {install}") from error


def _scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the figures that are finite numbers. A chart has a gap where one is missing."""
    for name, value in figures.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def _markdown(number: int, call: CallRecord) -> str:
    """Return a call as Markdown. What an agent wrote is in code blocks, and so is text."""
    given = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    told = call.error if call.reply is None else call.reply.get("message", "")
    parts = [f"{number}. {call.tool}({given})", *([call.reason] if call.reason else []), str(told)]
    return "\n\n".join("    " + part.replace("\n", "\n    ") for part in parts)


def _sample(episode: JournaledEpisode) -> Any:
    log, score = _library("inspect_ai.log", "inspect-ai"), _library("inspect_ai.scorer", "inspect-ai").Score
    model = _library("inspect_ai.model", "inspect-ai")
    header = episode.header
    task = f"Play {header.task} with seed {header.seed}, graded by {header.rubric}."
    messages = [model.ChatMessageUser(content=task), *_messages(episode.calls)]
    replies = [call.reply for call in episode.calls if call.reply is not None]
    graded = next((reply for reply in reversed(replies) if isinstance(reply.get("score"), int | float)), None)
    scores = {"score": score(value=graded["score"], explanation=str(graded.get("message", "")))} if graded else None
    metadata = {"task": header.task, "seed": header.seed, "rubric": header.rubric, "forked_from": header.forked_from}
    times = [call.at for call in episode.calls]
    return log.EvalSample(
        id=header.name,
        epoch=1,
        input=task,
        target="",
        messages=messages,
        scores=scores,
        metadata=metadata,
        **({"started_at": _iso(times[0]), "completed_at": _iso(times[-1])} if times else {}),
    )


def _messages(calls: Sequence[CallRecord]) -> Iterator[Any]:
    """Yield two messages for each call: the call with its reason, and the reply or the refusal."""
    model, tool = _library("inspect_ai.model", "inspect-ai"), _library("inspect_ai.tool", "inspect-ai")
    for number, call in enumerate(calls, 1):
        made = tool.ToolCall(id=f"call_{number}", function=call.tool, arguments=dict(call.arguments))
        yield model.ChatMessageAssistant(content=call.reason or "", tool_calls=[made])
        yield model.ChatMessageTool(
            content=call.error or "" if call.reply is None else json.dumps(dict(call.reply)),
            tool_call_id=made.id,
            function=call.tool,
            error=tool.ToolCallError("unknown", call.error or "") if call.reply is None else None,
        )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _file_name(name: str) -> str:
    """Return a name of an episode or agent as the name of a file.

    Names that differ only in characters that a file's name may not have would meet, so these end in a checksum.
    """
    safe = _UNSAFE.sub("_", name)
    if safe == name and len(name) <= _LONGEST_NAME and not name.startswith("."):
        return name
    return f"{safe[:_LONGEST_NAME].lstrip('.')}-{zlib.crc32(name.encode()):08x}"
