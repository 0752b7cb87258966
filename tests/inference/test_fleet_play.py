"""Agents of the fleet on a real server, through the command and through a session, and what a run leaves behind."""

import json
from dataclasses import replace

import pytest
from fleet_play import small_model
from served_here import served_here

from ml_trainer_env.baselines.agent import Call, Outcome
from ml_trainer_env.baselines.env_session import ServedSession
from ml_trainer_env.baselines.fleet.brief import FleetBrief, brief_of
from ml_trainer_env.baselines.fleet.curves import loss_png
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.episode import summarise
from ml_trainer_env.baselines.fleet.moments import begin_times
from ml_trainer_env.baselines.fleet.prompt import FleetPrompts
from ml_trainer_env.baselines.fleet.report import FleetReport
from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent
from ml_trainer_env.baselines.llm import GameLlmAgent
from ml_trainer_env.baselines.local_server import local_server
from ml_trainer_env.baselines.play import Author, Turn, play
from ml_trainer_env.baselines.results import RunResult, read_results, write_run
from ml_trainer_env.baselines.session import ToolSpec
from ml_trainer_env.fleet_client import FleetEnv
from ml_trainer_env.inference import KNOWN_FLEET_TASKS, main
from ml_trainer_env.server.fleet.tasks import NAMED_TASKS

TASK = "fleet_half_precision"
HOSTILE = "<script>alert('x')</script>"
STATUS = {
    "step": 0,
    "clock_s": 0.0,
    "left_s": 360.0,
    "loss": None,
    "grad_norm": None,
    "step_s": None,
    "learning_rate": None,
    "restarts": 0,
    "is_stalled": False,
    "nodes": [0, 1],
    "spares": [2],
    "settings": {"learning_rate": 0.04, "checkpoint_every": 25},
    "notices": [],
    "message": "Step 0.",
    "done": False,
    "reward": 0.0,
}
BRIEF = FleetBrief("e", "fleet_task", "A task", "Watch it.", "named", 0, "recovery", STATUS, 360.0)


@pytest.fixture(scope="module", params=["small model", pytest.param("real model", marks=pytest.mark.slow)])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    if request.param == "real model":
        with local_server(folder / "log") as url:
            yield url
    else:
        with small_model(), served_here(folder, CACHE="yes") as (address, _):
            yield f"http://{address}"


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    def run(*arguments, **variables):
        monkeypatch.chdir(tmp_path)
        for name in ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "ENV_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as left:
            code = left.code
        return code, capsys.readouterr()

    return run


def ran(number: int, **reply: object) -> Turn:
    """A turn in which the agent let the job run."""
    return Turn(number, Call("run_steps", {"num_steps": 2}), Author.AGENT, Outcome({**STATUS, **reply}), 0.1, 0.2)


def finished() -> tuple[Turn, ...]:
    end = {"score": 0.5, "reward": 0.5, "held_out_loss": 2.0, "nothing_loss": 2.2, "clean_loss": 1.8, "done": True}
    truth = {"incidents": ["straggler"], "faults": [{"kind": "straggler", "node": 1, "begins_s": 1.0}], "reports": []}
    events = ["saved checkpoint step-2 in 1.50 s", "job restarted from checkpoint step-2; the sampler begins at"]
    return (
        ran(1, step=2, clock_s=3.0, losses=[[0, 4.5], [1, None]], events=events),
        ran(2, step=4, clock_s=6.0, losses=[[2, 4.4], [3, 4.3]], events=[], **end, **truth),
    )


def test_the_named_tasks_are_those_of_the_server():
    assert set(KNOWN_FLEET_TASKS) == set(NAMED_TASKS)


@pytest.mark.slow
def test_the_command_plays_the_fleet_and_leaves_a_report_with_the_truth(run_here, server, tmp_path):
    code, said = run_here("--env", "fleet", "--agent", "nothing", "--tasks", TASK, ENV_URL=server)

    assert code == 0, said.err
    (file,) = (tmp_path / "outputs" / "evals").glob("*/results.json")
    (episode,) = json.loads(file.read_text())["episodes"]
    assert (episode["task_id"], episode["score"], episode["played_to_end"]) == (TASK, 0.0, True)
    assert episode["incidents"] == ["half_precision"]
    assert episode["held_out_loss"] == episode["nothing_loss"] > episode["clean_loss"]
    assert episode["curve"][-1]["clock_s"] == pytest.approx(360, abs=2)
    assert (file.parent / f"01-{TASK}.png").read_bytes().startswith(b"\x89PNG")
    assert "<strong>Fault:</strong> kind <code>half_precision</code>" in (file.parent / "report.html").read_text()
    assert f"{TASK}: score 0.0000" in said.out


@pytest.mark.slow
def test_the_detective_repairs_it_and_says_what_was_wrong(server):
    with FleetEnv(base_url=f"{server}/fleet") as env:
        session = ServedSession(env, brief_of, TASK)
        turns = play(DetectiveAgent(), session)

    result = summarise("detective", session.brief, turns, seconds=1.0)
    assert result.score > 0.8
    assert result.played_to_end
    assert [(report["kind"], report["right"]) for report in result.reports] == [("half_precision", True)]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--env", "fleet", "--agent", "heuristic"), "does not play fleet"),
        (("--agent", "detective"), "does not play tuning"),
        (("--env", "fleet", "--rubric", "v1"), "--rubric is for tuning"),
        (("--env", "fleet", "--tasks", "easy_mnist"), "fleet/<split>/<index>"),
    ],
)
def test_what_does_not_belong_to_a_game_is_refused_before_a_server_starts(run_here, arguments, what):
    code, said = run_here(*arguments)

    assert code == 2
    assert what in said.err


