"""How a solution is recognised, and what a build copies."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.validation.containment import copied_into_image, solution_of
from ml_trainer_env.validation.declarations import CallList, as_action

SECRET = "xyzzy plugh"


def oracle(**arguments: object) -> CallList:
    return CallList("task", {"task_id": "task"}, (as_action({"tool": "act", "arguments": arguments}, "here"),))


@st.composite
def hidden_in(draw: st.DrawFn, value: object) -> object:
    """A value of JSON with this one somewhere in it."""
    for is_list in draw(st.lists(st.booleans(), max_size=4)):
        value = [None, 1, value, "x"] if is_list else {"a": 1, "k": value}
    return value


@given(hidden_in(f"the answer is {SECRET}."))
def test_a_word_is_found_wherever_it_is(value: object) -> None:
    assert solution_of(oracle(answer=SECRET)).parts_in(value) == [f"the word {SECRET!r}"]


@given(hidden_in({"rate": 0.002, "name": 7, "more": None}))
def test_arguments_are_found_together_wherever_they_are(value: object) -> None:
    assert len(solution_of(oracle(rate=0.002, name=7)).parts_in(value)) == 1


@given(hidden_in({"rate": 0.001, "name": 7}))
def test_arguments_with_another_value_are_no_solution(value: object) -> None:
    assert solution_of(oracle(rate=0.002, name=7)).parts_in(value) == []


def test_arguments_in_a_text_are_found() -> None:
    text = 'call it with {"rate": 0.002, "name": 7}'

    assert solution_of(oracle(rate=0.002, name=7)).parts_in({"hint": text}) != []


@pytest.mark.parametrize(
    "tools",
    [[{"name": "act", "input_schema": {"properties": {"how": {"enum": [SECRET]}}}}], [{"name": SECRET}]],
    ids=["a choice of a schema", "the name of a tool"],
)
def test_what_everybody_is_offered_is_no_word_of_a_solution(tools: list[dict]) -> None:
    assert solution_of(oracle(how=SECRET), tools).words == frozenset()


def test_what_the_author_calls_known_is_no_word_of_a_solution() -> None:
    calls = replace(oracle(checkpoint="step-50", answer=SECRET), known=frozenset({"step-50"}))

    assert solution_of(calls).words == {SECRET}


@pytest.mark.parametrize(
    ("dockerfile", "ignore", "is_copied"),
    [
        ("COPY . .", "", True),
        ("COPY . .", "oracles", False),
        ("COPY . .", "oracles/*.json", False),
        ("COPY . .", "**/*.json", False),
        ("COPY . .", "*\n!server", False),
        ("COPY . .", "*\n!oracles/a.json", True),
        ("COPY server /server", "", False),
        ("COPY --from=builder . .", "", False),
        ("COPY --chown=1 oracles/ /x/", "", True),
        ('COPY ["./oracles/a.json", "/x/"]', "", True),
        ("COPY server \\\n  ora*/ /x/", "", True),
    ],
)
def test_a_file_is_copied_if_the_context_has_it_and_an_instruction_names_it(
    dockerfile: str, ignore: str, is_copied: bool, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\n{dockerfile}\n")
    (tmp_path / ".dockerignore").write_text(ignore)
    file = tmp_path / "oracles/a.json"
    file.parent.mkdir()
    file.touch()

    copied = copied_into_image(tmp_path, "Dockerfile", ".", [file])

    assert copied == (["oracles/a.json"] if is_copied else [])
