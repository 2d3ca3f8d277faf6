"""A server of Weights & Biases that keeps what runs upload: as much of its interface as `wandb` 0.31 needs for that."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"


@dataclass
class Run:
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # name, group, tags … of the last upsert that had them
    exits: list[int] = field(default_factory=list)  # the exit code of each upload that came to its end


@dataclass
class Server:
    url: str
    runs: dict[str, Run] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)


@contextmanager
def serve() -> Generator[Server]:
    """A server on a free port of this machine."""
    http = _Http(("127.0.0.1", 0), _Handler)
    http.state = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield http.state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Http(ThreadingHTTPServer):
    state: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are torn down reset their connections; what else goes wrong here, an upload shows."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http  # pyrefly: ignore[bad-override-mutable-attribute] - it is always one of these
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in http.server
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        state = self.server.state
        state.keys.add(self.headers.get("Authorization", ""))
        if self.path == "/graphql":
            request = json.loads(body)
            self._answer({"data": self._query(state, request["query"], request.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            _take(state.runs[self.path.split("/")[-2]], json.loads(body))
            self._answer({})
        else:
            self._answer({})

    def _query(self, state: Server, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in query:
            name = variables["name"]
            run, new = state.runs.setdefault(name, Run()), name not in state.runs
            run.about |= {key: value for key, value in variables.items() if value is not None}
            return {"upsertBucket": {"inserted": new, "bucket": self._bucket(name, run)}}
        if "RunResumeStatus" in query:
            run = state.runs.get(variables["name"])
            bucket = None if run is None else self._bucket(variables["name"], run)
            return {"model": {"id": "project", "name": variables["project"], "entity": _ENTITY, "bucket": bucket}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{state.url}/upload"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        if "viewer" in query:
            return {"viewer": {"id": "viewer", "entity": ENTITY, "username": ENTITY, "flags": "{}"}}
        return {}

    def _bucket(self, name: str, run: Run) -> dict[str, Any]:
        return {
            "id": name,
            "name": name,
            "displayName": run.about.get("displayName"),
            "description": "",
            "config": run.about.get("config", "{}"),
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "tags": run.about.get("tags") or [],
            "notes": None,
            "sweepName": None,
            "wandbConfig": "{}",
            "project": {"id": "project", "name": run.about.get("project"), "entity": _ENTITY},
        }

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_ENTITY = {"id": "entity", "name": ENTITY}


def _take(run: Run, request: dict[str, Any]) -> None:
    """One message of a run's file stream: lines of its files from an offset on."""
    for name, part in (request.get("files") or {}).items():
        rows = [json.loads(line) for line in part["content"]]
        if name == "wandb-history.jsonl":
            run.history[part["offset"] :] = rows
        elif name == "wandb-summary.json":
            run.summary = rows[-1]
    if request.get("complete"):
        run.exits.append(request["exitcode"])