def test_without_a_key_the_detective_plays_the_fleet(run_here):
    _, said = run_here("--env", "fleet", ENV_URL="http://127.0.0.1:9")

    assert "agent: detective (the default" in said.out


def calls_of_the_runbook(*figures):
    """What the scripted agent calls when its looks show these figures, one after the other."""
    script = ScriptedAgent().script(BRIEF, ())
    call, called, looks = next(script), [], iter(figures)
    reply = STATUS
    while True:
        called.append(call)
        if call.name == "run_steps":
            if (changes := next(looks, None)) is None:
                return [call for call in called if call.name != "run_steps"]
            reply = {**STATUS, "step": 10, "loss": 2.5, "grad_norm": 1.0, "step_s": 1.1, **changes}
        call = script.send(Outcome(reply))


def test_the_scripted_agent_goes_back_and_halves_the_rate_where_a_bad_loss_stays_three_times_at_the_most():
    once = [Call("set_training", {"learning_rate": 0.02}, ""), Call("restart", {"checkpoint": "newest"}, "")]

    for bad in ({"loss": 2.9}, {"loss": None}, {"grad_norm": None}):
        assert calls_of_the_runbook({}, bad, {}, bad, {}) == []
        assert [replace(call, reason="") for call in calls_of_the_runbook({}, bad, bad, {})] == once
        assert len(calls_of_the_runbook({}, *[bad] * 20)) == 2 * 3


def test_the_scripted_agent_saves_more_often_after_a_death_and_restarts_what_stalls():
    settings = {"learning_rate": 0.04, "checkpoint_every": 50}
    died = {"restarts": 1, "settings": settings}

    (saving,) = calls_of_the_runbook({"settings": settings}, died, died)
    (restarting,) = calls_of_the_runbook({"settings": settings}, {"is_stalled": True, "loss": None})

    assert (saving.name, saving.arguments) == ("set_training", {"checkpoint_every": 15})
    assert (restarting.name, restarting.arguments) == ("restart", {"checkpoint": "newest"})
    assert calls_of_the_runbook({}, {"restarts": 1, "settings": {**settings, "checkpoint_every": 10}}) == []


def test_doing_nothing_is_to_run_on():
    script = NothingAgent().script(BRIEF, ())

    assert next(script) == script.send(Outcome(STATUS)) == Call("run_steps", {"num_steps": 50})


def test_a_model_is_told_the_task_the_state_and_what_is_left(bench):
    tools = (ToolSpec("run_steps", "Let the job train.", {"type": "object", "properties": {}}),)
    bench.server.calls("run_steps", num_steps=2)
    bench.server.calls("run_steps", num_steps=2)
    agent = GameLlmAgent(bench.chat(), "gpt-4o-mini", FleetPrompts(), lambda _: 2, bench.record)
    script = agent.script(BRIEF, tools)

    assert next(script) == Call("run_steps", {"num_steps": 2}, "")
    script.send(Outcome({**STATUS, "step": 2, "loss": 4.5, "message": "Step 2."}))

    system, task = (message["content"] for message in bench.server.requests[0].messages)
    assert "2 decisions" in system
    assert "Task fleet_task: A task. Watch it." in task
    assert '"left_s":360.0' in task
    assert bench.told(1).startswith('Step 2.\n{"step":2,')
    assert "last decision" in bench.told(1)


def test_results_survive_the_round_trip_and_the_page_has_the_figures(tmp_path):
    episode = summarise("nothing", BRIEF, finished(), seconds=2.0)
    run = RunResult("run-1", "nothing", "2026-01-02T03:04:05+00:00", 2.0, "", (episode,))

    report = write_run(tmp_path, run, report=FleetReport())

    assert read_results(tmp_path / "results.json", FleetReport()) == run
    assert [(point.clock_s, point.loss) for point in episode.curve] == [(1.5, 4.5), (3.0, None), (4.5, 4.4), (6.0, 4.3)]
    assert all(figure in report.read_text() for figure in ("0.5000", "2.2000", "1.8000", "straggler"))


def test_hostile_texts_are_shown_as_texts():
    episode = summarise("nothing", BRIEF, finished(), seconds=2.0)
    call = replace(episode.calls[0], name=HOSTILE, reason=HOSTILE, answer=HOSTILE, arguments={HOSTILE: HOSTILE})
    faults = ({"kind": HOSTILE, HOSTILE: HOSTILE},)
    hostile = replace(
        episode, task_id=HOSTILE, agent=HOSTILE, incidents=(HOSTILE,), faults=faults, reports=faults, calls=(call,)
    )
    run = {"run": HOSTILE, "agent": HOSTILE, "started": "", "seconds": 1.0, "problem": HOSTILE, "mean_score": None}

    page = FleetReport().page(run, [hostile])

    assert "<script" not in page
    assert loss_png(hostile).startswith(b"\x89PNG")


def test_faults_are_marked_where_they_begin():
    faults = [
        {"kind": "crash", "moments_s": [100.0, 200.0]},
        {"kind": "straggler", "begins_s": 50.0},
        {"kind": "half_precision"},
        {"kind": "poisoned_batch", "first": 100},
    ]

    assert begin_times(faults) == [
        (0.0, "half_precision"),
        (50.0, "straggler"),
        (100.0, "crash"),
        (120.0, "poisoned_batch"),
        (200.0, "crash"),
    ]
