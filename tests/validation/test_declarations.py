"""What a package declares: lists of calls in files, found by their place."""

import json
from pathlib import Path

import pytest

from ml_trainer_env.validation.declarations import (
    CallList,
    DeclarationError,
    as_action,
    read_canaries,
    read_oracles,
    sampled,
)

CALLS = [{"tool": "guess", "arguments": {"word": "a"}}, {"action": {"move": "left"}}]


def written(path: Path, *entries: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    return path


def test_a_file_is_the_oracle_of_the_task_that_its_path_names(tmp_path: Path) -> None:
    written(tmp_path / "oracles/maze/train/17.json", {"reset": {"seed": 1}, "calls": CALLS})

    (oracle,) = read_oracles(tmp_path, "oracles")

    assert (oracle.name, oracle.group, oracle.reset) == ("maze/train/17", "maze/train", {"seed": 1})
    assert oracle.actions == (
        {"type": "call_tool", "tool_name": "guess", "arguments": {"word": "a"}},
        {"move": "left"},
    )


def test_a_file_of_lines_has_the_oracles_of_a_split(tmp_path: Path) -> None:
    lines = [{"task": f"maze/test/{n}", "calls": CALLS, "recorded": {"rewards": [0, n]}} for n in range(3)]
    written(tmp_path / "oracles/maze/test.jsonl", *lines)

    oracles = read_oracles(tmp_path, "oracles")

    assert [oracle.name for oracle in oracles] == ["maze/test/0", "maze/test/1", "maze/test/2"]
    assert [oracle.recorded for oracle in oracles] == [(0.0, 0.0), (0.0, 1.0), (0.0, 2.0)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.json": {"task": "b", "calls": []}}, "expected the task 'a'"),
        ({"a.json": {"calls": 3}}, "expected a list `calls`"),
        ({"a.json": {"calls": [{}]}}, "a call is"),
        ({"a.json": {"calls": [], "max_reward": True}}, "expected a number in `max_reward`"),
        ({"a.json": {"calls": [], "tolerance": "0.1"}}, "expected a number in `tolerance`"),
        ({"a.json": {"calls": [], "known": "word"}}, "expected a list of texts in `known`"),
        ({"a.json": {"calls": []}, "b.jsonl": {"task": "a", "calls": []}}, "a second oracle"),
        ({"b.jsonl": {"calls": []}}, "expected the task's id"),
        ({}, "found none"),
    ],
)
def test_a_malformed_declaration_is_refused_in_words(files: dict[str, dict], message: str, tmp_path: Path) -> None:
    (tmp_path / "oracles").mkdir()
    for name, entry in files.items():
        written(tmp_path / "oracles" / name, entry)

    with pytest.raises(DeclarationError, match=message):
        read_oracles(tmp_path, "oracles")


@pytest.mark.parametrize("location", ["../elsewhere", "missing"])
def test_a_declaration_lies_inside_the_package(location: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=location):
        read_oracles(tmp_path, location)


def test_two_canaries_have_two_names(tmp_path: Path) -> None:
    written(tmp_path / "canaries.json", {"canaries": [{"name": "a", "calls": []}, {"name": "a", "calls": []}]})

    with pytest.raises(DeclarationError, match="same name"):
        read_canaries(tmp_path, "canaries.json")


def test_a_call_that_is_no_object_is_refused() -> None:
    with pytest.raises(DeclarationError, match="got guess"):
        as_action("guess", "here")


def test_single_lists_are_all_played_and_groups_are_sampled() -> None:
    lists = [CallList("easy", {}, ()), *(CallList(f"maze/{n}", {}, (), group="maze") for n in range(9))]

    assert [one.name for one in sampled(lists)] == ["easy", "maze/0", "maze/5"]
    assert [one.name for one in sampled(lists, ["maze/*"])] == [f"maze/{n}" for n in range(9)]


def test_a_list_says_why_it_does_not_apply() -> None:
    calls = CallList("easy", {}, (), when={"task.size": 60000})

    assert calls.unmet({"task": {"size": 60000}}) is None
    assert calls.unmet({"task": {"size": 7000}}) == "task.size is 7000, and the list is for 60000"
    assert calls.unmet({}) == "task.size is None, and the list is for 60000"
