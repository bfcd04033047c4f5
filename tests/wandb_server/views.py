"""The stand-in's answers about projects, workspaces and reports. W&B calls both of the last two views."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.wandb_server.store import Store

Variables = Mapping[str, Any]


@dataclass
class View:
    """A workspace ("project-view") or a report ("runs").

    Attributes:
        id: made by the server.
        fields: what the last mutation said of it.
        changes: how many mutations it had.
    """

    id: str
    fields: dict[str, Any]
    changes: int = 0


def project_of(store: Store, variables: Variables, *_: object) -> dict[str, Any]:
    """Answer with the views of a project, or with None if there is no such project."""
    entity = variables.get("entityName") or variables["entity"]
    name = variables.get("project") or variables["name"]
    if name not in store.projects_of(entity):
        return {"project": None}
    wanted = {"type": variables.get("viewType") or "runs", "projectName": name, "entityName": entity}
    if variables.get("viewName"):
        wanted["name"] = variables["viewName"]
    views = [view for view in store.views if wanted.items() <= view.fields.items()]
    edges = [{"node": _described(view), "cursor": view.id} for view in views]
    return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}


def upsert_view(store: Store, variables: Variables, *_: object) -> dict[str, Any]:
    """Create a view, or change the one with the id of the variables."""
    number = len(store.views)
    view = next((view for view in store.views if view.id == variables.get("id")), None)
    if view is None:
        view = View(f"view-{number}", {})
        store.views.append(view)
    view.fields |= {name: value for name, value in variables.items() if name != "id"}
    view.changes += 1
    return {"upsertView": {"view": _described(view), "inserted": number != len(store.views)}}


def projects(store: Store, variables: Variables, *_: object) -> dict[str, Any]:
    entity = variables["entity"]
    constant = {"entityName": entity, "createdAt": "2026-01-02", "isBenchmark": False, "user": None}
    edges = [
        {"node": {"__typename": "Project", "id": name, "name": name} | constant} for name in store.projects_of(entity)
    ]
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"models": {"edges": edges, "pageInfo": page}}


def create_project(store: Store, variables: Variables, *_: object) -> dict[str, Any]:
    entity, name = variables["input"]["entityName"], variables["input"]["name"]
    store.created_projects.append((entity, name))
    described = {"id": name, "name": name, "entityName": entity, "description": "", "access": "PRIVATE", "views": "{}"}
    return {"result": {"model": described, "project": described, "inserted": True}}


def _described(view: View) -> dict[str, Any]:
    fields = view.fields
    return {
        "id": view.id,
        "type": fields["type"],
        "name": fields["name"],
        "displayName": fields["displayName"],
        "description": fields["description"],
        "project": {"id": "1", "name": fields["projectName"], "entityName": fields["entityName"]},
        "spec": fields["spec"],
        "user": {"username": "a-person", "photoUrl": None, "email": ""},
        "createdAt": "2026-01-02T03:04:05Z",
        "updatedAt": "2026-01-02T03:04:05Z",
    }
