"""What the figures of a run of the fleet tell, on small recorded replies."""

import pytest

from ml_trainer_env.baselines.fleet import clues

QUIET = {str(node): 1.0 + node / 1000 for node in range(8)}
SHARD_LOSS = {str(shard): 2.4 + shard % 5 / 50 for shard in range(16)}
SHARD_NORM = {str(shard): 0.5 + shard % 3 / 100 for shard in range(16)}


def test_a_norm_far_above_the_others_is_hot_and_tells_its_step():
    norms = {**{str(node): [0.6, 40] for node in range(7)}, "7": [52850.0, 99]}

    assert clues.hot_groups(norms) == {"7": 99.0}
    assert clues.hot_groups({**norms, "7": [None, 99]}) == {"7": 99.0}
    assert clues.hot_groups({**norms, "7": [0.82, 99]}) == {}


def test_a_node_that_computes_longer_than_the_others_is_slow():
    assert clues.slow_nodes(QUIET) == []
    assert clues.slow_nodes({**QUIET, "4": 2.9}) == [4]


def test_shards_that_are_waited_for_are_slow_and_the_slowest_comes_first():
    assert clues.slow_shards({"0": 0.02, "1": 1.4, "4": 1.9}) == [4, 1]


def test_the_reduction_is_slow_if_even_the_last_rank_waits():
    assert not clues.waits_of_all({"0": 0.1, "1": 1.9})
    assert clues.waits_of_all({"0": 1.7, "1": 1.9})


def test_a_shard_with_another_loss_or_large_gradients_is_suspicious():
    assert clues.bad_text_suspects(SHARD_LOSS, SHARD_NORM) == []
    assert clues.bad_text_suspects({**SHARD_LOSS, "6": 3.3, "14": 3.4}, SHARD_NORM) == [14, 6]
    assert clues.bad_text_suspects(SHARD_LOSS, {**SHARD_NORM, "3": 1.1}) == [3]
    assert clues.bad_text_suspects({**SHARD_LOSS, "2": None}, SHARD_NORM) == []


@pytest.mark.parametrize(
    ("entropy", "distinct", "is_bad"), [(1.98, 16, False), (2.35, 16, True), (0.8, 1, True), (1.9, 1, True)]
)
def test_spoilt_text_is_not_as_predictable_as_text_or_repeats(entropy, distinct, is_bad):
    assert clues.bad_statistics({"entropy_of_next_nats": entropy, "distinct_sequences": distinct}) is is_bad


def test_a_node_drifts_if_its_loss_is_above_that_of_the_others():
    flat = dict.fromkeys(QUIET, 0.5)

    assert clues.drift_suspect({**QUIET, "1": 1.12}, flat) is None
    assert clues.drift_suspect({**QUIET, "1": 1.12}, {**flat, "1": 0.56}) == 1
    assert clues.drift_suspect({**QUIET, "1": 1.4}, flat) == 1
    assert clues.drift_suspect({"0": 1.0}, {"0": 0.5}) is None


def test_the_right_replica_is_that_of_the_most_ranks():
    assert clues.majority_rank({"checksum_0": 5, "checksum_1": 5, "checksum_2": 5}) is None
    assert clues.majority_rank({"checksum_0": 9, "checksum_1": 5, "checksum_2": 5}) == 1


def test_ranks_that_read_the_same_batch_have_equal_losses():
    assert clues.reads_alike({"0": 2.5, "1": 2.5})
    assert not clues.reads_alike({"0": 2.5, "1": 2.501})
    assert not clues.reads_alike({})


def test_a_rank_that_grows_uses_more_memory_than_the_others():
    assert clues.growing_ranks({"0": 46.1, "1": 47.0, "2": 58.2}) == [2]


def test_a_loss_is_above_that_of_before_if_the_same_steps_have_a_higher_one():
    before = {50: 2.5, 51: 2.4, 52: 2.5}

    assert clues.is_above(before, {51: 2.41, 52: 2.52}) is False
    assert clues.is_above(before, {51: 3.1, 52: 3.0}) is True
    assert clues.is_above(before, {51: None}) is True
    assert clues.is_above(before, {}) is False
    assert clues.is_above(before, {80: 9.0}) is False


def test_a_loss_is_above_that_of_before_if_it_jumps_after_a_restart_from_the_last_step():
    before = {48: 2.5, 49: 2.4, 50: 2.5}

    assert clues.is_above(before, {50: 2.5, 51: 31.4}) is True
    assert clues.is_above(before, {50: 2.5, 51: 2.6}) is False


def test_a_rate_that_warm_up_and_decay_explain_is_not_lost():
    then = {"learning_rate": 0.036, "step": 150, "left_s": 200.0}

    assert not clues.is_rate_lost(then, {"learning_rate": 0.018, "step": 125, "left_s": 100.0})
    assert clues.is_rate_lost(then, {"learning_rate": 0.0, "step": 129, "left_s": 170.0})
    assert not clues.is_rate_lost(then, {"learning_rate": None, "step": 129, "left_s": 170.0})


def test_a_checkpoint_is_damaged_if_its_loss_is_not_that_with_which_it_was_saved():
    assert clues.is_damaged(None, 2.0)
    assert clues.is_damaged(3.4, 2.1)
    assert not clues.is_damaged(2.15, 2.1)
    assert not clues.is_damaged(4.56, None)


def test_the_interval_of_checkpoints_grows_with_the_root_of_the_time_between_deaths():
    assert clues.best_interval(1.5, 100.0, 1.15) == 15
    assert clues.best_interval(1.5, 400.0, 1.15) == 30


def test_lines_of_the_launcher_tell_deaths_and_restarts():
    events = [
        "saved checkpoint step-50 in 1.50 s",
        "rank 3 (node 5) exited with signal 9 (SIGKILL)",
        "job restarted from checkpoint step-50; the sampler begins at position 2",
    ]

    assert clues.deaths(events) == [(3, 5)]
    assert clues.restart_position(events) == ("step-50", 2)
    assert clues.restart_position(events[:1]) is None


def test_a_notice_tells_when_a_node_is_away():
    notices = [
        "[t=40] node 6: NIC link flap, recovered in 12 ms",
        "[t=41] maintenance scheduled: node 4 will be powered off from t=101 s to t=250 s",
    ]

    assert clues.maintenance(notices) == (4, 101.0, 250.0)
    assert clues.maintenance(notices[:1]) is None
