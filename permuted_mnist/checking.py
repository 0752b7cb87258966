"""Checks an agent's folder against every rule of the contract, in the sandbox, with the limits of an evaluation.

Each rule is checked in new processes. A crash or an exception is reported as the finding of the rule.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from permuted_mnist.contract import ADVICE, ContractError, Rule, learned
from permuted_mnist.delivery import NEAR_CHANCE, Delivery
from permuted_mnist.evaluation.sandboxed_agent import AgentFailedError, SandboxedAgent
from permuted_mnist.evaluation.series import copy_agent
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits

__all__ = ["Finding", "Verdict", "check", "conclusion"]


class Verdict(StrEnum):
    """Result of checking a rule."""

    OK = "ok"
    """The agent follows the rule."""

    NOTE = "note"
    """The agent breaks the rule, but evaluations do not depend on it."""

    FAIL = "FAIL"
    """The agent breaks the rule, raised an exception, or its process ended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of checking one rule.

    Attributes:
        rule: The rule in words.
        verdict: Whether the agent follows it.
        detail: What was expected and what came, a traceback, or a remark.
        delivery: The delivery that was checked, if the rule is about one.
        accuracy: Accuracy on the small task, if the rule is about a delivery and the agent answered.
    """

    rule: str
    verdict: Verdict
    detail: str = ""
    delivery: Delivery | None = None
    accuracy: float | None = None


def check(folder: Path, delivery: Delivery, layers: Layers) -> Iterator[Finding]:
    """Check every rule. Yields each finding at once.

    Args:
        folder: Folder with `agent.py`.
        delivery: The delivery that the agent must accept. The other one is checked, too, but cannot fail.
        layers: Sandbox layers.

    Raises:
        NoAgentError: `agent.py` does not exist.
        OSError: The sandbox cannot be started.
    """
    with copy_agent(folder) as copy:
        yield _check_loading(copy, layers)
        yield _check_delivery(copy, delivery, Verdict.FAIL, layers)
        yield _check_delivery(copy, delivery.other, Verdict.NOTE, layers)
        for rule in ADVICE:
            yield _check_rule(copy, rule, delivery, layers)


def conclusion(findings: list[Finding], delivery: Delivery) -> str:
    """Say which deliveries the agent accepts, and what to do if the requested one is not among them."""
    tried = {finding.delivery: finding for finding in findings if finding.delivery is not None}
    taken = [one for one in Delivery if (tried[one].accuracy or 0.0) >= NEAR_CHANCE]
    if not taken:
        return "This agent takes neither delivery: with both it fails, or is near chance on the small task."
    words = f"This agent takes: {', '.join(taken)}."
    if delivery in taken:
        return words
    return f"{words} Run it with --delivery {delivery.other}, or have it take {delivery.form}."


def _check_loading(copy: Path, layers: Layers) -> Finding:
    name = "is imported and made, and can be reset"
    try:
        with _agent_factory(copy, layers) as make:
            make(1).reset()
    except AgentFailedError as error:
        return Finding(name, Verdict.FAIL, _error_text(error))
    return Finding(name, Verdict.OK)


def _check_delivery(copy: Path, delivery: Delivery, otherwise: Verdict, layers: Layers) -> Finding:
    name = f"takes --delivery {delivery}: {delivery.form}"
    try:
        with _agent_factory(copy, layers) as make:
            accuracy = learned(make, delivery)
    except (AgentFailedError, ContractError) as error:
        return Finding(name, otherwise, _error_text(error), delivery)
    remark = f"accuracy {accuracy:.2f} on a small task"
    hint = delivery.hint(accuracy)
    return Finding(name, Verdict.OK, f"{remark}; {hint}" if hint else remark, delivery, accuracy)


def _check_rule(copy: Path, rule: Rule, delivery: Delivery, layers: Layers) -> Finding:
    name = rule.__name__.replace("_", " ")
    try:
        with _agent_factory(copy, layers) as make:
            rule(make, delivery)
    except ContractError as error:
        return Finding(name, Verdict.NOTE, str(error))
    except AgentFailedError as error:
        return Finding(name, Verdict.FAIL, _error_text(error))
    return Finding(name, Verdict.OK)


def _error_text(error: AgentFailedError | ContractError) -> str:
    return f"{error.failure}: {error}" if isinstance(error, AgentFailedError) else str(error)


@contextmanager
def _agent_factory(folder: Path, layers: Layers) -> Iterator[Callable[[int], SandboxedAgent]]:
    """Provide a function that starts sandboxed agents. All of them are closed at the end of the block."""
    with ExitStack() as running:

        def make(seed: int) -> SandboxedAgent:
            agent = running.enter_context(SandboxedAgent(folder, Limits(), layers, seed))
            agent.load()
            return agent

        yield make
