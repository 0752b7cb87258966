"""The command `permuted-mnist`: evaluate an agent under the competition's limits, or check it against the contract."""

import argparse
import json
import sys
from pathlib import Path

from ml_trainer_env.command_line import CommandParser, run_command
from permuted_mnist.delivery import Delivery
from permuted_mnist.tasks import Variant

__all__ = ["main"]

OWN_AGENTS = Path(__file__).parent / "agent"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit status is 0 if the agent passed, 1 if it failed, 2 if it could not be run."""
    chosen = _parser().parse_args(arguments)
    # Here, so that --help does not wait for them.
    from ml_trainer_env.server.datasets import DatasetError
    from permuted_mnist.evaluation.series import NoAgentError
    from permuted_mnist.sandbox.errors import UnsupportedError

    return run_command(
        "permuted-mnist", lambda: int(chosen.run(chosen)), (NoAgentError, UnsupportedError, DatasetError)
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="permuted-mnist", description=__doc__)
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    own = ", ".join(sorted(folder.parent.name for folder in OWN_AGENTS.glob("*/agent.py")))
    common = CommandParser(add_help=False)
    common.add_argument("path", type=_folder, metavar="PATH", help=f"a folder with agent.py, or one of: {own}")
    common.add_argument(
        "--delivery",
        type=Delivery,
        default=Delivery.COMPETITION,
        choices=list(Delivery),
        help="the form of images and labels: competition is uint8 from 0 to 255 and (N, 1), guide is float32 in [0, 1] "
        "and (N,) (default: %(default)s)",
    )

    command = commands.add_parser("evaluate", parents=[common], help="train and grade an agent on new tasks")
    command.add_argument(
        "--episodes", type=_count, default=10, metavar="N", help="number of tasks (default: %(default)s)"
    )
    command.add_argument(
        "--variant", type=Variant, default=Variant.STANDARD, choices=list(Variant), help="variant of the images"
    )
    command.add_argument(
        "--seed", type=_seed, help="seed of the tasks; it also determines the answers (default: secret)"
    )
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with mnist.npz (default: ML_TRAINER_DATA_DIR)"
    )
    command.add_argument(
        "--out", type=Path, default=Path("outputs"), metavar="DIR", help="folder for the JSON and the figure"
    )
    command.set_defaults(run=_evaluate)

    command = commands.add_parser(
        "check",
        parents=[common],
        help="check an agent against each rule of the contract, on small tasks in the sandbox",
    )
    command.set_defaults(run=_check)
    return parser


def _evaluate(chosen: argparse.Namespace) -> int:
    # Here, so that --help does not wait for them.
    from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

    from permuted_mnist.evaluation.report import HEADER, episode_line, save_figure, summary
    from permuted_mnist.evaluation.results import EpisodeResult
    from permuted_mnist.evaluation.series import evaluate
    from permuted_mnist.sandbox.layers import find_layers
    from permuted_mnist.tasks import load_digits

    chosen.out.mkdir(parents=True, exist_ok=True)  # fail before the evaluation, not after it
    layers, mnist = find_layers(), load_digits(chosen.variant, chosen.data_dir)
    print(HEADER)
    in_terminal = sys.stderr.isatty()
    with tqdm(total=chosen.episodes, unit="episode", leave=False, file=sys.stderr, disable=not in_terminal) as bar:

        def show(episode: EpisodeResult) -> None:
            with bar.external_write_mode(file=sys.stdout):
                print(episode_line(episode), flush=True)
            bar.update()

        evaluation = evaluate(
            chosen.path, mnist, layers, chosen.episodes, chosen.variant, chosen.seed, None, show, chosen.delivery
        )
    print(summary(evaluation))
    file = chosen.out / f"permuted-mnist-{evaluation.agent}.json"
    file.write_text(json.dumps(evaluation.as_json(), indent=2) + "\n")
    save_figure(evaluation, file.with_suffix(".png"))
    print(f"Written:     {file}, {file.with_suffix('.png')}")
    return 0 if evaluation.passed else 1


def _check(chosen: argparse.Namespace) -> int:
    # Here, so that --help does not wait for them.
    from permuted_mnist.checking import Finding, Verdict, check, conclusion
    from permuted_mnist.sandbox.layers import find_layers

    findings: list[Finding] = []
    shown: dict[str, str] = {}
    for finding in check(chosen.path, chosen.delivery, find_layers()):
        findings.append(finding)
        print(f"{finding.verdict:<4}  {finding.rule}")
        detail = finding.detail
        if finding.verdict is not Verdict.OK:
            first = shown.setdefault(detail, finding.rule)
            detail = detail if first == finding.rule else f"as with the rule: {first}"
        print("".join(f"      {line}\n" for line in detail.splitlines()), end="", flush=True)
    print(f"\n{conclusion(findings, chosen.delivery)}")
    return 1 if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


def _folder(words: str) -> Path:
    """Parse a path, or the name of a bundled agent."""
    own = OWN_AGENTS / words
    return own if not Path(words).exists() and (own / "agent.py").is_file() else Path(words)


def _seed(words: str) -> int:
    if not words.isascii() or not words.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number of at least 0, not {words!r}")
    return int(words)


def _count(words: str) -> int:
    count = int(words)
    if count < 1:
        raise argparse.ArgumentTypeError("should be at least 1")
    return count
