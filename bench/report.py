"""Writes what a run came to into its folder: tables, figures, and one HTML page that contains all of them.

The page needs nothing else: its styles and charts are in it, and it has no scripts. The same figures are files, too.
"""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ml_trainer_env.baselines.page import STYLE
from ml_trainer_env.baselines.svg import CHART_STYLE
from ml_trainer_env.bench.charts import CHARTS
from ml_trainer_env.bench.comparison import Comparison, compare
from ml_trainer_env.bench.plan import Cell, Plan, describe_tasks
from ml_trainer_env.bench.rows import Row
from ml_trainer_env.bench.tables import Table, best_sentence, tables_of, write_csv, write_markdown

__all__ = ["page_html", "write_report"]

_TEMPLATE = "report.html"


def write_report(folder: Path, plan: Plan, rows: Mapping[Cell, Row]) -> Path:
    """Write `tables.md`, `tables/*.csv`, `figures/*.png` and `report.html`.

    Args:
        folder: The folder of the run.
        plan: Its plan.
        rows: What was played.

    Returns:
        Path of the page.
    """
    from ml_trainer_env.bench.figures import FIGURES  # late: matplotlib takes a second to import

    comparison = compare(plan, rows)
    tables = tables_of(comparison)
    (folder / "tables.md").write_text("\n".join(map(write_markdown, tables)), encoding="utf-8")
    for table in tables:
        _file(folder / "tables" / f"{table.name}.csv").write_text(write_csv(table), encoding="utf-8")
    for name, (_, draw) in FIGURES.items() if comparison.tasks else ():
        _file(folder / "figures" / f"{name}.png").write_bytes(draw(comparison))
    path = folder / "report.html"
    path.write_text(page_html(comparison, tables), encoding="utf-8")
    return path


def page_html(comparison: Comparison, tables: tuple[Table, ...]) -> str:
    """Write the page. All text is escaped."""
    environment = Environment(
        loader=PackageLoader("ml_trainer_env.bench"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = {name: draw(comparison) for name, draw in CHARTS.items()} if comparison.tasks else {}
    named = {table.name for table in tables}
    return environment.get_template(_TEMPLATE).render(
        style=STYLE + CHART_STYLE,
        plan=comparison.plan,
        tasks=describe_tasks(comparison.plan.tasks),
        best=best_sentence(comparison),
        comparison=comparison,
        left_out=len(comparison.plan.tasks) - len(comparison.tasks),
        gave_up=sum(one.gave_up for one in comparison.standings),
        tables=tables,
        charts=charts,
        more=[name for name in charts if name not in named],
        rows=[comparison.rows[cell] for cell in comparison.plan.cells() if cell in comparison.rows],
    )


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
