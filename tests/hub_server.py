"""A loopback server that speaks as much of the Hugging Face hub's API as loading a data set or a model takes.

What it does is read from huggingface_hub 2.4.0, which this was written against; nothing was asked of the real hub:

- ``GET /api/datasets/<repo>/revision/<revision>`` gives ``sha`` (hf_api.py, ``dataset_info``).
- ``GET /api/datasets/<repo>/tree/<commit>`` lists ``type``, ``path``, ``size``, ``oid`` and ``lfs``; the next page
  stands in the ``Link`` header (hf_api.py, ``list_repo_tree``; utils/_pagination.py).
- ``HEAD`` and ``GET /datasets/<repo>/resolve/<revision>/<path>`` give ``ETag`` and ``X-Repo-Commit``; a large file is
  a redirect to another host, with ``X-Linked-Size`` and ``X-Linked-ETag`` (file_download.py,
  ``get_hf_file_metadata``).
- What is missing, private or gated is told by ``X-Error-Code`` and ``X-Error-Message`` (utils/_http.py,
  ``hf_raise_for_status``); 401 with ``RepoNotFound`` stands for missing and for private alike.
- Models are the same below ``/api/models/``, and their files have no prefix (constants.py,
  ``REPO_TYPES_URL_PREFIXES``).

Assumed: that a range is answered with 206 by the hub and its CDN (``HfFileSystemFile`` relies on it too).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

__all__ = ["Asked", "HubRepo", "HubServer", "hub_server"]

_API = re.compile(
    r"/api/(?:datasets|models)/(?P<repo>[^/]+/[^/]+)/(?P<verb>revision|tree)/(?P<revision>[^/]+)"
)
_FILE = re.compile(r"/(?:datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_CDN = "/cdn/"
_PAGE = 3


@attrs.define
class HubRepo:
    """A data set, or a model.

    Attributes:
        files: The content of each path.
        large: The paths that are kept on the CDN.
        token: What opens it; None where it is public.
        gated: Whether its owner lets people in one by one.
        branches: More names of the one commit there is, besides main.
    """

    files: dict[str, bytes]
    large: set[str] = attrs.field(factory=set)
    token: str | None = None
    gated: bool = False
    branches: set[str] = attrs.field(factory=set)

    @property
    def commit(self) -> str:
        """Its hash."""
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@attrs.frozen
class Asked:
    """A request that came.

    Attributes:
        method: Its method.
        path: Its path, unquoted.
        range: Its Range header.
        authorization: Its Authorization header.
        host: The host that it was sent to.
    """

    method: str
    path: str
    range: str | None
    authorization: str | None
    host: str


@attrs.define
class _Fault:
    path: str
    status: int
    headers: Mapping[str, str]
    times: int


@attrs.define
class HubServer:
    """A hub.

    Attributes:
        repos: Its data sets and models.
        asked: What was asked of it.
        ranges: Whether it gives a part of a file where that is asked for.
        html: Whether it answers all with a page, as a proxy's log-in does.
    """

    endpoint: str = ""
    repos: dict[str, HubRepo] = attrs.field(factory=dict)
    asked: list[Asked] = attrs.field(factory=list)
    ranges: bool = True
    html: bool = False
    cut: set[str] = attrs.field(factory=set)
    _faults: list[_Fault] = attrs.field(factory=list)

    def fail(self, path: str, status: int, *, times: int = 1, **headers: str) -> None:
        """Answer the next requests whose path has ``path`` in it with a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._faults.append(_Fault(path, status, named, times))

    def fetched(self) -> list[str]:
        """The files that were asked for whole, by their last name."""
        return [
            each.path.rpartition("/")[2]
            for each in self.asked
            if each.method == "GET" and each.range is None and ("/resolve/" in each.path or _CDN in each.path)
        ]

    def ranged(self) -> list[str]:
        """The files that a part was asked of, by their last name; at the hub itself, not at the CDN."""
        return [
            each.path.rpartition("/")[2]
            for each in self.asked
            if each.range is not None and _CDN not in each.path
        ]

    def fault_of(self, path: str) -> _Fault | None:
        """Take one of the faults for a path."""
        for fault in self._faults:
            if fault.path in path and fault.times > 0:
                fault.times -= 1
                return fault
        return None


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve on a free port of this machine until the end of the block."""
    hub = HubServer()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body go out together and at once; apart, each answer would wait for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    served: HubServer

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def log_message(self, *_said: object) -> None:
        """Nothing is printed."""

    def _handle(self) -> None:
        hub, path = self.served, unquote(urlsplit(self.path).path)
        given = self.headers
        hub.asked.append(
            Asked(self.command, path, given.get("Range"), given.get("Authorization"), given.get("Host", ""))
        )
        fault = hub.fault_of(path)
        if fault is not None:
            self._answer(fault.status, b"", **fault.headers)
        elif hub.html:
            self._answer(200, b"<html>Sign in</html>", Content_Type="text/html")
        elif path.startswith(_CDN):
            _, _, owner, name, *rest = path.split("/")
            self._send_file(hub.repos[f"{owner}/{name}"], "/".join(rest))
        else:
            self._route(path)

    def _route(self, path: str) -> None:
        # Revisions hold slashes when they are unquoted, so they are matched as they came.
        raw = urlsplit(self.path).path
        match = _API.fullmatch(raw) or _FILE.fullmatch(raw)
        repo = None if match is None else self.served.repos.get(match["repo"])
        if match is None or repo is None:
            return self._answer(401, b"", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if not self._let_in(repo):
            return None
        if unquote(match["revision"]) not in {"main", repo.commit, *repo.branches}:
            return self._answer(404, b"", X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        groups = match.groupdict()
        if groups.get("verb") == "revision":
            return self._json({"id": match["repo"], "sha": repo.commit, "private": repo.token is not None})
        if groups.get("verb") == "tree":
            return self._tree(repo)
        return self._resolve(match["repo"], repo, unquote(match["path"]))

    def _let_in(self, repo: HubRepo) -> bool:
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo.token is None or bearer == repo.token:
            return True
        if repo.gated:
            self._answer(403, b"", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        elif bearer:
            self._answer(401, b"", X_Error_Message="Invalid credentials in Authorization header")
        else:
            self._answer(401, b"", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        return False

    def _tree(self, repo: HubRepo) -> None:
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        paths = sorted(repo.files)
        entries = [self._entry(repo, path) for path in paths[start : start + _PAGE]]
        folder = {"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}
        more = start + _PAGE < len(paths)
        page = f"{self.served.endpoint}{urlsplit(self.path).path}?recursive=True&cursor={start + _PAGE}"
        self._json(
            [*entries, *([] if more else [folder])], **({"Link": f'<{page}>; rel="next"'} if more else {})
        )

    def _entry(self, repo: HubRepo, path: str) -> dict[str, object]:
        content = repo.files[path]
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": _etag(content)}
        if path in repo.large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    def _resolve(self, name: str, repo: HubRepo, path: str) -> None:
        if path not in repo.files:
            return self._answer(
                404,
                b"",
                X_Error_Code="EntryNotFound",
                X_Error_Message="Entry not found",
                X_Repo_Commit=repo.commit,
            )
        content = repo.files[path]
        if path not in repo.large:
            return self._send_file(repo, path)
        return self._answer(
            302,
            b"",
            # Another host, so that the client has to leave its token behind.
            Location=f"{self.served.endpoint.replace('127.0.0.1', 'localhost')}{_CDN}{name}/{path}",
            X_Repo_Commit=repo.commit,
            X_Linked_Size=str(len(content)),
            X_Linked_ETag=f'"{hashlib.sha256(content).hexdigest()}"',
        )

    def _send_file(self, repo: HubRepo, path: str) -> None:
        content = repo.files[path]
        named = {"ETag": f'"{_etag(content)}"', "X_Repo_Commit": repo.commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None or not self.served.ranges:
            return self._answer(200, content, cut=path in self.served.cut, **named)
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        place = f"bytes {start}-{end}/{len(content)}"
        return self._answer(206, content[start : end + 1], Content_Range=place, **named)

    def _json(self, body: object, **headers: str) -> None:
        self._answer(200, json.dumps(body).encode(), Content_Type="application/json", **headers)

    def _answer(self, status: int, content: bytes, *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
