"""Workspace and report on their way to wandb's server, or to a file as they would be sent."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from pydantic import BaseModel
from wandb_workspaces._graphql import execute_graphql, get_app_url

from gifine.errors import ArgumentError, TrackingError, UserError, first_line
from gifine.machine import disk
from gifine.tracking import wandb_server

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

    def save_workspace(self, workspace: ws.Workspace) -> tuple[str, bool]:
        """The address, and whether there was one of this name, which is replaced.

        Raises:
            ArgumentError: for no entity, neither the workspace's nor the login's.
            TrackingError: for a project that is not there.
        """
        workspace.entity = self._entity(workspace)
        variables = {"entity": workspace.entity, "project": workspace.project, "name": workspace._internal_name}
        project = execute_graphql(self.api, _VIEWS, variables)["project"]
        if project is None:
            raise self._missing(workspace)
        edges = project["allViews"]["edges"]
        if edges:
            workspace._internal_id = edges[0]["node"]["id"]
        workspace.save()
        query = urlsplit(workspace.url).query
        return f"{self._address(workspace)}?{query}", bool(edges)

    def save_report(self, report: wr.Report) -> tuple[str, bool]:
        """As `save_workspace`, of the same title: reports have no names that we could choose."""
        report.entity = self._entity(report)
        found = [each.id for each in self._reports(report) if each.display_name == report.title]
        if found:
            report.id = found[0]
        report.save()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", report.title).strip("-")
        return f"{self._address(report)}/reports/{slug}--{report.id.rstrip('=')}", bool(found)

    def _entity(self, view: ws.Workspace | wr.Report) -> str:
        entity = view.entity or self.api.default_entity
        if not entity:
            raise ArgumentError(f"{view.project}: the login has no default entity; give ENTITY/PROJECT")
        return entity

    def _address(self, view: ws.Workspace | wr.Report) -> str:
        """Of the project: the library leaves out the path that the app may lie at, and puts titles in as they are."""
        return f"{get_app_url(self.api).rstrip('/')}/{view.entity}/{view.project}"

    def _reports(self, report: wr.Report) -> list[Any]:
        try:
            return list(self.api.reports(f"{report.entity}/{report.project}"))
        except ValueError as error:  # else saving would make the project
            raise self._missing(report) from error

    def _missing(self, view: ws.Workspace | wr.Report) -> TrackingError:
        return TrackingError(
            f"{view.entity}/{view.project}: no such project at {self.api.settings['base_url']}, or none that this "
            "login may see; the first run with tracking=wandb makes it"
        )


@contextmanager
def server() -> Generator[Server]:
    """Log in with what `wandb login` or the environment has left; nobody is asked for a key.

    Raises:
        TrackingError: for no login, and a server out of reach or that refuses something.
    """
    try:
        yield Server(_api())
    except UserError:
        raise
    except Exception as error:  # whatever wandb, its process and its server raise
        raise TrackingError(f"wandb did not take it ({type(error).__name__}: {first_line(error)})") from error
    finally:
        wandb.teardown()  # its process


def _api() -> wandb.Api:
    try:
        return wandb_server.log_in()
    except TrackingError as error:
        raise TrackingError(f"{error}; --dry-run FILE needs neither server nor login") from error


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
    disk.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _sent(spec: BaseModel) -> dict[str, Any]:
    """What the library sends of a spec: its models have checked it when they were made, and must be able to read it."""
    text = spec.model_dump_json(by_alias=True, exclude_none=True)
    type(spec).model_validate_json(text)
    return json.loads(text)
