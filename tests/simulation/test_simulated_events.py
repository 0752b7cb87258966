"""Laws of queues that the discrete-event simulation must obey."""

import random
from typing import Any

import pytest


@pytest.fixture
def events() -> Any:
    from simulation import events

    return events


def visit(station: Any, seconds: float, left: list[float], clock: Any) -> Any:
    yield from station.use(seconds)
    left.append(clock.now)


def arrive_at_random(events: Any, rate: float, service_s: float, until: float, seed: int = 1) -> Any:
    """A station to which visitors come independently of each other, after a warm-up."""
    clock, chance = events.Clock(), random.Random(seed)
    station = events.Station(clock, 1)

    def come() -> Any:
        while True:
            yield chance.expovariate(rate)
            clock.start(visit(station, service_s, [], clock))

    clock.start(come())
    clock.run(until)
    return station


@pytest.mark.parametrize(("places", "ends"), [(1, [3.0, 4.0, 6.0]), (2, [1.0, 3.0, 3.0])])
def test_visitors_are_served_in_the_order_in_which_they_come_each_place_one(
    events: Any, places: int, ends: list[float]
) -> None:
    clock, left = events.Clock(), []
    station = events.Station(clock, places)
    for seconds in (3.0, 1.0, 2.0):
        clock.start(visit(station, seconds, left, clock))

    clock.run(8.0)

    assert left == ends
    assert station.utilisation == (3.0 + 1.0 + 2.0) / (places * 8.0)


def test_who_waits_for_an_event_goes_on_when_it_happens_and_not_before(events: Any) -> None:
    clock, seen = events.Clock(), []
    event = events.Event(clock)

    def watch() -> Any:
        yield event
        seen.append(clock.now)

    clock.start(watch())
    clock.call_later(5.0, event.happen)
    clock.run(4.0)
    assert seen == []
    clock.run(6.0)
    clock.start(watch())  # it has happened
    clock.run(7.0)

    assert seen == [5.0, 6.0]


def test_time_does_not_go_backwards(events: Any) -> None:
    with pytest.raises(ValueError, match=r"-0\.5"):
        events.Clock().call_later(-0.5, lambda: None)


def test_nobody_is_lost(events: Any) -> None:
    station = arrive_at_random(events, rate=0.9, service_s=1.0, until=1_000.0)

    held = 1 if station.utilisation else 0
    assert station.arrivals - station.departures in (station.waiting, station.waiting + held)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_the_mean_number_present_is_the_rate_times_the_mean_stay(events: Any, load: float) -> None:
    until = 4_000.0
    station = arrive_at_random(events, rate=load, service_s=1.0, until=until)

    rate, stay_s = station.departures / until, station.time_spent_s / station.departures
    assert station.mean_present == pytest.approx(rate * stay_s, rel=0.01)  # Little's law


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waits_of_random_arrivals_and_equal_services_are_those_of_pollaczek_and_khinchine(
    events: Any, load: float
) -> None:
    station = arrive_at_random(events, rate=load, service_s=1.0, until=15_000.0)

    wait_s = station.time_spent_s / station.departures - 1.0
    assert wait_s == pytest.approx(load / (2 * (1 - load)), rel=0.08)  # M/D/1
    assert station.utilisation == pytest.approx(load, rel=0.02)


def test_an_overloaded_station_is_used_fully_and_not_more(events: Any) -> None:
    station = arrive_at_random(events, rate=2.0, service_s=1.0, until=2_000.0)

    assert 0.99 < station.utilisation <= 1.0
