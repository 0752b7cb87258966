"""Optuna's samplers as proposers: TPE (Bergstra et al. 2011) and CMA-ES (Hansen and Ostermeier 2001).

Optuna is optional: the extra `baselines` installs it, with the package `cmaes` that its CMA-ES needs.
"""

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ml_trainer_env.baselines.search.space import Configuration, Options, Point, Space
from ml_trainer_env.baselines.session import Brief
from ml_trainer_env.errors import MLTrainerError

if TYPE_CHECKING:
    import optuna

__all__ = ["OptunaMissingError", "OptunaProposer", "cma_es_proposer", "tpe_proposer"]

_WORST = -1e6
"""What a diverged trial is worth. Samplers need a finite number."""

_STARTUP_TRIALS = 2
"""Trials that TPE draws at random before its model is used. Optuna's 10 are more than an episode has."""

_POPULATION = 4
"""Proposals of a generation of CMA-ES. The usual 4 + 3 ln(7) = 9 are more than an episode has."""


class OptunaMissingError(MLTrainerError, ImportError):
    """A package that a search needs is not installed. The message says how to install it."""


def tpe_proposer(_brief: Brief, space: Space, seed: int) -> "OptunaProposer":
    """Create a proposer with a tree-structured Parzen estimator; see `Propose`."""
    samplers = _optuna().samplers
    return OptunaProposer(space, samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS))


def cma_es_proposer(_brief: Brief, space: Space, seed: int) -> "OptunaProposer":
    """Create a proposer with CMA-ES; see `Propose`. Choices are whole numbers to it.

    Raises:
        OptunaMissingError: Optuna or `cmaes` is not installed.
    """
    samplers = _optuna().samplers
    if find_spec("cmaes") is None:  # Optuna imports it with the first proposal; a missing one is told now
        raise OptunaMissingError(_how_to_install("cmaes"))
    sampler = samplers.CmaEsSampler(seed=seed, popsize=_POPULATION, warn_independent_sampling=False)
    return OptunaProposer(space, sampler)


class OptunaProposer:
    """Proposes what a sampler of Optuna suggests.

    Args:
        space: The space.
        sampler: The sampler, with a seed of its own.
    """

    def __init__(self, space: Space, sampler: "optuna.samplers.BaseSampler") -> None:
        optuna = _optuna()
        self._optuna = optuna
        self._space = space
        self._distributions = {
            name: optuna.distributions.IntDistribution(0, len(dimension.values) - 1)
            if isinstance(dimension, Options)
            else optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
            for name, dimension in space.dimensions.items()
        }
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: tuple[Configuration, Any] | None = None

    def ask(self) -> Configuration:
        """Propose a configuration. A proposal that nobody told about is given up."""
        self._give_up()
        trial = self._study.ask(self._distributions)
        configuration = self._space.configuration(trial.params)
        self._asked = configuration, trial
        return configuration

    def tell(self, configuration: Configuration, value: float) -> None:
        """Tell the study. A configuration that it did not propose becomes a trial of its own."""
        finite = value if math.isfinite(value) else _WORST
        if self._asked is not None and self._asked[0] == configuration:
            self._study.tell(self._asked[1], finite)
            self._asked = None
            return
        self._give_up()
        point: Point = self._space.point(configuration)
        trial = self._optuna.trial.create_trial(params=dict(point), distributions=self._distributions, value=finite)
        self._study.add_trial(trial)

    def _give_up(self) -> None:
        if self._asked is not None:
            self._study.tell(self._asked[1], state=self._optuna.trial.TrialState.FAIL)
            self._asked = None


def _optuna() -> Any:
    # A late import: it is optional, and it takes a second.
    try:
        import optuna
    except ImportError as error:
        raise OptunaMissingError(_how_to_install("optuna")) from error
    # Optuna writes a line for each study and trial to standard error, where progress is shown.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _how_to_install(package: str) -> str:
    return f"this agent needs the package {package}: pip install 'openenv-ml-trainer-env[baselines]'"
