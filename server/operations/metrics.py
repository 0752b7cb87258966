"""Metrics of the server for Prometheus. The parts of the server record calls and epochs, or register functions."""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Outcome", "Telemetry"]

UNKNOWN = "unknown"

_CALL_BUCKETS = (0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 900.0)
"""Bucket limits in seconds, from a call without training to one at its time limit."""

_EPOCH_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class Outcome(StrEnum):
    """How a call ends.

    Attributes:
        OK: It succeeded.
        REFUSED: The caller made an error.
        STOPPED: Training exceeded its time limit, the client disconnected, or the workers died.
        FAILED: The server has a bug.
    """

    OK = "ok"
    REFUSED = "refused"
    STOPPED = "stopped"
    FAILED = "failed"


class Telemetry:
    """Counts calls and epochs. Registered functions supply the other metrics.

    Args:
        tools: Names of the tools. Calls of unknown tools share one label, so that callers cannot create labels.
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
            tool: Name of the tool.
            outcome: Outcome of the call.
            seconds: Duration of the call.
        """
        self._calls.labels(tool if tool in self._tools else UNKNOWN, outcome).observe(seconds)

    def epoch(self, split: str, seconds: float, from_cache: bool) -> None:
        """Count an epoch.

        Args:
            split: Split of its task: `train` for the named tasks.
            seconds: Duration of its training.
            from_cache: Whether it was found in the cache.
        """
        self._epochs.labels(split, "cache" if from_cache else "trained").inc()
        if not from_cache:
            self._epoch_seconds.labels(split).observe(seconds)

    def watch(self, name: str, documentation: str, function: Callable[[], float], *, only_grows: bool = False) -> None:
        """Register a function that supplies a metric.

        Args:
            name: Name of the metric, without `ml_trainer_`.
            documentation: Description of the metric.
            function: Returns its value. Must be fast; called on the event loop at each read.
            only_grows: Whether the metric is a counter, not a gauge.
        """
        self._registry.register(_Watched(f"ml_trainer_{name}", documentation, function, only_grows))

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Watched(Collector):
    """A metric that a function supplies."""

    def __init__(self, name: str, documentation: str, function: Callable[[], float], only_grows: bool) -> None:
        self._name = name
        self._documentation = documentation
        self._function = function
        self._family = CounterMetricFamily if only_grows else GaugeMetricFamily

    def describe(self) -> Iterator[Metric]:
        """Return the name of the metric, so that registration does not call the function."""
        yield self._family(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """Return the current value."""
        yield self._family(self._name, self._documentation, value=float(self._function()))
