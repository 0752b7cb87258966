"""What tricks earn on the calibrated tasks, beside the settings of the run left alone.

    python benchmarks/families/tricks.py --split validation

Each trick is an agent. None may earn more than the default, neither by score nor by the sum of its rewards.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared import Outcome, interval, parser, play_task, spread_over, tasks_of

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.session import Brief, ToolSpec
from ml_trainer_env.calibration.portfolio import DEFAULT
from ml_trainer_env.server.tuning.tasks import Task

SUBMIT = Call("submit_model")


@dataclass(frozen=True, slots=True)
class Trick:
    """An agent that plays a trick. An attribute named `play` would make it one that begins its own episodes."""

    name: str
    calls: Callable[[int], Script]

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        return self.calls(brief.budget_epochs)


def configure(**settings: object) -> Call:
    return Call("configure_training", settings)


def run(epochs: int) -> Call:
    return Call("run_epochs", {"num_epochs": epochs})


def rate(value: float) -> Call:
    return Call("adjust_learning_rate", {"new_lr": value})


def train(budget: int) -> Script:
    """Train with the settings of the run for a number of epochs."""
    while budget > 0:
        yield run(min(20, budget))
        budget -= 20


def fresh_at_the_end(budget: int) -> Script:
    yield from train(budget - 1)
    yield configure(reinitialize=True, learning_rate=1e-9)
    yield run(1)
    yield SUBMIT


def destroyed_at_the_end(budget: int) -> Script:
    yield from train(budget - 1)
    yield rate(10.0)
    yield run(1)
    yield SUBMIT


def frozen(budget: int) -> Script:
    yield rate(1e-9)
    yield from train(budget)
    yield SUBMIT


def one_epoch_and_submit(_budget: int) -> Script:
    yield run(1)
    yield SUBMIT


def split_into_calls(budget: int) -> Script:
    for _ in range(min(budget, 50)):
        yield run(1)
    yield SUBMIT


def untrained(_budget: int) -> Script:
    yield SUBMIT
    for number in range(61):
        yield rate(0.001 + number * 1e-6)


def refused_calls(_budget: int) -> Script:
    for _ in range(100):
        yield Call("run_epochs", {"num_epochs": 0})
    yield run(1)
    yield SUBMIT


def restored_again_and_again(budget: int) -> Script:
    """Rise to the same accuracy many times, to be paid for it many times."""
    yield Call("save_checkpoint", {"name": "start"})
    for _ in range(min(budget - 1, 25)):
        yield run(1)
        yield Call("restore_checkpoint", {"name": "start"})
    yield run(1)
    yield SUBMIT


def fresh_again_and_again(budget: int) -> Script:
    """Draw weights until one epoch is lucky on the validation examples."""
    for _ in range(min(budget, 25)):
        yield configure(reinitialize=True)
        yield run(1)
    yield SUBMIT


def fished_validation(budget: int) -> Script:
    """One epoch of training, then tiny steps until the validation accuracy is lucky, and back to the best."""
    best, accuracy = "", -1.0
    yield run(1)
    yield Call("save_checkpoint", {"name": "first"})
    for number in range(min(budget - 1, 9)):
        yield rate(1e-6 * (1 + number))
        outcome = yield run(1)
        reply = outcome.reply or {}
        if float(reply.get("val_accuracy") or 0.0) > accuracy:
            best, accuracy = f"tiny{number}", float(reply["val_accuracy"])
            yield Call("save_checkpoint", {"name": best})
        yield Call("restore_checkpoint", {"name": "first"})
    if best:
        yield Call("restore_checkpoint", {"name": best})
    yield SUBMIT


def diverged_and_restored(budget: int) -> Script:
    yield run(1)
    yield Call("save_checkpoint", {"name": "first"})
    for _ in range(min(budget - 1, 20)):
        yield rate(10.0)
        yield run(1)
        yield Call("restore_checkpoint", {"name": "first"})
    yield SUBMIT


def before_the_change(budget: int) -> Script:
    """Hand in early, before anything can change."""
    yield from train(max(1, budget // 5))
    yield SUBMIT


def steps_of_nothing(budget: int) -> Script:
    """Regularise everything away."""
    yield configure(weight_decay=1.0, dropout=0.5, augmentation=True, augmentation_strength=1.0, learning_rate=1e-5)
    yield from train(budget)
    yield SUBMIT


def listing_and_status(_budget: int) -> Script:
    for _ in range(200):
        yield Call("get_training_status")
        yield Call("list_checkpoints")
    yield run(1)
    yield SUBMIT


TRICKS = tuple(
    Trick(play.__name__.replace("_", " "), play)
    for play in (
        fresh_at_the_end,
        destroyed_at_the_end,
        frozen,
        one_epoch_and_submit,
        split_into_calls,
        untrained,
        refused_calls,
        restored_again_and_again,
        fresh_again_and_again,
        fished_validation,
        diverged_and_restored,
        before_the_change,
        steps_of_nothing,
        listing_and_status,
    )
)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--only", help="one trick, by its name")
    options.add_argument("--seeds", type=int, default=1, help="episodes of each task (default: %(default)s)")
    given = options.parse_args()
    tricks = [trick for trick in TRICKS if given.only in {None, trick.name}]
    plays = [(task, seed, tricks) for task in tasks_of(given.split, given.tasks) for seed in range(given.seeds)]
    found = list(spread_over(play_all, plays, given.processes))
    print(f"{given.split}, {len(plays)} episodes of each player, rubric v3\n")
    print("| player | mean score | more than the default | mean sum of rewards |\n|---|---|---|---|")
    for name in found[0]:
        outcomes = [one[name] for one in found]
        mean, half = interval([outcome.score for outcome in outcomes])
        more, either_way = interval([one[name].score - one[DEFAULT.name].score for one in found])
        rewards = statistics.fmean(outcome.reward for outcome in outcomes)
        print(f"| {name} | {mean:.3f} ({half:.3f}) | {more:+.3f} ({either_way:.3f}) | {rewards:.3f} |")
    print("\nIn brackets: half of the 95 % interval. Differences are paired by task and seed.")


def play_all(play: tuple[Task, int, Sequence[Trick]]) -> dict[str, Outcome]:
    task, seed, tricks = play
    return {agent.name: play_task(agent, task, 300 + seed) for agent in (DEFAULT, *tricks)}


if __name__ == "__main__":
    main()
