"""The Hugging Face Hub's HTTP interface over repositories in memory, as far as the libraries use it to fetch."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repo:
    """One repository: the files of each branch or reference."""

    branches: dict[str, Files]
    pulls: list[dict] = field(default_factory=list)  # of refs/pr/1, refs/pr/2, …

    def commit(self, revision: str) -> str | None:
        """The hash that `revision` stands for, if there is such a one."""
        hashes = {name: _sha1(repr(sorted(files.items()))) for name, files in self.branches.items()}
        return revision if revision in hashes.values() else hashes.get(revision)

    def files(self, commit: str) -> Files:
        return next(files for name, files in self.branches.items() if self.commit(name) == commit)


class Hub:
    """A server on a port of its own; `repos` are keyed `models/OWNER/NAME` and `datasets/OWNER/NAME`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []  # METHOD path
        self.broken: set[str] = set()  # files whose download stops halfway
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def running(self) -> Generator[Hub]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        url = urlsplit(request.path)
        self.requests.append(f"{request.command} {unquote(url.path)}")
        parts = unquote(url.path).strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 4:
            self._api(request, "/".join(parts[1:4]), parts[4:], body)
        elif "resolve" in parts:
            kind = "datasets" if parts[0] == "datasets" else "models"
            owner = parts[1:3] if kind == "datasets" else parts[:2]
            revision, *path = parts[parts.index("resolve") + 1 :]
            if revision == "refs":  # refs/pr/N is written with its slashes quoted
                revision, path = "/".join([revision, *path[:2]]), path[2:]
            self._file(request, f"{kind}/{'/'.join(owner)}", revision, "/".join(path))
        elif parts[0] == "api" and parts[1] == "whoami-v2":
            _send(request, 401, {"error": "no token"})
        else:
            _send(request, 404, {"error": f"no route {url.path} {parse_qs(url.query)}"})

    def _api(self, request: BaseHTTPRequestHandler, name: str, rest: list[str], body: bytes) -> None:
        repo = self.repos.get(name)
        if repo is None:
            return _send(request, 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        kind, *revision = rest or ["revision", "main"]
        if kind == "discussions":
            return _send(request, 200, {"discussions": repo.pulls, "count": len(repo.pulls), "start": 0})
        if revision[0] == "refs":
            revision = ["/".join(revision[:3]), *revision[3:]]
        commit = repo.commit(revision[0])
        if commit is None:
            return _send(request, 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        files = repo.files(commit)
        if kind == "revision":
            siblings = [{"rfilename": path} for path in files]
            owner = name.partition("/")[2]
            return _send(request, 200, {"id": owner, "sha": commit, "private": False, "siblings": siblings, "tags": []})
        if kind == "tree":
            below = "".join(f"{part}/" for part in revision[1:])
            recursive = "recursive=true" in request.path.lower()
            return _send(request, 200, _tree(files, below, recursive=recursive))
        if kind == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            found = {path: content for path, content in files.items() if path in asked}
            folders = [path for path in asked if any(name.startswith(f"{path}/") for name in files)]
            return _send(request, 200, _entries(found) + [_folder(path) for path in folders])
        if kind == "commits":
            heads = [commit] + ([parent] if (parent := repo.commit("main")) not in (None, commit) else [])
            day = "2024-01-01T00:00:00.000Z"
            return _send(
                request, 200, [{"id": c, "title": "", "message": "", "date": day, "authors": []} for c in heads]
            )
        return _send(request, 404, {"error": f"no route {kind}"})

    def _file(self, request: BaseHTTPRequestHandler, name: str, revision: str, path: str) -> None:
        repo = self.repos.get(name)
        if repo is None:
            return _send(request, 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        commit = repo.commit(revision)
        if commit is None:
            return _send(request, 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        content = repo.files(commit).get(path)
        at = {"X-Repo-Commit": commit}
        if content is None:
            return _send(request, 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", **at})
        etag = {"ETag": f'"{_sha1(content)}"', "Accept-Ranges": "bytes", **at}
        if path in self.broken and request.command == "GET":
            request.send_response(200)
            for key, value in {**etag, "Content-Length": str(len(content))}.items():
                request.send_header(key, value)
            request.end_headers()
            request.wfile.write(content[: len(content) // 2])
            request.close_connection = True
            return None
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        return _send(request, 206 if start else 200, content[start:], etag)


def _entries(files: Files) -> list[dict]:
    return [{"type": "file", "oid": _sha1(content), "size": len(content), "path": p} for p, content in files.items()]


def _tree(files: Files, below: str, *, recursive: bool) -> list[dict]:
    found = {path: content for path, content in files.items() if path.startswith(below)}
    inner = {below + rest.partition("/")[0] for path in found if "/" in (rest := path.removeprefix(below))}
    direct = {path: content for path, content in found.items() if "/" not in path.removeprefix(below)}
    return _entries(found if recursive else direct) + [_folder(path) for path in sorted(inner)]


def _folder(path: str) -> dict:
    return {"type": "directory", "oid": _sha1(path), "size": 0, "path": path}


def _send(request: BaseHTTPRequestHandler, status: int, content: object, headers: dict[str, str] | None = None) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request.send_response(status)
    for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _sha1(content: str | bytes) -> str:
    return hashlib.sha1(content.encode() if isinstance(content, str) else content, usedforsecurity=False).hexdigest()
