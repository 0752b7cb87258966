"""How players do on the calibrated tasks: mean score, interval, share within a tenth of the oracle, worst.

    python benchmarks/families/players.py --split validation

The players are the six fixed recipes of `calibration/portfolio.py`, the heuristic, one-epoch probes, the prober, and
TPE (Bergstra et al. 2011, by optuna), which plays eight episodes with settings of its own and submits the one of the
best validation figure. The rank correlation of tiers with the heuristic's mean, and the seconds of episodes, are told,
too. Each task is played with another seed than calibration's, one thread for each process.
"""

import statistics
from collections.abc import Sequence

import optuna
from shared import Outcome, interval, parser, play_task, spread_over, tasks_of

from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.calibration.portfolio import RECIPES, FixedRecipe
from ml_trainer_env.server.tuning.tasks import Task

TPE_EPISODES = 8
SEED_OFFSET = 100
"""Players other than calibration's own runs are played with the task's seed plus this, so that no run of the table is
the oracle's own."""


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--without-tpe", action="store_true")
    given = arguments.parse_args()
    tasks = tasks_of(given.split, given.tasks)
    found = list(spread_over(play_all if not given.without_tpe else play_agents, tasks, given.processes))
    print(f"{given.split}, {len(tasks)} tasks, rubric v3, seed of the task + {SEED_OFFSET}\n")
    print("| player | mean score | 95 % interval | within 10 % of the oracle | worst x | median s |")
    print("|---|---|---|---|---|---|")
    for name in found[0]:
        print(_row(name, [outcomes[name] for outcomes in found]))
    print("\n| tier | tasks | heuristic, mean score |\n|---|---|---|")
    for tier in sorted({task.difficulty for task in tasks}):
        scores = [one["heuristic"].score for task, one in zip(tasks, found, strict=True) if task.difficulty == tier]
        print(f"| {tier} | {len(scores)} | {statistics.fmean(scores):.3f} |")


def play_agents(task: Task) -> dict[str, Outcome]:
    agents = (*RECIPES, HeuristicAgent(), OneEpochProbes(), ProbingAgent())
    return {agent.name: play_task(agent, task, SEED_OFFSET) for agent in agents}


def play_all(task: Task) -> dict[str, Outcome]:
    return {**play_agents(task), f"TPE, {TPE_EPISODES} episodes": play_tpe(task)}


def play_tpe(task: Task) -> Outcome:
    """Return the outcome of the episode with the best validation figure."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=task.seed))
    outcomes: list[Outcome] = []

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "optimizer": (optimizer := trial.suggest_categorical("optimizer", ["adamw", "sgd"])),
            "learning_rate": trial.suggest_float(
                f"{optimizer} rate", 2e-4, 0.5 if optimizer == "sgd" else 0.03, log=True
            ),
            "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 0.3, log=True),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5),
            "lr_schedule": trial.suggest_categorical("lr_schedule", ["cosine", "constant"]),
            "augmentation": True,
            "augmentation_strength": trial.suggest_float("augmentation_strength", 0.0, 1.0),
            "reinitialize": trial.suggest_categorical("reinitialize", [True, False]),
        }
        outcomes.append(play_task(FixedRecipe("tpe", settings), task, SEED_OFFSET))
        return max(outcomes[-1].validation, -100.0)

    study.optimize(objective, n_trials=TPE_EPISODES)
    return max(outcomes, key=lambda outcome: outcome.validation)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    mean, half = interval([one.score for one in outcomes])
    near = sum(one.x >= 0.9 for one in outcomes) / len(outcomes)
    worst, seconds = min(one.x for one in outcomes), statistics.median(one.seconds for one in outcomes)
    return (
        f"| {name} | {mean:.3f} | {mean - half:.3f} to {mean + half:.3f} | {near:.2f} | {worst:.2f} | {seconds:.2f} |"
    )


if __name__ == "__main__":
    main()
