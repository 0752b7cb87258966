"""Requests to a language model: what is sent, what is tried again and for how long."""

import datetime as dt
from email.utils import format_datetime

import pytest

from ml_trainer_env.baselines.chat_model import (
    KeyRefusedError,
    LlmError,
    ModelUnavailableError,
    RequestRejectedError,
)
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.rate_limit import RateLimiter

HELLO = [{"role": "user", "content": "hello"}]
KEY = "sk-test-4f1c9d7e"


def test_the_key_and_the_model_are_sent_to_the_base_url(bench):
    bench.server.says("hi")

    completion = bench.chat().complete(HELLO, [])

    request = bench.server.requests[0]
    assert completion.text == "hi"
    assert request.path == "/v1/chat/completions"
    assert request.authorization == f"Bearer {KEY}"
    assert request.body["model"] == "gpt-4o-mini"


def test_a_rate_limit_waits_as_retry_after_says(bench):
    bench.server.fails(429, Retry_After="7")
    bench.server.says("hi")

    assert bench.chat().complete(HELLO, []).text == "hi"
    assert bench.time.sleeps == [7.0]


def test_a_rate_limit_waits_until_the_date_that_retry_after_names(bench):
    at = dt.datetime.fromtimestamp(bench.time.now + 20, dt.UTC)
    bench.server.fails(429, Retry_After=format_datetime(at, usegmt=True))
    bench.server.says("hi")

    bench.chat().complete(HELLO, [])

    assert bench.time.sleeps == [pytest.approx(20.0, abs=1.0)]


def test_a_rate_limit_without_retry_after_waits_longer_each_time(bench):
    bench.server.fails(429)
    bench.server.fails(429)
    bench.server.says("hi")

    bench.chat().complete(HELLO, [])

    assert bench.time.sleeps == [10.0, 20.0]


def test_a_retry_after_of_hours_is_cut_to_two_minutes(bench):
    bench.server.fails(429, Retry_After="7200")
    bench.server.says("hi")

    bench.chat().complete(HELLO, [])

    assert bench.time.sleeps == [120.0]


def test_a_spent_quota_is_not_asked_again(bench):
    bench.server.fails(429, "You exceeded your current quota", code="insufficient_quota")

    with pytest.raises(RequestRejectedError, match="quota"):
        bench.chat().complete(HELLO, [])

    assert bench.time.sleeps == []


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_server_error_is_tried_again(bench, status):
    bench.server.fails(status)
    bench.server.says("hi")

    assert bench.chat().complete(HELLO, []).text == "hi"
    assert bench.time.sleeps == [1.0]


def test_server_errors_for_ever_end_after_the_retries(bench):
    for _ in range(10):
        bench.server.fails(503)

    with pytest.raises(ModelUnavailableError, match=r"no answer in 4 attempts; the last: HTTP 503"):
        bench.chat(max_retries=3).complete(HELLO, [])

    assert len(bench.server.requests) == 4
    assert bench.time.sleeps == [1.0, 2.0, 4.0]


def test_no_retries_means_one_attempt(bench):
    bench.server.fails(500)

    with pytest.raises(ModelUnavailableError):
        bench.chat(max_retries=0).complete(HELLO, [])

    assert len(bench.server.requests) == 1


def test_a_request_that_times_out_is_tried_again(bench):
    bench.server.hangs()
    bench.server.says("hi")

    # Enough for an answer on a busy machine; the first request never gets one.
    assert bench.chat(timeout_s=2.0).complete(HELLO, []).text == "hi"
    reason = "it gave no answer in 2 s (LLM_TIMEOUT_S)"
    assert ("retry", {"attempt": 1, "reason": reason, "wait_s": 1.0}) in bench.events


def test_a_tool_choice_and_a_limit_of_tokens_are_sent_if_they_are_set(bench):
    bench.server.says("hi")
    bench.server.says("hi")
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]

    bench.chat(tool_choice="required", max_tokens=700).complete(HELLO, tools)
    bench.chat().complete(HELLO, tools)

    set_, unset = (request.body for request in bench.server.requests)
    assert (set_["tool_choice"], set_["max_tokens"]) == ("required", 700)
    assert not {"tool_choice", "max_tokens", "max_completion_tokens"} & set(unset)


def test_a_model_that_calls_the_limit_of_tokens_otherwise_gets_it_by_that_name(bench):
    bench.server.fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    bench.server.says("hi")

    assert bench.chat(max_tokens=700).complete(HELLO, []).text == "hi"

    assert "max_tokens" not in bench.server.requests[1].body
    assert bench.server.requests[1].body["max_completion_tokens"] == 700


def test_a_model_that_nobody_serves_is_unavailable(bench):
    bench.server.close()

    with pytest.raises(ModelUnavailableError, match="connection failed"):
        bench.chat(max_retries=1).complete(HELLO, [])


