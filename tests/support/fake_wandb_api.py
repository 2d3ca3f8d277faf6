"""wandb's GraphQL server over projects in memory, as far as its libraries use it to save workspaces and reports."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORKSPACE, REPORT = "project-view", "runs"  # what wandb calls the types of a project's views


@dataclass
class View:
    id: str
    type: str
    name: str
    title: str
    spec: dict[str, Any]


@dataclass
class Server:
    """A server on a port of its own, for the login `entity` and the one `key`."""

    entity: str
    key: str
    projects: dict[str, list[View]] = field(default_factory=dict)  # the views of each of the entity's projects
    operations: list[str] = field(default_factory=list)  # what has been asked for, in this order
    refused: str = ""  # an operation that is answered with an error
    url: str = ""

    @contextmanager
    def running(self) -> Generator[Server]:
        server = _Listener(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def views(self, project: str, kind: str) -> list[View]:
        return [view for view in self.projects[project] if view.type == kind]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = found[1] if found else ""
        self.operations.append(operation)
        if operation == self.refused:
            return {"errors": [{"message": "permission denied"}], "data": None}
        match operation:
            case "Viewer" | "GetDefaultEntity":
                return {"data": {"viewer": {"id": "u", "entity": self.entity, "username": self.entity}}}
            case "Views" | "ProjectViews":
                kind = WORKSPACE if operation == "Views" else REPORT
                return {"data": {"project": self._listed(variables, kind)}}
            case "GetProjects":
                nodes = [{"node": self._project(name)} for name in self.projects]
                page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
                return {"data": {"models": {"pageInfo": page, "edges": nodes}}}
            case "UpsertView2" | "upsertView":
                return {"data": {"upsertView": self._upserted(variables)}}
        return {"errors": [{"message": f"{operation}: not made here"}], "data": None}

    def _listed(self, variables: dict[str, Any], kind: str) -> dict[str, Any] | None:
        if variables["entity"] != self.entity or variables["project"] not in self.projects:
            return None
        wanted = variables.get("name")
        nodes = [
            {"id": view.id, "name": view.name, "displayName": view.title, "spec": json.dumps(view.spec)}
            for view in self.views(variables["project"], kind)
            if wanted in (None, view.name)
        ]
        page = {"endCursor": None, "hasNextPage": False}
        return {"allViews": {"edges": [{"node": node, "cursor": node["id"]} for node in nodes], "pageInfo": page}}

    def _project(self, name: str) -> dict[str, Any]:
        return {
            "__typename": "Project",
            "id": name,
            "name": name,
            "entityName": self.entity,
            "createdAt": "2026-01-01T00:00:00",
            "isBenchmark": False,
            "user": None,
        }

    def _upserted(self, variables: dict[str, Any]) -> dict[str, Any]:
        views = self.projects[variables["projectName"]]
        known = {view.id: view for view in views}
        view = known.get(variables.get("id") or "")
        if view is None:
            number = base64.b64encode(f"View:{len(views) + 1}".encode()).decode()
            view = View(number, variables["type"], variables["name"], "", {})
            views.append(view)
        view.title, view.spec = variables["displayName"], json.loads(variables["spec"])
        node = {"id": view.id, "type": view.type, "name": view.name, "displayName": view.title, "description": ""}
        node |= {"project": {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}}
        return {"view": node | {"spec": variables["spec"]}, "inserted": view.id not in known}


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # wandb's process has ended
            super().handle_error(request, client_address)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != "/graphql":  # counts of use, which wandb's process sends
                return self._send(404, {})
            login = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
            if login != f"api:{server.key}":
                return self._send(401, {"errors": [{"message": "user is not logged in"}]})
            request = json.loads(body)
            return self._send(200, server.answer(request["query"], request.get("variables") or {}))

        def _send(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler
