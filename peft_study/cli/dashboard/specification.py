"""Writes a dashboard in W&B's format, with wandb-workspaces. Nothing here needs a network."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from peft_study.cli.dashboard.content import METHOD, MODEL, STATUS, Bars, Content, Curves, Panel, Points, Section
from peft_study.errors import UserError

PACKAGE = "wandb_workspaces"
RUNS_AT_MOST = 100
"""Of a panel. W&B shows 10 unless told otherwise."""
_ID_CHARACTERS = 11
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3
"""Size of a panel in the grid of a report, which has 24 columns."""


@dataclass(frozen=True)
class Dashboard:
    """A workspace and a report of wandb-workspaces, neither saved yet.

    Attributes:
        workspace: a `wandb_workspaces.workspaces.Workspace`.
        report: a `wandb_workspaces.reports.v2.Report`.
    """

    workspace: Any
    report: Any

    def to_json(self) -> dict[str, Any]:
        """Return both specifications, as W&B's server gets them."""
        view, report = self.workspace._to_model(), self.report._to_model()
        return {
            "workspace": {"displayName": view.display_name, "name": view.name, "spec": _plain(view.spec)},
            "report": {
                "displayName": report.display_name,
                "description": report.description,
                "spec": _plain(report.spec),
            },
        }


def check_installed() -> None:
    """Check that wandb-workspaces is installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(PACKAGE) is None:
        what = "dashboard needs the package wandb-workspaces, which is not installed"
        raise UserError(what, where="dashboard", hint="pip install 'peft-study[wandb]'")


def build(content: Content, entity: str, project: str) -> Dashboard:
    """Write a dashboard in W&B's format. Equal content has an equal specification.

    Args:
        content: what it shows.
        entity: the user or team that owns the project.
        project: the W&B project.
    """
    return Dashboard(_workspace(content, entity, project), _report(content, entity, project))


def view_name(content: Content) -> str:
    """Return the id of a study's workspace in its project, as in the address `?nw=ID`."""
    return _id(content.title)


def _workspace(content: Content, entity: str, project: str) -> Any:
    import wandb_workspaces.workspaces as ws

    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=content.title,
        sections=[
            ws.Section(
                name=section.title,
                panels=[_panel(content, section, panel) for panel in section.panels],
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=_COLUMNS, rows=1),
            )
            # A section of a workspace has no filter, so those of a single model stand in the report alone.
            for section in content.sections
            if section.model is None
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS_AT_MOST),
        runset_settings=ws.RunsetSettings(
            filters=_filter(content, None),
            order=[ws.Ordering(ws.Summary(content.score), ascending=False)],
            pinned_columns=_columns(content.columns),
        ),
    )
    # wandb-workspaces draws ids at random, which would change a specification without a change of the dashboard.
    workspace._internal_name = f"nw-{view_name(content)}-v"
    workspace._internal_runset_id = _id(content.title, "runs")
    return workspace


def _report(content: Content, entity: str, project: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for section in content.sections:
        runset = wr.Runset(
            # Without an entity and a project it is that of the report, and no request is needed.
            name=section.title,
            filters=_filter(content, section.model),
            order=[wr.OrderBy(wr.SummaryMetric(content.score), ascending=False)],
            pinned_columns=_columns(content.columns),
        )
        runset._id = _id(content.title, section.title)
        grid = wr.PanelGrid(
            runsets=[runset],
            panels=[_panel(content, section, panel, number) for number, panel in enumerate(section.panels)],
            hide_run_sets=not section.listed,
        )
        blocks += [wr.H2(text=section.title), wr.P(text=section.text), grid]
    return wr.Report(
        entity=entity,
        project=project,
        title=content.title,
        description=f"The cells of the study {content.study}. `peft-study dashboard` writes this report.",
        blocks=blocks,
        width="fluid",
    )


def _filter(content: Content, model: str | None) -> str:
    in_study = f"Group = {content.study!r}"
    # The tracker makes the model's name a tag of its runs.
    return in_study if model is None else f"{in_study} and Tags in [{model!r}]"


def _columns(names: Sequence[str]) -> list[str]:
    settings = (f"config:{group.replace('.', '.value.', 1)}" for group in (MODEL, METHOD))
    summary = [f"summary:{name}" for name in names if name != STATUS]
    return ["run:displayName", f"summary:{STATUS}", "run:state", *settings, *summary, "run:notes"]


def _panel(content: Content, section: Section, panel: Panel, number: int | None = None) -> Any:
    import wandb_workspaces.reports.v2 as wr

    grouping: dict[str, Any] = {}
    if not isinstance(panel, Points) and panel.group:
        grouping = {"groupby": wr.Config(panel.group), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    plot: Any
    match panel:
        case Bars():
            plot = wr.BarPlot(
                title=panel.title,
                metrics=list(panel.metrics),
                title_x=panel.axis,
                max_runs_to_show=RUNS_AT_MOST,
                max_bars_to_show=RUNS_AT_MOST,
                **grouping,
            )
        case Curves():
            plot = wr.LinePlot(
                title=panel.title,
                x=panel.x,
                y=list(panel.metrics),
                title_x=panel.x,
                title_y=panel.axis,
                max_runs_to_show=RUNS_AT_MOST,
                **grouping,
            )
        case Points():
            plot = wr.ScatterPlot(title=panel.title, x=wr.SummaryMetric(panel.x), y=wr.SummaryMetric(panel.y))
    plot._id = _id(content.title, section.title, panel.title, "" if number is None else "report")
    if number is not None:
        row, column = divmod(number, _COLUMNS)
        plot.layout = wr.Layout(x=column * _WIDTH, y=row * _HEIGHT, w=_WIDTH, h=_HEIGHT)
    return plot


def _id(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:_ID_CHARACTERS]


def _plain(model: Any) -> Any:
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
