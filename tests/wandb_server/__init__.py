"""A stand-in for W&B's server on 127.0.0.1, for the tests.

Covered, as wandb 0.31 asks for it:
    - GraphQL: the viewer and its default entity, creation and change of a run (`UpsertBucket`), the state of a run that
      is resumed (`RunResumeStatus`), the upload addresses of a run's files, a run and the list of runs as `wandb.Api`
      reads them.
    - the file stream: history, events, summary and output by offset, the end of a run with its exit code.
    - files of a run by PUT.
    - artifacts: versions by digest, files and manifest by PUT, commit, the committed versions of a collection.
    - projects, workspaces and reports, as wandb-workspaces 0.4 and `wandb.Api` make, list and change them.
    - faults: a status such as 429 or 500, an answer that never comes or comes late, a connection that is closed before
      or after the request was stored, death and return of the server with what it had stored.

Not covered:
    - how W&B stores and samples history, and its limits: rate limits of an account, sizes of lines and of summaries.
    - what W&B does with lines that overlap. The stand-in takes a repeated offset for the same line, which is what the
      offset is for, and lists lines that differ (`Run.conflicts`).
    - artifacts: links between runs and versions, aliases, uploads in parts, quotas.
    - media, `define_metric` (it arrives in the config and is not evaluated), sweeps.
    - what W&B's app makes of a workspace or a report: they are stored as they arrive, and nothing is drawn.
    - filters and order of the list of runs, deleted runs, permissions beyond the presence of a key, TLS, HTTP/2.
"""

from tests.wandb_server.faults import Fault, Kind, always, nth
from tests.wandb_server.server import WandbServer
from tests.wandb_server.store import Run, Store

__all__ = ["Fault", "Kind", "Run", "Store", "WandbServer", "always", "nth"]
