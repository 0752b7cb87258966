"""The command `ml-trainer-validate`: OpenEnv's levels 1 to 4 for a package, without Docker.

    ml-trainer-validate levels                          # levels 1 to 3, on a server of its own
    ml-trainer-validate levels --url http://127.0.0.1:8000 --tasks easy_mnist
    ml-trainer-validate record validation/oracles/easy_mnist.json
    ml-trainer-validate headroom --tasks 'easy_*' --seeds 3
    ml-trainer-validate levels --package fleet --path /fleet      # another game of the same server

It works for any package of OpenEnv. `--serve` is the command that starts its server; without it, that is the script
`server` beside this Python.
"""

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_trainer_env.command_line import CommandParser, run_command

__all__ = ["main"]

OWN_VARIABLES = {
    "ML_TRAINER_STATE_DIR": "{folder}/state",
    "ML_TRAINER_CACHE": "no",
    "ML_TRAINER_TOKEN": "",
    "OMP_WAIT_POLICY": "passive",
}
"""Variables of this package's server. Without its cache an episode that is played twice is computed twice."""

FIGURES = {
    "difficulty-separation": "whether stronger policies earn more, and harder tasks pay less",
    "headroom": "what is left above the best reference policy",
    "variance-bound": "how much verdicts vary between seeds",
    "adversarial-floor": "the most that a trick is paid",
    "gameability-gap": "how far rewards on the way favour a policy beyond its verdict",
    "training-signal": "whether better behaviour is told from worse by its rewards",
}


class RunningUrl:
    """A server that runs already.

    Attributes:
        base_url: Its URL.
        headers: Headers of each request.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self.base_url, self.headers = base_url.rstrip("/"), dict(headers)

    def inspect(self) -> dict[str, Any]:
        """Return facts for the report."""
        return {"provider": "url", "url": self.base_url}

    def stop(self) -> None:
        """Leave it running: others started it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 for a verdict of pass or warn, 1 for fail, 2 for a user's error."""
    options = _parser().parse_args(arguments)
    # Late: --help need not wait for OpenEnv.
    from openenv.validation.manifest import ManifestError
    from openenv.validation.signature import SignatureError, UnsupportedPackageError

    from ml_trainer_env.validation.declarations import DeclarationError
    from ml_trainer_env.validation.process import ServerStartError

    expected = (DeclarationError, ManifestError, ServerStartError, SignatureError, UnsupportedPackageError)
    work: Callable[[argparse.Namespace], int] = options.work
    return run_command("ml-trainer-validate", lambda: work(options), expected)


def _parser() -> CommandParser:
    parser = CommandParser(prog="ml-trainer-validate", description="Validate an OpenEnv package at levels 1 to 4.")
    parser.add_version()
    commands = parser.add_subparsers(dest="command", required=True, parser_class=CommandParser)
    levels = _with_server(commands.add_parser("levels", help="levels 1 to 3: every installed grader"))
    levels.add_argument("--level", choices=["static", "runtime", "semantic"], default="semantic")
    levels.add_argument("--only", default="", help="check ids, separated by commas; what they depend on is graded, too")
    levels.add_argument("--output", type=Path, help="write OpenEnv's report, as JSON")
    levels.set_defaults(work=_levels)
    record = _with_server(commands.add_parser("record", help="play lists of calls and write down their rewards"))
    record.add_argument("files", nargs="+", type=Path, help="files of oracles, which are written again")
    record.set_defaults(work=_record)
    for name, about in FIGURES.items():
        figure = _with_server(commands.add_parser(name, help=f"level 4: {about}"))
        figure.add_argument("--seeds", type=int, default=2, help="seeds of each policy (default: %(default)s)")
        figure.add_argument("--references", type=Path, help="file of policies (default: validation/references.json)")
        figure.add_argument("--quiet", action="store_true", help="do not print each episode")
        figure.set_defaults(work=_figure)
    return parser


def _with_server(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--package", type=Path, default=Path(), help="folder with openenv.yaml (default: this one)")
    parser.add_argument("--tasks", default="", help="task ids, separated by commas, * for any text (default: a sample)")
    parser.add_argument("--url", help="a server that runs; without it one is started on this machine")
    parser.add_argument("--token", default="", help="token for the server of --url")
    parser.add_argument("--serve", default="", help="command that starts the server, with {port} for its port")
    parser.add_argument("--path", default="", help="path of the environment on the started server, such as /fleet")
    parser.add_argument(
        "--variable",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="variable of the started server; {folder} is its own",
    )
    return parser


def _starter(options: argparse.Namespace) -> Callable[[], Any]:
    """What starts the server, or stands for one that runs."""
    from ml_trainer_env.validation.process import ServerProcess

    if options.url:
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        return lambda: RunningUrl(options.url, headers)
    variables = OWN_VARIABLES | dict(text.split("=", 1) for text in options.variable if "=" in text)
    return lambda: ServerProcess(shlex.split(options.serve) or None, variables, path=options.path)


@contextmanager
def _started(options: argparse.Namespace) -> Iterator[Any]:
    running = _starter(options)()
    try:
        yield running
    finally:
        running.stop()


def _levels(options: argparse.Namespace) -> int:
    from openenv.validation.report import write_report
    from openenv.validation.types import Level, Verdict

    from ml_trainer_env.validation.checks import TASKS_VARIABLE
    from ml_trainer_env.validation.runner import rendered, validate

    if options.tasks:
        os.environ[TASKS_VARIABLE] = options.tasks
    only = [text for text in options.only.split(",") if text]
    report = validate(options.package, _starter(options), max_level=Level[options.level.upper()], only=only)
    if options.output:
        write_report(report, options.output)
    print(rendered(report))
    return int(report.verdict is Verdict.FAIL)


def _record(options: argparse.Namespace) -> int:
    from ml_trainer_env.validation.record import record_file

    with _started(options) as running:
        for path in options.files:
            for task, record in record_file(path, running.base_url, running.headers):
                score = f"score {record['score']:.4f}, " if "score" in record else ""
                print(f"{task}: {score}verdict {record['verdict']:.4f}, return {record['return']:.4f}", flush=True)
    return 0


def _figure(options: argparse.Namespace) -> int:
    from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser

    from ml_trainer_env.validation import figures
    from ml_trainer_env.validation.tables import play_table, policies_of

    references = options.references or options.package / "validation/references.json"
    manifest = OpenEnvYamlParser().parse(options.package)
    policies = policies_of(options.package, manifest, references if references.exists() else None)

    def told(row: figures.Row) -> None:
        if not options.quiet:
            figures_of_row = f"verdict {row.verdict:.4f} return {row.total:.4f}"
            print(f"{row.task} {row.policy} seed {row.seed}: {figures_of_row}", file=sys.stderr, flush=True)

    with _started(options) as running:
        table = play_table(
            running.base_url,
            options.package,
            manifest,
            policies,
            tasks=[text for text in options.tasks.split(",") if text],
            seeds=options.seeds,
            headers=running.headers,
            on_row=told,
        )
    figure = getattr(figures, options.command.replace("-", "_"))(table)
    print(json.dumps(_readable({options.command: figure}), indent=2))
    return 0


def _readable(value: object) -> object:
    """The value with numbers of 4 places, and null for what is not finite."""
    if isinstance(value, dict):
        return {name: _readable(child) for name, child in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


if __name__ == "__main__":
    sys.exit(main())
