"""The command `permuted-mnist`: evaluate an agent under the competition's limits, or check that it is one."""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.command_line import CommandParser
from permuted_mnist.contract import RULES, ContractError
from permuted_mnist.evaluation.report import HEADER, episode_line, save_figure, summary
from permuted_mnist.evaluation.results import EpisodeResult
from permuted_mnist.evaluation.series import NoAgentError, evaluate
from permuted_mnist.mnist import load_mnist
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.inside.loading import LoadError, load_agent
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.tasks import Variant

__all__ = ["main"]

OWN_AGENTS = Path(__file__).parent / "agent"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if the agent passed."""
    parser = CommandParser(prog="permuted-mnist", description=__doc__)
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    own = ", ".join(sorted(folder.parent.name for folder in OWN_AGENTS.glob("*/agent.py")))
    path = CommandParser(add_help=False)
    path.add_argument("path", type=_folder, metavar="PATH", help=f"a folder with agent.py, or one of: {own}")

    command = commands.add_parser("evaluate", parents=[path], help="train and grade it on tasks that nobody has seen")
    command.add_argument(
        "--episodes", type=_count, default=10, metavar="N", help="how many tasks (default: %(default)s)"
    )
    command.add_argument(
        "--variant", type=Variant, default=Variant.STANDARD, choices=list(Variant), help="of the images"
    )
    command.add_argument("--seed", type=int, help="the same tasks again; whoever knows it knows the answers")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="holds mnist.npz (default: ML_TRAINER_DATA_DIR)")
    command.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="for the JSON and the figure")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser(
        "check", parents=[path], help="run it, without limits, through every agent's contract"
    )
    command.set_defaults(run=_check)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (NoAgentError, LoadError, UnsupportedError) as error:
        print(f"permuted-mnist: {error}", file=sys.stderr)
        return 2


def _evaluate(chosen: argparse.Namespace) -> int:
    mnist, layers = load_mnist(chosen.data_dir), find_layers()
    print(HEADER)
    with tqdm(total=chosen.episodes, unit="episode", leave=False, file=sys.stderr) as bar:

        def show(episode: EpisodeResult) -> None:
            tqdm.write(episode_line(episode))
            bar.update()

        evaluation = evaluate(chosen.path, mnist, layers, chosen.episodes, chosen.variant, chosen.seed, on_episode=show)
    print(summary(evaluation))
    chosen.out.mkdir(parents=True, exist_ok=True)
    file = chosen.out / f"permuted-mnist-{evaluation.agent}.json"
    file.write_text(json.dumps(evaluation.as_json(), indent=2) + "\n")
    save_figure(evaluation, file.with_suffix(".png"))
    print(f"Written:     {file}, {file.with_suffix('.png')}")
    return 0 if evaluation.passed else 1


def _check(chosen: argparse.Namespace) -> int:
    agent, broken = load_agent(chosen.path), 0
    for rule in RULES:
        name = rule.__name__.replace("_", " ")
        try:
            rule(agent)
        except ContractError as error:
            broken += 1
            print(f"FAIL  {name}\n      {error}")
        else:
            print(f"ok    {name}")
    return 1 if broken else 0


def _folder(words: str) -> Path:
    """A folder by its path; one of our own agents by its name."""
    own = OWN_AGENTS / words
    return own if not Path(words).exists() and (own / "agent.py").is_file() else Path(words)


def _count(words: str) -> int:
    count = int(words)
    if count < 1:
        raise argparse.ArgumentTypeError("should be at least 1")
    return count
