"""Workspace and report on their way to wandb's server, or to a file as they would be sent."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from pydantic import BaseModel
from wandb.errors import AuthenticationError, UsageError
from wandb_workspaces._graphql import execute_graphql

from gifine import network, records
from gifine.errors import TrackingError

_LOG_IN = "`wandb login` or WANDB_API_KEY"
_WITHOUT = "--dry-run FILE needs neither server nor login"

# wandb's libraries find a workspace by its name only if they can read all that the app has put into it since.
_VIEWS = """
query Views($entity: String!, $project: String!, $name: String!) {
    project(name: $project, entityName: $entity) {
        allViews(viewType: "project-view", viewName: $name) {
            edges { node { id } }
        }
    }
}
"""


class Server:
    """wandb's server, as whoever is logged in sees it."""

    def __init__(self, api: wandb.Api) -> None:
        self.api = api
        self.entity = api.default_entity or ""  # user or team of the login

    def save_workspace(self, workspace: ws.Workspace) -> tuple[str, bool]:
        """The address, and whether there was one of this name, which is replaced.

        Raises:
            TrackingError: for a project that is not there.
        """
        variables = {"entity": workspace.entity, "project": workspace.project, "name": workspace._internal_name}
        project = execute_graphql(self.api, _VIEWS, variables)["project"]
        if project is None:
            raise TrackingError(
                f"{workspace.entity}/{workspace.project}: no such project at {self.api.settings['base_url']}, or none "
                "that this login may see; the first run with tracking=wandb makes it"
            )
        edges = project["allViews"]["edges"]
        if edges:
            workspace._internal_id = edges[0]["node"]["id"]
        return workspace.save().url, bool(edges)

    def save_report(self, report: wr.Report) -> tuple[str, bool]:
        """As `save_workspace`, of the same title: reports have no names that we could choose."""
        found = [each.id for each in self._reports(report) if each.display_name == report.title]
        if found:
            report.id = found[0]
        report.save()
        # The library puts the title into the address as it is.
        place, slug = urlsplit(report.url), re.sub(r"[^A-Za-z0-9]+", "-", report.title).strip("-")
        path = f"{report.entity}/{report.project}/reports/{slug}--{report.id.rstrip('=')}"
        return f"{place.scheme}://{place.netloc}/{path}", bool(found)

    def _reports(self, report: wr.Report) -> list[Any]:
        return list(self.api.reports(f"{report.entity}/{report.project}"))


@contextmanager
def server() -> Generator[Server]:
    """Log in with what `wandb login` or the environment has left; nobody is asked for a key.

    Raises:
        TrackingError: for no login, and a server out of reach or that refuses something.
    """
    stdin, sys.stdin = sys.stdin, io.StringIO()  # else wandb asks for a key on a terminal
    try:
        url = wandb.setup(wandb.Settings(silent=True)).settings.base_url
        place, reason = network.reach(url)  # wandb itself waits for over a minute
        if reason is not None:
            raise TrackingError(f"{place}: {reason}; saving needs wandb's server and a login ({_LOG_IN}); {_WITHOUT}")
        yield Server(wandb.Api())
    except TrackingError:
        raise
    except AuthenticationError as error:
        raise TrackingError(f"{_one_line(error)}; log in with {_LOG_IN}; {_WITHOUT}") from error
    except UsageError as error:
        raise TrackingError(f"not logged in to wandb: saving needs {_LOG_IN}; {_WITHOUT}") from error
    except Exception as error:  # whatever wandb, its process and its server raise
        raise TrackingError(f"wandb did not take it ({type(error).__name__}: {_one_line(error)})") from error
    finally:
        sys.stdin = stdin
        wandb.teardown()  # its process


def write(path: Path, workspace: ws.Workspace | None, report: wr.Report | None) -> None:
    """A JSON file with what saving would send, as wandb's library validates it: the same for the same arguments.

    Raises:
        OutputError: for a file that cannot be written.
    """
    content: dict[str, Any] = {}
    if workspace is not None:
        view = workspace._to_model()
        content["workspace"] = {
            "entity": view.entity,
            "project": view.project,
            "name": view.name,
            "title": view.display_name,
            "spec": _sent(view.spec),
        }
    if report is not None:
        model = report._to_model()
        content["report"] = {
            "entity": report.entity,
            "project": report.project,
            "title": model.display_name,
            "description": model.description,
            "spec": _sent(model.spec),
        }
    records.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _sent(spec: BaseModel) -> dict[str, Any]:
    """What the library sends of a spec: its models have checked it when they were made, and must be able to read it."""
    text = spec.model_dump_json(by_alias=True, exclude_none=True)
    type(spec).model_validate_json(text)
    return json.loads(text)


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
