"""What the LLM agent makes of a model's answers: one test a way to go wrong, and the right way."""

from dataclasses import replace

import pytest

from ml_trainer_env.baselines.llm_prompt import task
from ml_trainer_env.baselines.play import Author, play

RUN_5 = ("run_epochs", '{"num_epochs": 5}')


def names(session):
    return [name for name, _ in session.calls]


def test_a_model_that_calls_tools_trains_and_submits(bench, make_session):
    session = make_session()
    bench.server.calls("configure_training", optimizer="adamw", learning_rate=0.002)
    bench.server.calls("run_epochs", num_epochs=10)
    bench.server.calls("submit_model")

    turns = play(bench.agent(), session)

    assert names(session) == ["configure_training", "run_epochs", "submit_model"]
    assert turns[-1].outcome.reply["score"] == pytest.approx(0.959, abs=0.01)
    assert all(turn.author is Author.AGENT for turn in turns)


def test_the_model_is_offered_the_tools_that_the_server_lists(bench, make_session):
    session = make_session()
    bench.server.calls("run_epochs", num_epochs=1)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    tools = bench.server.requests[0].body["tools"]
    assert [tool["function"]["name"] for tool in tools] == [tool.name for tool in session.tools]
    run = tools[1]["function"]["parameters"]["properties"]["num_epochs"]
    assert run == {"type": "integer", "minimum": 1, "maximum": 20}
    assert "title" not in tools[0]["function"]["parameters"]


def test_the_state_goes_to_the_model_as_a_few_lines(bench, make_session):
    bench.server.calls("run_epochs", num_epochs=5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    told = bench.told(1)
    assert "epoch 5 of 30" in told
    assert "signal: improving" in told
    assert "val loss, last epochs:" in told
    assert "{" not in told
    assert len(told.splitlines()) <= 8


def test_the_model_is_told_the_task_the_limit_a_call_and_that_images_are_synthetic(bench, make_session):
    bench.server.calls("run_epochs", num_epochs=5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session(source="synthetic"))

    system, task = (message["content"] for message in bench.server.requests[0].messages)
    assert "20 epochs" in system
    assert "5 decisions" in system
    assert "synthetic" in task
    assert "Decisions left, the submission included: 5." in task


def test_the_model_is_told_of_seconds_where_they_count(make_session):
    brief = make_session(budget=30).brief
    timed = replace(brief, budget_seconds=60.0, status={**brief.status, "remaining_seconds": 60.0})

    assert "Budget: 30 epochs and 60 seconds of training." in task(timed, 5)
    assert "seconds of training left 60" in task(timed, 5)
    assert "seconds" not in task(brief, 5)


def test_malformed_arguments_are_told_back_and_count_as_a_decision(bench, make_session):
    session = make_session()
    bench.server.says(None, ("run_epochs", '{"num_epochs": 5'))
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    turns = play(bench.agent(), session)

    assert names(session) == ["run_epochs", "submit_model"]
    assert "must be a JSON object" in bench.told(1)
    assert "included: 4." in bench.told(1)
    assert bench.server.requests[1].messages[-1]["role"] == "tool"
    assert turns[0].outcome.reply is None


def test_malformed_arguments_do_not_stay_in_the_history(bench, make_session):
    bench.server.says(None, ("run_epochs", "ten please"))
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    history = bench.server.requests[1].messages[-2]["tool_calls"][0]
    assert history["function"] == {"name": "run_epochs", "arguments": "{}"}


@pytest.mark.parametrize("arguments", ["[5]", "5", '"five"'])
def test_arguments_that_are_not_an_object_are_told_back(bench, make_session, arguments):
    bench.server.says(None, ("run_epochs", arguments))
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    assert "must be a JSON object" in bench.told(1)


@pytest.mark.parametrize("arguments", ["", "null", "{}", "  "])
def test_no_arguments_may_be_written_in_any_way(bench, make_session, arguments):
    session = make_session()
    bench.server.says(None, ("get_training_status", arguments))
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    assert session.calls[0] == ("get_training_status", {})


def test_an_unknown_tool_is_told_back_with_the_ones_there_are(bench, make_session):
    session = make_session()
    bench.server.calls("train_forever", hours=3)
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    assert names(session) == ["run_epochs", "submit_model"]
    assert "train_forever" in bench.told(1)
    assert "configure_training" in bench.told(1)
    assert "included: 4." in bench.told(1)


def test_prose_is_told_back_and_counts_as_a_decision(bench, make_session):
    session = make_session()
    bench.server.says("I would train for five epochs.")
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    assert names(session) == ["run_epochs", "submit_model"]
    assert bench.server.requests[1].messages[-1]["role"] == "user"
    assert "must be a tool call" in bench.told(1)
    assert "included: 4." in bench.told(1)


def test_an_empty_answer_is_told_back(bench, make_session):
    bench.server.says(None)
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    assert "must be a tool call" in bench.told(1)


def test_a_refused_call_is_told_back_with_the_reason_and_counts(bench, make_session):
    session = make_session()
    bench.server.calls("run_epochs", num_epochs=500)
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    turns = play(bench.agent(), session)

    assert "from 1 to 20" in bench.told(1)
    assert "included: 4." in bench.told(1)
    assert turns[0].outcome.refusal.startswith("num_epochs")


def test_divergence_is_told_in_capitals(bench, make_session):
    bench.server.calls("configure_training", learning_rate=5.0)
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    assert "DIVERGED" in bench.told(2)


def test_the_model_is_asked_for_its_last_decision_and_told_that_it_is_the_last(bench, make_session):
    session = make_session()
    for _ in range(4):
        bench.server.calls("run_epochs", num_epochs=2)
    bench.server.calls("submit_model")

    turns = play(bench.agent(), session)

    assert "last decision: call submit_model now" in bench.told(4)
    assert names(session) == ["run_epochs"] * 4 + ["submit_model"]
    assert turns[-1].author is Author.AGENT


def test_the_program_closes_the_episode_of_a_model_that_does_not_submit(bench, make_session):
    session = make_session()
    for _ in range(5):
        bench.server.calls("run_epochs", num_epochs=2)

    turns = play(bench.agent(), session)

    assert names(session) == ["run_epochs"] * 5 + ["submit_model"]
    assert len(bench.server.requests) == 5
    assert turns[-1].author is Author.CLOSING
    assert turns[-1].outcome.done


@pytest.mark.parametrize(("difficulty", "decisions"), [("easy", 5), ("medium", 6), ("hard", 7)])
def test_the_number_of_decisions_goes_with_the_difficulty(bench, make_session, difficulty, decisions):
    session = make_session(difficulty=difficulty)
    for _ in range(decisions):
        bench.server.calls("run_epochs", num_epochs=1)

    turns = play(bench.agent(), session)

    assert sum(turn.author is Author.AGENT for turn in turns) == decisions


def test_a_model_that_never_trained_gets_epochs_before_the_submission(bench, make_session):
    session = make_session(budget=12)
    for _ in range(5):
        bench.server.says("Hm.")

    turns = play(bench.agent(), session)

    assert session.calls == [("run_epochs", {"num_epochs": 12}), ("submit_model", {})]
    assert turns[-1].outcome.done


def test_a_submission_before_any_epoch_is_refused_and_told_back(bench, make_session):
    bench.server.calls("submit_model")
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), make_session())

    assert "nothing has been trained" in bench.told(1)


