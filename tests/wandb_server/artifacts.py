"""The stand-in's answers about artifacts: creation, upload of files and manifest, commit, and the list of versions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.wandb_server.store import Store

Variables = Mapping[str, Any]
MANIFEST = "wandb_manifest.json"


@dataclass
class Artifact:
    """A version of an artifact.

    Attributes:
        id: made by the server.
        entity, project, collection, type: where it belongs; the name is that of the collection.
        run: id of the run that created it.
        digest: of the manifest. An artifact of the same collection with the same digest is the same version.
        metadata: as the client sent it.
        index: number of the version in its collection.
        uploads: the manifest and the stored files, by path.
        committed: whether the client said that everything is there.
    """

    id: str
    entity: str
    project: str
    collection: str
    type: str
    run: str
    digest: str
    metadata: str | None
    index: int
    uploads: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        """Content of the files by path, as the manifest lists them."""
        names = json.loads(self.uploads[MANIFEST])["contents"]
        return {name: self.uploads[name] for name in names}


def create(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    """Create a version, or answer with the equal one that is stored."""
    wanted = variables["input"]
    place = (wanted["entityName"], wanted["projectName"], wanted["artifactCollectionName"])
    versions = [stored for stored in store.artifacts if (stored.entity, stored.project, stored.collection) == place]
    equal = [stored for stored in versions if stored.committed and stored.digest == wanted["digest"]]
    if equal and wanted["enableDigestDeduplication"]:
        artifact = equal[-1]
    else:
        identifier = f"artifact-{len(store.artifacts)}"
        texts = (wanted["artifactTypeName"], wanted["runName"], wanted["digest"], wanted["metadata"])
        artifact = Artifact(identifier, *place, *texts, index=len(versions))
        store.artifacts.append(artifact)
    latest = next(({"id": stored.id} for stored in reversed(versions) if stored.committed), None)
    state = "COMMITTED" if artifact.committed else "PENDING"
    described = {"id": artifact.id, "state": state, "artifactSequence": {"latestArtifact": latest}}
    return {"createArtifact": {"artifact": described}}


def create_manifest(_store: Store, variables: Variables, address: str) -> dict[str, Any]:
    return {"createArtifactManifest": {"artifactManifest": _manifest(variables["artifactID"], address)}}


def update_manifest(_store: Store, variables: Variables, address: str) -> dict[str, Any]:
    return {"updateArtifactManifest": {"artifactManifest": _manifest(variables["artifactManifestID"], address)}}


def create_files(_store: Store, variables: Variables, address: str) -> dict[str, Any]:
    """Answer with an address for each file that the client wants to upload."""
    edges = []
    for file in variables["input"]["artifactFiles"]:
        node = _upload(file["artifactID"], file["name"], address)
        parts = {"uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}
        edges.append({"node": node | {"storagePath": file["name"]} | parts})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def commit(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    artifact = _find(store, variables["artifactID"])
    artifact.committed = True
    return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}


def by_id(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    return {"artifact": _described(_find(store, variables["id"]))}


def type_of(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    """Answer with the type of an artifact's collection, which no later version may change."""
    collection = variables["name"].partition(":")[0]
    place = (variables["entity"], variables["project"], collection)
    types = [stored.type for stored in store.artifacts if (stored.entity, stored.project, stored.collection) == place]
    return {"project": {"artifact": {"artifactType": {"name": types[0]}} if types else None}}


def versions_of(store: Store, variables: Variables, _address: str) -> dict[str, Any]:
    """Answer with the committed versions of a collection."""
    place = (variables["entity"], variables["project"], variables["type"], variables["collection"])
    versions = [
        stored
        for stored in store.artifacts
        if (stored.entity, stored.project, stored.type, stored.collection) == place and stored.committed
    ]
    if not versions:
        return {"project": {"artifactType": None}}
    edges = [{"version": f"v{stored.index}", "node": _described(stored), "cursor": stored.id} for stored in versions]
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    artifacts = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
    collection = {"__typename": "ArtifactSequence", "artifacts": artifacts}
    return {"project": {"artifactType": {"artifactCollection": collection}}}


def store_file(store: Store, identifier: str, name: str, content: bytes) -> None:
    """Take an uploaded file."""
    _find(store, identifier).uploads[name] = content


def _find(store: Store, identifier: str) -> Artifact:
    (artifact,) = [stored for stored in store.artifacts if stored.id == identifier]
    return artifact


def _upload(identifier: str, name: str, address: str) -> dict[str, Any]:
    return {"uploadUrl": f"{address}/artifacts/{identifier}/{quote(name)}", "uploadHeaders": []}


def _manifest(identifier: str, address: str) -> dict[str, Any]:
    # The manifest of a version has the version's id.
    return {"id": identifier, "file": {"id": f"file-of-{identifier}"} | _upload(identifier, MANIFEST, address)}


def _described(artifact: Artifact) -> dict[str, Any]:
    project = {"id": artifact.project, "internalId": "1", "name": artifact.project, "entity": {"name": artifact.entity}}
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": {"__typename": "ArtifactSequence", "name": artifact.collection, "project": project},
        "versionIndex": artifact.index,
        "artifactType": {"name": artifact.type},
        "description": None,
        "metadata": artifact.metadata,
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED" if artifact.committed else "PENDING",
        "size": sum(map(len, artifact.uploads.values())),
        "digest": artifact.digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": None,
        "fileCount": len(artifact.uploads),
        "createdAt": "2026-01-02T03:04:05Z",
        "updatedAt": None,
        "aliases": [],
    }
