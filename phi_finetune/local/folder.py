"""A cloud kept in a folder: several processes open it, and each carries out what the others were asked.

The state is the log. A process that opens the folder carries out, in order, every request that ever changed something;
before it handles one of its own it takes the folder's lock and catches up with the others. The emulator is
deterministic for that: its time is that of each entry, and what is drawn at random for an entry depends on the folder's
seed and the entry's number alone. No token and no signature is in the log.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.http import Forwarded, Request, Response
from phi_finetune.emulator.runners.engine import Engine, Report
from phi_finetune.emulator.storage.blobs import Files, StoredFile
from phi_finetune.errors import ConfigurationError
from phi_finetune.local.contents import SMALL, Contents
from phi_finetune.local.log import Entry, Log
from phi_finetune.local.reports import as_json, from_json

__all__ = ["Folder", "Owner"]

_SECRET: Final = ("authorization", "cookie", "x-azureml-token")
_NOISE: Final = (
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "x-ms-client-request-id",
    "x-ms-date",
)
_READING: Final = (
    "/listkeys",
    "/listsecrets",
    "/getlogs",
    "/rundata",
    "/runs/search",
    "/batchgetresolveduris",
)
"""POSTs that change nothing."""
_SIGNATURE: Final = re.compile(r"(\bsig=)[^&]+")


class Owner(Protocol):
    """Who runs what the cloud says should run, and can tell what became of it."""

    @property
    def engine(self) -> Engine:
        """Where what it runs writes to."""
        ...

    def reports(self, cloud: Cloud) -> list[Report]:
        """What the cloud has not been told yet."""
        ...

    def bring_about(self, cloud: Cloud) -> None:
        """Start what should run and does not, end what runs and should not."""
        ...


class Folder:
    """A cloud in a folder. Safe to share between threads.

    Args:
        path: The folder.
        make: Makes the cloud of a folder, out of its settings, and of what keeps its contents.
        kind: What runs its jobs; a folder stays of the kind that it was made as.
        owner: Runs its jobs in processes; None leaves that to the cloud.

    Raises:
        ConfigurationError: It cannot be used.
    """

    def __init__(
        self,
        path: Path,
        make: Callable[[Settings, Contents], Cloud],
        *,
        kind: str,
        owner: Owner | None = None,
    ) -> None:
        # Read through links once, so that a change of the current folder changes nothing.
        self.path = path.absolute()
        self._owner = owner
        self._lock = threading.RLock()
        made = datetime.now(UTC).replace(microsecond=0)
        new = {"kind": kind, "made": made.isoformat(), "seed": str(secrets.randbits(63))}
        self._log = Log(self.path, new)
        settings = self._log.settings
        if settings.get("kind") != kind:
            raise ConfigurationError(
                "The folder cannot be used as a local workspace in this way",
                resource=f"folder {self.path}",
                why=f"its jobs are run by {settings.get('kind')}, and now {kind} are to run them",
                next_call="take another folder, or the runner that it was made with",
            )
        self._contents = Contents(self.path / "contents")
        start = datetime.fromisoformat(settings["made"])
        self._make: Callable[[], Cloud] = partial(
            make, Settings(seed=int(settings["seed"]), start=start), self._contents
        )
        self._begin()
        with self._lock, self._at_work():
            self._catch_up()

    def handle(self, request: Request) -> Response:
        """Answer a request, and log it if it changed something.

        Raises:
            ConfigurationError: The folder can no longer be read or written.
        """
        with self._lock:
            with self._at_work():
                self._catch_up()
                heard = self._hear()
                number, at, turns = self._read + 1, self._now(), self.cloud.clock.turns
                self.cloud.ids.begin(number)
                answer = self.cloud.handle(request)
                changed = self.cloud.clock.turns != turns or _changes(request, answer)
                if changed:
                    self._append(_entry(number, at, request, self._contents))
                self._tidy()
            if heard or changed:
                self._bring_about()
            return answer

    def add_model(self, name: str, files: Mapping[str, Path], *, context_length: int | None) -> None:
        """Let the registry have a model whose files lie on this machine; the same again changes nothing.

        Raises:
            ConfigurationError: There is another one of that name.
        """
        what = {
            "name": name,
            "context_length": context_length,
            "files": {key: str(path) for key, path in files.items()},
        }
        with self._lock, self._at_work():
            self._catch_up()
            if what in self._models:
                return
            number, at = self._read + 1, self._now()
            try:
                self._add(what)
            except ValueError as error:
                raise ConfigurationError(
                    "The model cannot be added",
                    resource=f"model {name}",
                    why=str(error),
                    next_call="give it another name: add_model(..., name=...)",
                ) from error
            self._append(Entry(number, at, "model", what))

    def model_files(self, model_id: str) -> Mapping[str, Path]:
        """The files of a model that was added, by their names in its folder; none for any other model."""
        with self._lock:
            if not self.cloud.registries.files_of(model_id):
                return {}
            name = model_id.rpartition("/models/")[2].partition("/")[0]
            (what,) = [one for one in self._models if one["name"] == name]
        return {key: Path(path) for key, path in what["files"].items()}

    def server_of(self, endpoint: str, deployment: str) -> str | None:
        """The id of the server that a deployment should have; None where it should have none."""
        with self._lock:
            wanted = self.cloud.endpoints.servers()
        return next(
            (one.id for one in wanted if (one.endpoint, one.deployment) == (endpoint, deployment)), None
        )

    def _add(self, what: Mapping[str, Any]) -> None:
        files = Files({name: StoredFile(Path(path)) for name, path in what["files"].items()})
        self.cloud.registries.add_model(what["name"], files, context_length=what["context_length"])
        self._models.append(what)

    def issue(self, audience: str) -> tuple[str, int]:
        """A token for an audience, and when it expires in seconds since 1970."""
        with self._lock:
            self._now()
            return self.cloud.identity.issue(audience)

    def pass_time(self, seconds: float) -> None:
        """Let time pass on the cloud's clock."""
        with self._lock:
            self.cloud.clock.sleep(seconds)

    def news(self) -> bool:
        """Whether something has come of a job or a server that the cloud was not told yet, or of another process."""
        with self._lock:
            others = any(True for _ in self._log.after(self._read))
            return others or bool(self._owner and self._owner.reports(self.cloud))

    def look_after(self) -> None:
        """Take what has become of jobs and servers, and start and end what the cloud says."""
        with self._lock:
            with self._at_work():
                self._catch_up()
                self._hear()
            self._bring_about()

    def close(self) -> None:
        """Let go of the folder's file. Jobs and servers go on."""
        with self._lock:
            self._log.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Hold the folder's lock. Where what is done within ends in an error, this process begins anew with the log."""
        try:
            with self._log.locked():
                yield
        except BaseException:
            self._begin()
            raise

    def _begin(self) -> None:
        self.cloud = self._make()
        self._models: list[Mapping[str, Any]] = []
        self._read = 0

    def _catch_up(self) -> None:
        """Carry out what others were asked since this process looked last."""
        clock = self.cloud.clock
        ahead = clock.now()
        self.cloud.replays = True
        try:
            for entry in self._log.after(self._read):
                # Somebody may have waited here since, which the others do not know of.
                clock.put(entry.at)
                self.cloud.ids.begin(entry.number)
                self._carry_out(entry)
                self._read = entry.number
                self._tidy()
        finally:
            self.cloud.replays = False
        clock.advance_to(ahead)

    def _carry_out(self, entry: Entry) -> None:
        if entry.kind == "report":
            self.cloud.hear(from_json(entry.what))
            return
        if entry.kind == "model":
            self._add(entry.what)
            return
        body = entry.body if entry.digest is None else self._contents.read(entry.digest)
        what = entry.what
        answer = self.cloud.handle(Request(what["method"], what["url"], what["headers"], body))
        if answer.status == 501:
            raise ConfigurationError(
                "The folder cannot be used as a local workspace",
                resource=f"folder {self.path}",
                why=f"this version of phi-finetune does not know a request in it: {what['method']} {what['url']}",
                next_call="open it with the version that made it, or take another folder",
            )

    def _hear(self) -> bool:
        """Tell the cloud what became of jobs and servers, and write it down."""
        if self._owner is None:
            return False
        heard = False
        # A report may lead to another: a job that is new has steps that are done.
        while reports := self._owner.reports(self.cloud):
            for report in reports:
                number, at = self._read + 1, self._now()
                self.cloud.ids.begin(number)
                self.cloud.hear(report)
                self._append(Entry(number, at, "report", as_json(report)))
                heard = True
        return heard

    def _bring_about(self) -> None:
        if self._owner is None:
            return
        with self._at_work():
            self._catch_up()
            self._owner.bring_about(self.cloud)

    def _append(self, entry: Entry) -> None:
        self._log.append(entry)
        self._read = entry.number

    def _now(self) -> datetime:
        """The folder's time, brought up to the machine's where it is that."""
        clock = self.cloud.clock
        if clock.progression == "live":
            clock.advance_to(datetime.now(UTC))
        else:
            clock.advance(timedelta(0))  # Somebody asks, so nobody waits in vain.
        return clock.now()

    def _tidy(self) -> None:
        # A folder stays open for days; what was asked is in the log.
        self.cloud.journal.clear()
        self.cloud.unrouted.clear()


def _changes(request: Request, answer: Response) -> bool:
    if request.method in ("GET", "HEAD", "OPTIONS") or answer.status >= 400 or isinstance(answer, Forwarded):
        return False
    return not (request.method == "POST" and request.path.lower().endswith(_READING))


def _entry(number: int, at: datetime, request: Request, contents: Contents) -> Entry:
    what: Mapping[str, object] = {
        "method": request.method,
        "url": _SIGNATURE.sub(r"\1-", request.url),
        "headers": _headers(request),
    }
    if len(request.body) <= SMALL:
        return Entry(number, at, "request", what, request.body)
    return Entry(number, at, "request", what, digest=contents.write(request.body))


def _headers(request: Request) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name not in (*_SECRET, *_NOISE)}
    # Whether there was a token decides how a blob's request is admitted.
    return {**kept, "authorization": "Bearer -"} if request.bearer is not None else kept