def test_several_calls_in_one_answer_are_carried_out_in_order_and_each_counts(bench, make_session):
    session = make_session()
    bench.server.says(None, ("configure_training", '{"dropout": 0.2}'), RUN_5)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    assert names(session) == ["configure_training", "run_epochs", "submit_model"]
    first, second = bench.server.requests[1].messages[-2:]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("call-0-0", "call-0-1")
    assert "included: 3." in second["content"]


def test_calls_behind_one_that_failed_are_not_carried_out_and_cost_nothing(bench, make_session):
    session = make_session()
    bench.server.says(None, ("configure_training", '{"learning_rate": 99}'), RUN_5)
    bench.server.calls("run_epochs", num_epochs=3)
    bench.server.calls("submit_model")

    play(bench.agent(), session)

    assert names(session) == ["configure_training", "run_epochs", "submit_model"]
    assert session.calls[1] == ("run_epochs", {"num_epochs": 3})
    assert "Not carried out" in bench.told(1)
    assert "included: 4." in bench.server.requests[1].messages[-2]["content"]


def test_calls_beyond_the_last_decision_are_not_carried_out(bench, make_session):
    session = make_session()
    bench.server.says(None, *[("run_epochs", '{"num_epochs": 1}')] * 9)

    play(bench.agent(), session)

    assert names(session) == ["run_epochs"] * 5 + ["submit_model"]


def test_text_beside_a_call_is_kept_as_its_reason(bench, make_session):
    bench.server.says("Loss still falls,\nso on.", RUN_5)
    bench.server.calls("submit_model")

    turns = play(bench.agent(), make_session())

    assert turns[0].decision.reason == "Loss still falls, so on."


def test_every_message_and_the_tokens_of_every_answer_are_recorded(bench, make_session):
    bench.server.says(None, RUN_5)
    bench.server.calls("submit_model")
    agent = bench.agent()

    play(agent, make_session())

    roles = [fields["role"] for kind, fields in bench.events if kind == "message"]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    completions = [fields for kind, fields in bench.events if kind == "completion"]
    assert [(one["prompt_tokens"], one["completion_tokens"]) for one in completions] == [(100, 10)] * 2
    assert all("seconds" in one for one in completions)
