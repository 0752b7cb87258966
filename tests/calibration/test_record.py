"""Laws of calibration's record and tables: nothing is lost or measured twice, and all tiers are of one size."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.calibration import command
from ml_trainer_env.calibration.candidates import Candidate, accepted, append, read
from ml_trainer_env.calibration.command import calibrate_split, main
from ml_trainer_env.calibration.tables import TIERS, heuristic_score, tier_bounds, write_oracles, write_table
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import rows_from_json
from ml_trainer_env.server.tuning.reference import Reference
from ml_trainer_env.validation.declarations import read_oracles

CALLS = (("configure_training", {"learning_rate": 0.01}), ("run_epochs", {"num_epochs": 2}), ("submit_model", {}))


def candidate(number: int, instance: Instance, heuristic: float = 0.7, *, is_accepted: bool = True) -> Candidate:
    return Candidate(
        number=number,
        instance=instance,
        reference=Reference(0.5, 0.9, 0.01) if is_accepted else None,
        default=(0.5, 0.49, 0.51),
        oracle=(0.9, 0.89, 0.91) if is_accepted else (),
        players={"default": 0.5},
        oracle_player="prober" if is_accepted else "",
        oracle_calls=CALLS if is_accepted else (),
        cost_s=1.5,
        checksum="c" * 64,
        identity="i" * 64,
        heuristic=(heuristic - 0.05, heuristic + 0.05) if is_accepted else (),
    )


@pytest.fixture
def candidates(drawn: Sequence[Instance]) -> list[Candidate]:
    return [
        candidate(number, instance, 0.5 + 0.013 * number, is_accepted=number % 3 != 2)
        for number, instance in enumerate(drawn)
    ]


def test_what_was_appended_is_read_by_number(candidates: list[Candidate], tmp_path: Path) -> None:
    file = tmp_path / "record" / "train.jsonl"

    for one in candidates[::-1]:
        append(file, one)

    assert read(file) == candidates
    assert read(tmp_path / "none.jsonl") == []


@given(cut=st.integers(1, 2_000))
@settings(max_examples=20, deadline=None)
def test_a_line_that_a_kill_cut_off_is_left_out_and_replaced(
    drawn: Sequence[Instance], tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    file = tmp_path_factory.mktemp("record") / "train.jsonl"
    known = [candidate(number, drawn[number]) for number in range(3)]
    for one in known[:2]:
        append(file, one)
    whole = file.read_bytes()
    append(file, known[2])
    line = file.read_bytes()[len(whole) :]
    file.write_bytes(whole + line[: min(cut, len(line) - 1)])

    assert read(file) == known[:2]
    append(file, known[2])
    assert read(file) == known


def test_a_line_in_the_middle_that_is_no_candidate_is_an_error(candidates: list[Candidate], tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"number": 0}\n')
    append(file, candidates[1])

    with pytest.raises(ValueError, match="validation error"):
        read(file)


def test_accepted_are_those_before_the_first_missing_number(candidates: list[Candidate]) -> None:
    assert [one.number for one in accepted(candidates)] == [one.number for one in candidates if one.reference]
    assert [one.number for one in accepted([*candidates[:4], *candidates[5:]])] == [0, 1, 3]


@pytest.fixture
def no_training(drawn: Sequence[Instance], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Measures candidates in threads, without training; the list has the numbers that were measured."""
    measured: list[int] = []

    def measure(_: str, number: int) -> Candidate:
        measured.append(number)
        return candidate(number, drawn[number], 0.5 + 0.01 * number, is_accepted=number % 3 != 2)

    monkeypatch.setattr(command, "_measure", measure)
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda processes, *_: ThreadPoolExecutor(processes))
    return measured


@pytest.mark.parametrize("processes", [1, 3])
def test_a_split_is_measured_until_enough_are_accepted_and_nothing_twice(
    no_training: list[int], tmp_path: Path, processes: int
) -> None:
    calibrate_split("train", 4, tmp_path, processes)
    first = list(no_training)
    calibrate_split("train", 4, tmp_path, processes)
    assert no_training == first, "enough were known"

    calibrate_split("train", 7, tmp_path, processes)

    known = read(tmp_path / "train.jsonl")
    assert sorted(no_training) == sorted(set(no_training)) == [one.number for one in known]
    assert len(accepted(known)) >= 7


