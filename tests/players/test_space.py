"""The search space, and the proposers: what all of them promise."""

import math
from random import Random

import pytest
from drawn_session import DEFAULT, DrawnSession
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.baselines.search.optuna_search import OptunaMissingError, cma_es_proposer, tpe_proposer
from ml_trainer_env.baselines.search.population import explore
from ml_trainer_env.baselines.search.proposers import Propose, random_proposer
from ml_trainer_env.baselines.search.space import Configuration, Options, Range, Space

PROPOSERS = {"random": random_proposer, "tpe": tpe_proposer, "cma-es": cma_es_proposer}
every_proposer = pytest.mark.parametrize("propose", PROPOSERS.values(), ids=PROPOSERS)
batches = pytest.mark.parametrize("largest", [32, 64, 256])


def space_of(largest: int = 256) -> Space:
    return Space.of(DrawnSession(largest_batch=largest).brief)


@batches
@given(seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_drawn_configuration_is_one_that_the_tools_take_and_comes_back_from_its_point(
    largest: int, seed: int
) -> None:
    space = space_of(largest)

    configuration = space.configuration(space.sample(Random(seed)))

    session = DrawnSession(largest_batch=largest)
    assert session.call("configure_training", configuration.arguments())["configuration"]["batch_size"] <= largest
    assert is_inside(space, configuration)
    again = space.configuration(space.point(configuration))
    assert again == configuration


def is_inside(space: Space, configuration: Configuration) -> bool:
    """Whether each coordinate of a configuration is within its dimension."""
    point = space.point(configuration)
    bounds = {
        name: (0, len(dimension.values) - 1) if isinstance(dimension, Options) else (dimension.low, dimension.high)
        for name, dimension in space.dimensions.items()
    }
    return all(low <= point[name] <= high for name, (low, high) in bounds.items())


@given(st.floats(1e-4, 1.0), st.floats(0.0, 1.0), st.sampled_from(["adam", "adamw", "sgd"]))
def test_what_lies_outside_of_the_space_is_moved_to_its_border(rate: float, decay: float, optimizer: str) -> None:
    space = space_of()
    given_settings = {**DEFAULT, "learning_rate": rate, "weight_decay": decay, "optimizer": optimizer}

    assert is_inside(space, space.configuration(space.point(Configuration.default(given_settings))))


def test_the_default_configuration_is_what_the_episode_begins_with() -> None:
    session = DrawnSession()

    default = Configuration.default(session.call("save_checkpoint", {"name": "start"})["configuration"])

    again = session.call("configure_training", default.arguments())["configuration"]
    assert {name: value for name, value in again.items() if name != "augmentation_strength"} == {
        name: value for name, value in DEFAULT.items() if name != "augmentation_strength"
    }


@pytest.mark.parametrize("dimension", [Range(0.5, 2.0), Range(1e-4, 1.0, log=True)])
def test_a_range_is_drawn_from_end_to_end(dimension: Range) -> None:
    source = Random(1)

    drawn = sorted(dimension.sample(source) for _ in range(1000))

    assert dimension.low <= drawn[0]
    assert drawn[-1] <= dimension.high
    middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
    assert 400 < sum(value < middle for value in drawn) < 600


@every_proposer
@batches
def test_proposals_lie_in_the_space_and_follow_from_the_seed(propose: Propose, largest: int) -> None:
    space = space_of(largest)

    first, again, other = (proposals(propose, space, seed) for seed in (5, 5, 6))

    assert first == again
    assert first != other
    assert all(is_inside(space, configuration) for configuration in first)
    assert len(set(first)) > 1


def proposals(propose: Propose, space: Space, seed: int) -> list[Configuration]:
    """Six proposals. The values told favour high rates, and one trial diverges."""
    proposer = propose(DrawnSession().brief, space, seed)
    found = []
    for number in range(6):
        found.append(proposer.ask())
        proposer.tell(found[-1], -math.inf if number == 2 else found[-1].learning_rate)
    return found


@every_proposer
def test_a_proposer_may_be_told_what_it_did_not_propose_and_not_told_what_it_did(propose: Propose) -> None:
    space = space_of()
    proposer = propose(DrawnSession().brief, space, 3)
    default = Configuration.default(DEFAULT)

    proposer.tell(default, 0.4)
    overruled = proposer.ask()
    proposer.tell(default, 0.5)
    given_up = proposer.ask()
    following = proposer.ask()

    assert is_inside(space, overruled)
    assert is_inside(space, following)
    assert given_up != following


def test_tpe_learns_from_what_it_is_told() -> None:
    space = space_of()
    low, high = (mean_rate_of_tpe(space, sign) for sign in (-1.0, 1.0))

    assert low < 0.5 * high


def mean_rate_of_tpe(space: Space, sign: float) -> float:
    """Mean logarithmic rate of the last proposals, told values that rise or fall with the rate."""
    proposer = tpe_proposer(DrawnSession().brief, space, 11)
    rates = []
    for _ in range(30):
        configuration = proposer.ask()
        rates.append(float(space.point(configuration)["rate"]))
        proposer.tell(configuration, sign * math.log(rates[-1]))
    return math.exp(sum(map(math.log, rates[-10:])) / 10)


@pytest.mark.parametrize(("package", "propose"), [("optuna", tpe_proposer), ("cmaes", cma_es_proposer)])
def test_a_missing_package_is_named_with_how_to_install_it(
    package: str, propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)

    with pytest.raises(OptunaMissingError, match=rf"needs the package {package}: pip install .*\[baselines\]"):
        propose(DrawnSession().brief, space_of(), 1)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_perturbed_copy_keeps_weights_and_optimizer_and_moves_each_number_by_a_fifth_or_draws_it_anew(
    seed: int,
) -> None:
    space, source = space_of(), Random(seed)
    parent = space.configuration(space.sample(source))

    copy = explore(parent, space, source)

    assert not copy.fresh
    assert copy.optimizer == parent.optimizer
    assert is_inside(space, copy)


def test_most_numbers_of_perturbed_copies_are_a_fifth_larger_or_smaller() -> None:
    space, source = space_of(), Random(2)
    parent = Configuration("adamw", 0.005, 32, 0.01, 0.2, 0.5, fresh=True)

    factors = [explore(parent, space, source).learning_rate / parent.learning_rate for _ in range(400)]

    near = sum(any(math.isclose(factor, by, rel_tol=0.01) for by in (0.8, 1.2)) for factor in factors)
    assert 260 < near < 340
