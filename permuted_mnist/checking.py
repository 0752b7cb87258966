"""Tries an agent's folder against every rule of the contract, in the sandbox and under the limits of an evaluation.

Whatever the agent does is the finding of the rule that was tried, and the next rule is tried with a new process.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from permuted_mnist.contract import ADVICE, ContractError, Rule, learned
from permuted_mnist.delivery import NEAR_CHANCE, Delivery
from permuted_mnist.evaluation.sandboxed_agent import AgentFailedError, SandboxedAgent
from permuted_mnist.evaluation.series import copied
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits

__all__ = ["Finding", "Verdict", "check", "conclusion"]


class Verdict(StrEnum):
    """What came of a rule."""

    OK = "ok"
    """The agent keeps it."""

    NOTE = "note"
    """The agent does not keep it, and an evaluation does not depend on it."""

    FAIL = "FAIL"
    """The agent breaks it, or raised something, or ended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one rule.

    Attributes:
        rule: In words.
        verdict: Whether the agent keeps it.
        detail: What was expected and what came, a traceback, or a remark.
        delivery: The form that was tried, if the rule is about it.
        accuracy: On the small task, if the rule is about a delivery and the agent answered.
    """

    rule: str
    verdict: Verdict
    detail: str = ""
    delivery: Delivery | None = None
    accuracy: float | None = None


def check(folder: Path, delivery: Delivery, layers: Layers) -> Iterator[Finding]:
    """Try every rule; each finding comes when it is made.

    Args:
        folder: Holds `agent.py`.
        delivery: The form that the agent must take. The other is tried as well, and nothing depends on it.
        layers: What holds the agent.

    Raises:
        NoAgentError: There is no `agent.py`.
        OSError: The sandbox cannot be started.
    """
    with copied(folder) as copy:
        yield _loads(copy, layers)
        yield _takes(copy, delivery, Verdict.FAIL, layers)
        yield _takes(copy, delivery.other, Verdict.NOTE, layers)
        for rule in ADVICE:
            yield _keeps(copy, rule, delivery, layers)


def conclusion(findings: list[Finding], delivery: Delivery) -> str:
    """Which deliveries the agent takes, and what to do if it is not the one that was asked for."""
    tried = {finding.delivery: finding for finding in findings if finding.delivery is not None}
    taken = [one for one in Delivery if (tried[one].accuracy or 0.0) >= NEAR_CHANCE]
    if not taken:
        return "This agent takes neither delivery: with both it fails, or is near chance on the small task."
    words = f"This agent takes: {', '.join(taken)}."
    if delivery in taken:
        return words
    return f"{words} Run it with --delivery {delivery.other}, or have it take {delivery.form}."


def _loads(copy: Path, layers: Layers) -> Finding:
    name = "is imported and made, and can be reset"
    try:
        with _maker(copy, layers) as make:
            make(1).reset()
    except AgentFailedError as error:
        return Finding(name, Verdict.FAIL, _told(error))
    return Finding(name, Verdict.OK)


def _takes(copy: Path, delivery: Delivery, otherwise: Verdict, layers: Layers) -> Finding:
    name = f"takes --delivery {delivery}: {delivery.form}"
    try:
        with _maker(copy, layers) as make:
            accuracy = learned(make, delivery)
    except (AgentFailedError, ContractError) as error:
        return Finding(name, otherwise, _told(error), delivery)
    remark = f"accuracy {accuracy:.2f} on a small task"
    hint = delivery.hint(accuracy)
    return Finding(name, Verdict.OK, f"{remark}; {hint}" if hint else remark, delivery, accuracy)


def _keeps(copy: Path, rule: Rule, delivery: Delivery, layers: Layers) -> Finding:
    name = rule.__name__.replace("_", " ")
    try:
        with _maker(copy, layers) as make:
            rule(make, delivery)
    except ContractError as error:
        return Finding(name, Verdict.NOTE, str(error))
    except AgentFailedError as error:
        return Finding(name, Verdict.FAIL, _told(error))
    return Finding(name, Verdict.OK)


def _told(error: AgentFailedError | ContractError) -> str:
    return f"{error.failure}: {error}" if isinstance(error, AgentFailedError) else str(error)


@contextmanager
def _maker(folder: Path, layers: Layers) -> Iterator[Callable[[int], SandboxedAgent]]:
    """Makes agents in sandboxes, which all end with the block."""
    with ExitStack() as running:

        def make(seed: int) -> SandboxedAgent:
            agent = running.enter_context(SandboxedAgent(folder, Limits(), layers, seed))
            agent.load()
            return agent

        yield make
