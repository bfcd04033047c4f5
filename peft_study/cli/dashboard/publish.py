"""Makes or updates a dashboard on W&B's server."""

from collections.abc import Mapping
from typing import Any

from peft_study.cli.dashboard.content import Content
from peft_study.cli.dashboard.specification import Dashboard, build, view_name


def publish(content: Content, entity: str | None, project: str) -> Mapping[str, str]:
    """Make the workspace and the report of a study, or replace those with the same names.

    Args:
        content: what they show.
        entity: the user or team that owns the project; the default of the account if None.
        project: the W&B project. A project that does not exist is created.

    Returns:
        the addresses of "workspace" and "report".

    Raises:
        Exception: an error of W&B's client if the server refuses or does not answer.
    """
    import wandb

    api = wandb.Api()
    owner = entity or str(api.default_entity)
    dashboard = build(content, owner, project)
    _create_project(api, owner, project)
    dashboard.workspace._internal_id = _workspace_id(content, dashboard)
    dashboard.workspace.save()
    dashboard.report.id = _report_id(api, owner, project, content.title)
    dashboard.report.save()
    return {"workspace": dashboard.workspace.url, "report": dashboard.report.url}


def _create_project(api: Any, entity: str, project: str) -> None:
    # wandb-workspaces creates it for a report, but the workspace comes first.
    if all(existing.name != project for existing in api.projects(entity)):
        api.create_project(project, entity)


def _workspace_id(content: Content, dashboard: Dashboard) -> str:
    """Return the server's id of the workspace with this name; empty if the server has none."""
    from wandb_workspaces.workspaces import internal

    workspace = dashboard.workspace
    try:
        view = internal.get_view_dict(workspace.entity, workspace.project, view_name(content))
    # Its answer to a workspace that does not exist.
    except ValueError:
        return ""
    return str(view["id"])


def _report_id(api: Any, entity: str, project: str, title: str) -> str:
    """Return the server's id of the report with this title; empty if the server has none."""
    reports = api.reports(f"{entity}/{project}")
    return next((str(report.id) for report in reports if report.display_name == title), "")
