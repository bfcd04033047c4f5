"""The stand-in's answers to W&B's GraphQL operations."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.wandb_server import artifacts, views
from tests.wandb_server.store import EVENTS, HISTORY, Run, Store

DEFAULT_ENTITY = "a-lab"
CREATED_AT = "2026-01-02T03:04:05"
_OPERATION = re.compile(r"^\s*(?:#.*\n\s*)*(?:query|mutation)\s+(\w+)")

Variables = Mapping[str, Any]


def operation_of(query: str) -> str:
    """The name of a document's operation."""
    match = _OPERATION.match(query)
    return match.group(1) if match else ""


def answer(store: Store, query: str, variables: Variables, address: str) -> dict[str, Any]:
    """Answer one document. An operation that the stand-in does not know gets GraphQL's error."""
    operation = operation_of(query)
    if operation not in _ANSWERS:
        return {"errors": [{"message": f"the stand-in has no operation {operation}"}], "data": None}
    with store.lock:
        return {"data": _ANSWERS[operation](store, variables, address)}


def _viewer(*_: object) -> dict[str, Any]:
    return {
        "viewer": {
            "id": "viewer",
            "entity": DEFAULT_ENTITY,
            "username": "a-person",
            "email": "person@example.org",
            "flags": "{}",
            "teams": {"edges": []},
        }
    }


def _resume_status(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    run = store.find(_entity(variables), variables["project"], variables["name"])
    bucket = None
    if run is not None:
        bucket = _described(run) | {
            "logLineCount": 0,
            "eventsLineCount": len(run.texts(EVENTS)),
            "historyTail": json.dumps(run.texts(HISTORY)[-1:]),
            "eventsTail": json.dumps(run.texts(EVENTS)[-1:]),
            "wandbConfig": json.dumps({"t": run.config.get("_wandb", {}).get("t")}),
        }
    return {"model": _project(_entity(variables), variables["project"]) | {"bucket": bucket}}


def _upsert(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    attributes = {name: value for name, value in variables.items() if name not in {"id", "name", "project", "entity"}}
    run, inserted = store.upsert(_entity(variables), variables["project"], variables["name"], attributes)
    return {"upsertBucket": {"bucket": _described(run), "inserted": inserted}}


def _upload_addresses(_store: Store, variables: Variables, address: str) -> dict[str, Any]:
    path = f"{address}/uploads/{variables['entity']}/{variables['project']}/{variables['run']}"
    files = [{"name": name, "uploadUrl": f"{path}/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


def _run(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    run = store.find(_entity(variables), variables["project"], variables["name"])
    return {"project": {"run": None if run is None else _read(run)}}


def _runs(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    entity, project = _entity(variables), variables["project"]
    runs = [run for run in store.runs if (run.entity, run.project) == (entity, project)]
    page = {
        "edges": [{"node": _read(run), "cursor": run.name} for run in runs],
        "pageInfo": {"endCursor": None, "hasNextPage": False},
    }
    return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": page}}


def _parquet_history(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    run = store.find(_entity(variables), variables["project"], variables["runName"])
    # Without Parquet files, wandb reads every row by `HistoryPage`.
    return {"project": {"run": None if run is None else {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}


def _history_page(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    run = store.find(_entity(variables), variables["project"], variables["run"])
    if run is None:
        return {"project": {"run": None}}
    steps = range(variables["minStep"], variables["maxStep"])
    rows = [text for text, row in zip(run.texts(HISTORY), run.history, strict=True) if row["_step"] in steps]
    return {"project": {"run": {"history": rows[: variables["pageSize"]]}}}


def _entity(variables: Variables) -> str:
    return variables.get("entity") or DEFAULT_ENTITY


def _project(entity: str, project: str) -> dict[str, Any]:
    return {"id": project, "name": project, "entity": {"id": entity, "name": entity}}


def _described(run: Run) -> dict[str, Any]:
    return {
        "id": f"id-of-{run.name}",
        "name": run.name,
        "displayName": run.attributes.get("displayName") or run.name,
        "description": None,
        "notes": None,
        "sweepName": None,
        "config": run.attributes.get("config") or "{}",
        "tags": run.attributes.get("tags") or [],
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.texts(HISTORY)),
        "project": _project(run.entity, run.project),
    }


def _read(run: Run) -> dict[str, Any]:
    """A run as `wandb.Api` reads it."""
    history = run.history
    last_step = history[-1]["_step"] if history else -1
    return _described(run) | {
        "projectId": "1",
        "state": run.state,
        "group": run.attributes.get("groupName"),
        "jobType": run.attributes.get("jobType"),
        "commit": None,
        "readOnly": False,
        "createdAt": CREATED_AT,
        "heartbeatAt": CREATED_AT,
        "systemMetrics": "{}",
        "user": {"name": "a-person", "username": "a-person"},
        "historyKeys": {"lastStep": last_step, "keys": {}},
    }


_ANSWERS: Mapping[str, Callable[[Store, Variables, str], dict[str, Any]]] = {
    "Viewer": _viewer,
    "GetDefaultEntity": _viewer,
    "ServerFeaturesQuery": lambda *_: {"serverInfo": {"features": []}},
    "RunResumeStatus": _resume_status,
    "UpsertBucket": _upsert,
    "CreateRunFiles": _upload_addresses,
    "Run": _run,
    "Runs": _runs,
    "RunHistoryKeys": _run,
    "RunParquetHistory": _parquet_history,
    "HistoryPage": _history_page,
    "GetProjects": views.projects,
    "CreateProject": views.create_project,
    "ProjectViews": views.project_of,
    "View": views.project_of,
    "UpsertView2": views.upsert_view,
    "upsertView": views.upsert_view,
    "ArtifactType": artifacts.type_of,
    "CreateArtifact": artifacts.create,
    "CreateArtifactManifest": artifacts.create_manifest,
    "UpdateArtifactManifest": artifacts.update_manifest,
    "CreateArtifactFiles": artifacts.create_files,
    "CommitArtifact": artifacts.commit,
    "ArtifactByID": artifacts.by_id,
    "ProjectArtifacts": artifacts.versions_of,
}
