"""What a run leaves behind: results, curves and one page that stands alone."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ml_trainer_env.baselines.agent import BadDecision
from ml_trainer_env.baselines.episode import summarise
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.random_agent import RandomAgent
from ml_trainer_env.baselines.results import RunResult, TuningReport, read_results, write_run

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"


class Page(HTMLParser):
    """Keeps tags with their attributes, and text."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


class Undrawn(TuningReport):
    """A report whose pictures are empty: to draw one takes half a second."""

    def picture(self, result):
        return b""


@pytest.fixture
def episode(make_session):
    session = make_session(source="synthetic")
    turns = play(RandomAgent(seed=2), session)
    return summarise("random", session.brief, turns, seconds=2.0)


@pytest.fixture
def write(tmp_path, episode):
    def write(*episodes, secrets=(), report=Undrawn(), **changes):  # noqa: B008 - it has no state
        given = {"name": "run-1", "agent": "random", "started": "2026-01-02T03:04:05+00:00", "seconds": 2.0}
        run = RunResult(**{**given, "problem": "", "episodes": episodes or (episode,), **changes})
        return run, write_run(tmp_path / "run-1", run, secrets, report)

    return write


def test_results_survive_the_round_trip(write):
    run, report = write()

    assert read_results(report.parent / "results.json") == run


def test_results_are_json_that_any_reader_takes(write, episode):
    broken = replace(episode, best_val_accuracy=float("nan"))
    _, report = write(broken)

    text = (report.parent / "results.json").read_text()

    assert json.loads(text, parse_constant=pytest.fail)["episodes"][0]["best_val_accuracy"] is None


def test_there_is_a_picture_of_the_curves_for_every_episode(write, episode):
    _, report = write(episode, episode, report=TuningReport())

    pictures = sorted(report.parent.glob("*.png"))

    assert [path.name for path in pictures] == ["01-easy_task.png", "02-easy_task.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_the_page_needs_nothing_else(write):
    page = Page(write()[1].read_text())

    assert not [attrs for _, attrs in page.tags if {"src", "href", "xlink:href"} & set(attrs)]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import", write()[1].read_text())


def test_values_are_told_where_one_points_and_in_a_table(write, episode):
    page = Page(write(episode)[1].read_text())
    last = episode.curve[-1]
    pointed = f"epoch {last.epoch}: validation {last.val_loss:.4g}, train {last.train_loss:.4g}"

    assert pointed in page.text
    assert f"{last.epoch}{last.val_loss:.4g}{last.train_loss:.4g}" in page.text
    named = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert [label.partition(":")[0] for label in named] == ["Loss by epoch", "Accuracy by epoch"]


def test_the_page_suits_a_phone_and_the_dark(write):
    html = write()[1].read_text()

    assert '<meta name="viewport" content="width=device-width' in html
    assert "prefers-color-scheme: dark" in html


def test_the_page_has_the_figures(write, episode):
    page = Page(write()[1].read_text())

    for figure in (f"{episode.score:.4f}", f"{episode.test_accuracy:.4f}", "easy_task", "random", "42"):
        assert figure in page.text


@pytest.mark.parametrize(("accuracy", "said"), [(0.985, ": reached"), (0.9849, ": not reached")])
def test_a_target_on_test_images_is_judged_by_them(write, episode, accuracy, said):
    aimed = replace(episode, target_metric="test_accuracy", target_value=0.985, test_accuracy=accuracy)

    assert f"Target test_accuracy 0.985{said}" in Page(write(aimed)[1].read_text()).text


def test_the_page_says_clearly_when_images_are_synthetic(write, episode):
    assert "synthetic stand-in images" in Page(write()[1].read_text()).text
    assert "synthetic" not in Page(write(replace(episode, data_source="cache"))[1].read_text()).text


def test_hostile_texts_are_shown_as_texts(write, episode):
    call = replace(episode.calls[0], name=HOSTILE, reason=HOSTILE, answer=HOSTILE, arguments={HOSTILE: HOSTILE})
    hostile = replace(
        episode,
        task_id=HOSTILE,
        task_name=HOSTILE,
        agent=HOSTILE,
        dataset=HOSTILE,
        data_source=HOSTILE,
        details={HOSTILE: HOSTILE},
        configuration={HOSTILE: HOSTILE},
        calls=(call,),
    )
    page = Page(write(hostile, name=HOSTILE, agent=HOSTILE, problem=HOSTILE)[1].read_text())

    assert HOSTILE in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_a_run_that_broke_off_says_so(write):
    assert "broke off: no more money" in Page(write(problem="no more money")[1].read_text()).text


def test_secrets_stay_out_of_every_file(write, episode):
    _, report = write(replace(episode, task_name="key sk-secret-1"), secrets=("sk-secret-1",))

    for path in report.parent.glob("*"):
        assert b"sk-secret-1" not in path.read_bytes()


def test_an_episode_without_a_single_epoch_can_be_drawn(write, make_session):
    _, report = write(summarise("none", make_session().brief, (), seconds=0.0))

    assert "Loss by epoch: validation: nothing; train: nothing" in report.read_text()


def test_epochs_that_diverged_leave_a_gap_in_the_curve(write, episode):
    points = tuple(replace(point, train_loss=None, val_loss=None) for point in episode.curve)

    _, report = write(replace(episode, curve=points))

    assert f"epoch {points[-1].epoch}: validation -, train -" in report.read_text()


class Silent:
    name = "silent"

    def script(self, brief, tools):
        yield BadDecision("I would train for five epochs.", "no call")


def test_an_episode_that_the_program_closed_counts_0_in_results_report_and_mean(write, episode, make_session):
    session = make_session()
    closed = summarise("silent", session.brief, play(Silent(), session), seconds=1.0)
    assert closed.score > 0.9

    run, report = write(episode, closed)

    results = json.loads((report.parent / "results.json").read_text())
    assert [one["played_to_end"] for one in results["episodes"]] == [True, False]
    assert [one["counted_score"] for one in results["episodes"]] == [episode.score, 0.0]
    assert (results["played_to_end"], results["closed_by_program"]) == (1, 1)
    assert results["mean_score"] == run.mean_score == round(episode.score / 2, 4)
    page = Page(report.read_text()).text
    assert "1 of 2 episodes were not played to the end" in page
    assert page.count("closed by the program: counts 0") == 1


def test_a_report_of_episodes_played_to_the_end_says_nothing_of_closing(write):
    assert "closed by the program" not in write()[1].read_text()


def test_results_of_an_earlier_version_can_still_be_read(write):
    run, report = write()
    file = report.parent / "results.json"
    told = json.loads(file.read_text())
    for name in ("played_to_end", "closed_by_program"):
        del told[name]
    for one in told["episodes"]:
        del one["played_to_end"], one["counted_score"]
    file.write_text(json.dumps(told))

    assert read_results(file) == run
