"""Ratings from matches, by the model of Bradley and Terry, with confidence intervals.

The model: a player of rating a wins against one of rating b with the probability 1 / (1 + 10^((b - a) / 400)), on the
scale of Elo. A draw counts as half a win and half a loss.

Sources: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs: I. The method of paired
comparisons", Biometrika 39 (1952), 324-345. D. R. Hunter, "MM algorithms for generalized Bradley-Terry models", Annals
of Statistics 32 (2004), 384-406, on when the maximum exists. Here it always does: each player also has a draw against
a player of the rating BASE, a prior that draws ratings of few matches to it (F. Caron and A. Doucet, "Efficient
Bayesian inference for generalized Bradley-Terry models", Journal of Computational and Graphical Statistics 21 (2012),
174-196).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["BASE", "Match", "Rating", "fit"]

BASE = 1500.0
"""Rating of the player whom everybody has met once, with a draw."""

SCALE = 400.0 / math.log(10.0)
"""Points of a rating for each unit of the logit."""

_STEPS = 100
_SMALL = 1e-10
_QUANTILE = float(special.ndtri(0.975))


@dataclass(frozen=True, slots=True)
class Match:
    """A match of two players. `result` is 1 if the first has won, 0.5 for a draw, and 0 if the second has won."""

    first: Hashable
    second: Hashable
    result: float


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating. `ci95` is half the width of its 95 % confidence interval, from the Fisher information.

    The interval is that of the difference to the mean of all players: matches say nothing of the mean itself.
    """

    value: float
    ci95: float


def fit(players: Sequence[Hashable], matches: Sequence[Match]) -> Mapping[Hashable, Rating]:
    """Fit the ratings of players by the greatest posterior probability of their matches, with Newton's method.

    Example: of two players, one of whom has won 3 of 4 matches, the winner has the higher rating, and the two
    ratings are as far above and below BASE.

    Args:
        players: The players. Those without a match have the rating BASE and a wide interval.
        matches: Matches between them.

    Returns:
        The rating of each player. The order of players and matches does not matter.
    """
    places = {player: place for place, player in enumerate(players)}
    count = len(places)
    games, wins = np.zeros((count, count)), np.full(count, 0.5)
    for match in matches:
        first, second = places[match.first], places[match.second]
        games[first, second] += 1
        games[second, first] += 1
        wins[first] += match.result
        wins[second] += 1 - match.result
    logits = np.zeros(count)
    information = _information(games, logits)
    for _ in range(_STEPS):
        step = np.linalg.solve(information, wins - _expected(games, logits)) if count else logits
        logits = logits + np.clip(step, -1.0, 1.0)  # far from the maximum a whole step may lead away from it
        information = _information(games, logits)
        if count == 0 or np.abs(step).max() < _SMALL:
            break
    covariance = np.linalg.inv(information) if count else information
    if count > 1:
        centred = np.eye(count) - 1.0 / count
        covariance = centred @ covariance @ centred
    deviations = np.sqrt(np.diag(covariance))
    return {
        player: Rating(BASE + SCALE * float(logits[place]), _QUANTILE * SCALE * float(deviations[place]))
        for player, place in places.items()
    }


def _expected(games: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Expected wins of each player, with that of the prior."""
    chances = special.expit(logits[:, None] - logits[None, :])
    return np.asarray((games * chances).sum(axis=1) + special.expit(logits))


def _information(games: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Fisher information of the logits: the negative second derivatives of the log of the posterior."""
    chances = special.expit(logits[:, None] - logits[None, :])
    weights = games * chances * (1 - chances)
    own = special.expit(logits)
    return np.asarray(np.diag(weights.sum(axis=1) + own * (1 - own)) - weights)
