"""Reports of an evaluation for people: a table and a figure."""

from pathlib import Path

from matplotlib.figure import Figure

from permuted_mnist.evaluation.results import EpisodeResult, Evaluation

__all__ = ["HEADER", "episode_line", "save_figure", "summary"]

HEADER = f"{'Episode':>7}  {'Accuracy':>8}  {'Time, s':>7}  {'Memory, MB':>10}"

_MB = 2**20
_RIGHT, _FAILED = "#2a6f97", "#c1121f"


def episode_line(episode: EpisodeResult) -> str:
    """Format one line of the table."""
    right = f"{episode.accuracy:.4f}" if episode.accuracy is not None else "-"
    line = f"{episode.number:>7}  {right:>8}  {episode.time_s:>7.2f}  {episode.peak_memory_bytes / _MB:>10.0f}"
    return line if episode.failure is None else f"{line}  {episode.failure}"


def summary(evaluation: Evaluation) -> str:
    """Format the text below the table: failures, score, time, verdict and sandbox layers."""
    lines = [
        f"\nEpisode {episode.number}: {episode.failure}\n{episode.detail.rstrip()}"
        for episode in evaluation.episodes
        if episode.failure is not None
    ]
    allowed = len(evaluation.episodes) * evaluation.limits.wall_s
    lines += [
        "",
        f"Final score: {evaluation.score:.4f}",
        *([f"Hint:        {evaluation.hint}"] if evaluation.hint else []),
        f"Total time:  {evaluation.total_s:.2f} s of {allowed:g} s",
        f"Status:      {'PASS' if evaluation.passed else 'FAIL'}",
        "",
        f"Delivery:    {evaluation.delivery} ({evaluation.delivery.form})",
        f"Enforced by: {', '.join(evaluation.layers.names)}",
        *(f"Weaker here: {words}" for words in evaluation.layers.missing),
    ]
    return "\n".join(lines)


def save_figure(evaluation: Evaluation, file: Path) -> None:
    """Draw accuracy over time, with one point for each episode. Failed episodes are at the bottom.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    right = [episode for episode in evaluation.episodes if episode.accuracy is not None]
    failed = [episode for episode in evaluation.episodes if episode.accuracy is None]
    axes.scatter([e.time_s for e in right], [e.accuracy or 0.0 for e in right], color=_RIGHT, label="accuracy")
    if failed:
        axes.scatter([e.time_s for e in failed], [0.0] * len(failed), color=_FAILED, marker="x", label="failed")
    axes.axvline(evaluation.limits.wall_s, color="grey", linestyle=":", label="limit")
    axes.set_xlabel("train and predict, seconds")
    axes.set_ylabel("accuracy on the test images")
    axes.set_title(f"{evaluation.agent}: {evaluation.score:.4f} over {len(evaluation.episodes)} episodes")
    axes.legend()
    figure.savefig(file, dpi=150)