@pytest.mark.usefixtures("no_training")
def test_the_accepted_do_not_depend_on_how_often_it_was_stopped(tmp_path: Path) -> None:
    calibrate_split("train", 8, tmp_path / "whole", processes=1)
    calibrate_split("train", 8, tmp_path / "stopped", processes=1, deadline=0.0)
    for count in range(1, 9):
        calibrate_split("train", count, tmp_path / "stopped", processes=1)

    files = [tmp_path / name / "train.jsonl" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("no_training")
def test_what_was_accepted_before_difficulty_was_measured_is_measured_now_and_needs_it(
    candidates: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(one: Candidate) -> Candidate:
        measured.append(one.number)
        return replace(one, heuristic=(0.6, 0.8))

    monkeypatch.setattr(command, "_with_difficulty", measure)
    monkeypatch.setattr(command, "NAMED_REFERENCES", tmp_path / "named.jsonl")
    for name in ("_TABLES", "_ORACLES"):
        monkeypatch.setattr(command, name, tmp_path / name)
    count = len(accepted(candidates))
    monkeypatch.setattr(command, "COUNTS", dict.fromkeys(("train", "validation", "test"), count))
    older = [accepted(candidates)[0].number, accepted(candidates)[2].number]
    file = tmp_path / "train.jsonl"
    for one in candidates:
        append(file, replace(one, heuristic=()) if one.number in older else one)
    main(["--write", "--record", str(tmp_path)])
    assert not (tmp_path / "_TABLES").exists()

    for _ in range(2):
        calibrate_split("train", count, tmp_path, processes=1)

    assert measured == older
    assert [one.heuristic for one in read(file) if one.number in older] == [(0.6, 0.8)] * 2
    main(["--write", "--record", str(tmp_path)])
    assert (tmp_path / "_TABLES" / "train.jsonl").exists()


@given(scores=st.lists(st.floats(-0.25, 1, width=16), min_size=TIERS, max_size=60, unique=True))
@settings(max_examples=30, deadline=None)
def test_tiers_are_of_one_size_and_fall_with_the_heuristics_score(tiny: Instance, scores: list[float]) -> None:
    known = [candidate(number, tiny, 0.5 + 0.4 * score) for number, score in enumerate(scores)]
    bounds = tier_bounds(known)
    tiers = [1 + sum(heuristic_score(one) <= bound for bound in bounds) for one in known]

    sizes = Counter(tiers)
    assert set(sizes) == set(range(1, TIERS + 1))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    by_score = sorted(zip(scores, tiers, strict=True), reverse=True)
    assert [tier for _, tier in by_score] == sorted(tiers)


def test_tables_round_trip(candidates: list[Candidate], tmp_path: Path) -> None:
    shipped = accepted(candidates)
    bounds = tier_bounds(shipped)

    write_table(tmp_path / "tables" / "train.jsonl", shipped, bounds)

    rows = rows_from_json((tmp_path / "tables" / "train.jsonl").read_text())
    assert [(row.number, row.instance, row.reference) for row in rows] == [
        (one.number, one.instance, one.reference) for one in shipped
    ]
    assert all((row.cost_s, row.checksum, row.identity) == (1.5, "c" * 64, "i" * 64) for row in rows)


def test_oracles_are_apart_from_the_table(candidates: list[Candidate], tmp_path: Path) -> None:
    shipped = accepted(candidates)
    table, oracles = tmp_path / "table.jsonl", tmp_path / "oracles.jsonl"

    write_table(table, shipped, [])
    write_oracles(oracles, "train", shipped)

    lines = [json.loads(line) for line in oracles.read_text().splitlines()]
    assert [line["task"] for line in lines] == [f"tuning/train/{index}" for index in range(len(shipped))]
    assert [(call["tool"], call["arguments"]) for call in lines[0]["calls"]] == list(CALLS)
    assert "configure_training" not in table.read_text()


def test_checkpoints_of_oracles_have_short_names(candidates: list[Candidate], tmp_path: Path) -> None:
    names = ["best", "last", "best"]
    calls = tuple(("save_checkpoint", {"name": name}) for name in names)

    write_oracles(tmp_path / "oracles.jsonl", "train", [replace(candidates[0], oracle_calls=calls)])

    (line,) = (tmp_path / "oracles.jsonl").read_text().splitlines()
    assert [call["arguments"]["name"] for call in json.loads(line)["calls"]] == ["a", "b", "a"]


def test_the_graders_of_validation_read_the_oracles(candidates: list[Candidate], tmp_path: Path) -> None:
    shipped = accepted(candidates)

    write_oracles(tmp_path / "oracles" / "tuning" / "train.jsonl", "train", shipped)

    oracles = {oracle.name: oracle for oracle in read_oracles(tmp_path, "oracles")}
    assert set(oracles) == {f"tuning/train/{index}" for index in range(len(shipped))}
    for index, one in enumerate(shipped):
        oracle = oracles[f"tuning/train/{index}"]
        assert oracle.reset == {"task_id": f"tuning/train/{index}", "seed": one.instance.seed}
        assert oracle.max_reward == 1.0
        assert oracle.tolerance == pytest.approx(3 * 0.01 / 0.4, abs=0.001)
        assert [action["tool_name"] for action in oracle.actions] == [tool for tool, _ in CALLS]


def test_write_makes_the_tables_of_complete_splits_from_the_record(
    candidates: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TABLES", "_ORACLES"):
        monkeypatch.setattr(command, name, tmp_path / name)
    monkeypatch.setattr(command, "NAMED_REFERENCES", tmp_path / "named.jsonl")
    enough = len(accepted(candidates))
    monkeypatch.setattr(command, "COUNTS", {"train": enough + 1, "validation": enough - 1, "test": enough})
    for split in ("train", "validation"):
        for one in candidates:
            append(tmp_path / "record" / f"{split}.jsonl", one)

    assert main(["--write", "--record", str(tmp_path / "record")]) == 0

    tables = {file.stem: rows_from_json(file.read_text()) for file in (tmp_path / "_TABLES").iterdir()}
    assert {split: len(rows) for split, rows in tables.items()} == {"validation": enough - 1}
    assert [file.name for file in (tmp_path / "_ORACLES").iterdir()] == ["validation.jsonl"]
    assert not (tmp_path / "named.jsonl").exists()


def test_a_complete_split_moves_no_tier_of_another(
    candidates: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "NAMED_REFERENCES", tmp_path / "named.jsonl")
    monkeypatch.setattr(command, "COUNTS", dict.fromkeys(("train", "validation", "test"), len(accepted(candidates))))
    tables = []
    for number, splits in enumerate([("validation",), ("validation", "test")]):
        for name in ("_TABLES", "_ORACLES"):
            monkeypatch.setattr(command, name, tmp_path / f"{name}{number}")
        for split in splits:
            worse = [replace(one, heuristic=(0.4,)) for one in candidates]
            for one in worse if split == "test" else candidates:
                append(tmp_path / f"record{number}" / f"{split}.jsonl", one)
        main(["--write", "--record", str(tmp_path / f"record{number}")])
        tables.append((tmp_path / f"_TABLES{number}" / "validation.jsonl").read_text())

    assert tables[0] == tables[1]
