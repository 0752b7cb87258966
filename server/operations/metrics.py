"""What the server counts, for Prometheus. Knows of no part of the server: each tells it, or lets itself be asked."""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Outcome", "Telemetry"]

UNKNOWN = "unknown"

_CALL_BUCKETS = (0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 900.0)
"""From a call that only looks to one that takes all the time it may, in seconds."""

_EPOCH_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class Outcome(StrEnum):
    """How a call ends.

    Attributes:
        OK: As it was meant to.
        REFUSED: By a mistake of the caller's.
        STOPPED: Training took too long, nobody waited for it any more, or its workers died.
        FAILED: By a mistake of ours.
    """

    OK = "ok"
    REFUSED = "refused"
    STOPPED = "stopped"
    FAILED = "failed"


class Telemetry:
    """Counts calls and epochs, and asks for the rest when it is read.

    Args:
        tools: The tools there are. Calls of others are counted together: whoever calls must not make up labels.
    """

    def __init__(self, tools: Collection[str] = ()) -> None:
        self._tools = frozenset(tools)
        self._registry = CollectorRegistry()
        self._calls = Histogram(
            "ml_trainer_call_seconds",
            f"Time that a tool call took, waiting for a worker included, by outcome: {', '.join(Outcome)}.",
            ("tool", "outcome"),
            buckets=_CALL_BUCKETS,
            registry=self._registry,
        )
        self._epochs = Counter(
            "ml_trainer_epochs",
            "Epochs that were answered, by whether they were trained or found in the cache.",
            ("split", "source"),
            registry=self._registry,
        )
        self._epoch_seconds = Histogram(
            "ml_trainer_epoch_seconds",
            "Time that a trained epoch took where it ran.",
            ("split",),
            buckets=_EPOCH_BUCKETS,
            registry=self._registry,
        )

    def call(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """Count a tool call.

        Args:
            tool: Which tool.
            outcome: How it ended.
            seconds: How long it took.
        """
        self._calls.labels(tool if tool in self._tools else UNKNOWN, outcome).observe(seconds)

    def epoch(self, split: str, seconds: float, from_cache: bool) -> None:
        """Count an epoch.

        Args:
            split: Split of its task: `train` for the named tasks.
            seconds: How long it took where it ran.
            from_cache: Whether it was found in the cache, and took nobody's time.
        """
        self._epochs.labels(split, "cache" if from_cache else "trained").inc()
        if not from_cache:
            self._epoch_seconds.labels(split).observe(seconds)

    def watch(self, name: str, documentation: str, function: Callable[[], float], *, only_grows: bool = False) -> None:
        """Ask a function whenever the figures are read.

        Args:
            name: What the figure is called, after `ml_trainer_`.
            documentation: What it says.
            function: Gives it. Cheap, and called on the event loop.
            only_grows: Whether it counts what has happened, rather than telling what is.
        """
        self._registry.register(_Watched(f"ml_trainer_{name}", documentation, function, only_grows))

    def exposition(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Watched(Collector):
    """A figure that a function gives."""

    def __init__(self, name: str, documentation: str, function: Callable[[], float], only_grows: bool) -> None:
        self._name = name
        self._documentation = documentation
        self._function = function
        self._family = CounterMetricFamily if only_grows else GaugeMetricFamily

    def describe(self) -> Iterator[Metric]:
        """The figure's name, so that registering it does not ask for it."""
        yield self._family(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """The figure as it is now."""
        yield self._family(self._name, self._documentation, value=float(self._function()))