@pytest.mark.parametrize("body", ["<html>hello</html>", {"error": {"message": "overloaded"}}, "{", {"choices": []}])
def test_an_answer_without_a_message_is_tried_again(bench, body):
    bench.server.answers(200, body)
    bench.server.says("hi")

    assert bench.chat().complete(HELLO, []).text == "hi"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_tried_again_and_not_shown(bench, status):
    bench.server.fails(status, f"Incorrect API key provided: {KEY}")

    with pytest.raises(KeyRefusedError) as caught:
        bench.chat().complete(HELLO, [])

    assert len(bench.server.requests) == 1
    assert "OPENAI_API_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_refused_the_way_gemini_does_is_a_refused_key(bench):
    bench.server.fails(400, "API key not valid. Please pass a valid API key.")

    with pytest.raises(KeyRefusedError):
        bench.chat().complete(HELLO, [])


def test_a_wrong_request_ends_with_the_servers_words_on_one_line_without_the_key(bench):
    bench.server.fails(404, f"The model\n`gpt-9` does not exist for {KEY}")

    with pytest.raises(RequestRejectedError) as caught:
        bench.chat().complete(HELLO, [])

    assert "The model `gpt-9` does not exist for ***" in str(caught.value)


def test_no_more_requests_than_the_limit_fall_into_any_minute_retries_included(bench):
    for number in range(12):
        if number % 3 == 1:
            bench.server.fails(500)
        elif number % 3 == 2:
            bench.server.fails(429, Retry_After="1")
        else:
            bench.server.says("hi")
    chat = bench.chat(rpm_limit=5)

    for _ in range(4):
        chat.complete(HELLO, [])

    arrivals = [request.at for request in bench.server.requests]
    assert len(arrivals) == 10
    assert all(later - earlier >= 60.0 for earlier, later in zip(arrivals, arrivals[5:], strict=False))


def test_an_episode_keeps_to_the_limit_too(bench, make_session):
    for _ in range(7):
        bench.server.calls("run_epochs", num_epochs=1)

    play(bench.agent(rpm_limit=2), make_session(difficulty="hard"))

    arrivals = [request.at - bench.server.requests[0].at for request in bench.server.requests]
    assert arrivals == pytest.approx([0, 0, 60, 60, 120, 120, 180])


@pytest.mark.parametrize("model", ["gpt-5-mini", "openai/gpt-5", "gemini-2.5-flash", "google/gemini-3-flash"])
def test_models_that_take_it_are_sent_the_reasoning_effort(bench, model):
    bench.server.says("hi")

    bench.chat(model=model).complete(HELLO, [])

    assert bench.server.requests[0].body["reasoning_effort"] == "minimal"


@pytest.mark.parametrize(
    "model",
    ["gpt-4o-mini", "gpt-4.1", "gpt-5-chat-latest", "o1-mini", "gemini-2.0-flash", "meta-llama/llama-3.3-70b"],
)
def test_other_models_are_not_sent_it(bench, model):
    bench.server.says("hi")

    bench.chat(model=model).complete(HELLO, [])

    assert "reasoning_effort" not in bench.server.requests[0].body


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5.1", "openai/gpt-oss-120b"])
def test_families_that_do_not_know_minimal_are_sent_low(bench, model):
    bench.server.says("hi")

    bench.chat(model=model).complete(HELLO, [])

    assert bench.server.requests[0].body["reasoning_effort"] == "low"


def test_an_effort_other_than_minimal_is_sent_as_it_is(bench):
    bench.server.says("hi")

    bench.chat(model="o3", reasoning_effort="high").complete(HELLO, [])

    assert bench.server.requests[0].body["reasoning_effort"] == "high"


def test_an_empty_effort_is_never_sent(bench):
    bench.server.says("hi")

    bench.chat(model="gpt-5", reasoning_effort="").complete(HELLO, [])

    assert "reasoning_effort" not in bench.server.requests[0].body


def test_an_effort_that_a_model_refuses_all_the_same_is_left_out(bench):
    bench.server.fails(400, "Unsupported value: 'reasoning_effort' does not support 'minimal'")
    bench.server.says("hi")

    assert bench.chat(model="gpt-5").complete(HELLO, []).text == "hi"
    assert "reasoning_effort" not in bench.server.requests[1].body


def test_the_tokens_of_all_answers_are_counted(bench):
    bench.server.says("one")
    bench.server.says("two")
    chat = bench.chat()

    chat.complete(HELLO, [])
    chat.complete(HELLO, [])

    assert chat.tokens_spent == 220


def test_nothing_that_is_recorded_or_printed_holds_the_key(bench):
    bench.server.fails(500, f"boom {KEY}")
    bench.server.fails(418, f"boom {KEY}")

    with pytest.raises(LlmError) as caught:
        bench.chat().complete(HELLO, [])

    assert KEY not in f"{bench.events}{caught.value}{bench.settings()!r}"


def test_a_wait_for_the_cap_is_told_before_it_begins(fake_time):
    told = []
    limiter = RateLimiter(1, clock=fake_time, sleep=fake_time.sleep, on_wait=told.append)

    for _ in range(2):
        with limiter.request():
            pass

    assert told == fake_time.sleeps == [60.0]
