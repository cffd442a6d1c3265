"""Writing down what the real service answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from requests.exceptions import ConnectTimeout, RequestException, Timeout
from requests.models import Response as RequestsResponse
from urllib3.exceptions import MaxRetryError

from phi_finetune.emulator.doors.inprocess import AzureRequestRefused
from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.testing.recording.contents import answer_content, request_content
from phi_finetune.testing.recording.exchange import Answered, Asked, Exchange, Lost
from phi_finetune.testing.recording.file import Written, save, to_text
from phi_finetune.testing.recording.rules import (
    secrets_of_headers,
    secrets_of_sign_in,
    secrets_of_url,
)
from phi_finetune.testing.recording.scrubber import Scrubber
from phi_finetune.testing.recording.taken import take
from phi_finetune.testing.recording.urls import canonical

__all__ = ["Recording", "ScrubbingFailed"]

_ASKED = re.compile(
    r"content-type|range|x-ms-range|if-(none-)?match|azureml-model-deployment|x-ms-blob-type|x-ms-meta-.*",
    re.IGNORECASE,
)
_ANSWERED = re.compile(
    r"content-type|content-range|accept-ranges|etag|last-modified|location|azure-asyncoperation|operation-location"
    r"|retry-after(-ms)?|x-ms-retry-after-ms|x-ms-error-code|x-ms-blob-type|x-ms-version|x-ms-response-type"
    r"|x-ms-meta-.*|azureml-model-deployment|ms-azureml-model-error-(reason|statuscode)",
    re.IGNORECASE,
)
"""The headers that are kept: those that clients read. All others may hold what is nobody's business."""


_LENGTH = re.compile("content-length", re.IGNORECASE)


class ScrubbingFailed(RuntimeError):
    """A secret would have stood in a recording; nothing was written."""


class Recording:
    """Writes down what Azure answers to this process, so that a :class:`Replay` can answer the same again.

    Within the ``with`` block every request of Python's ``requests`` to Azure's hosts goes where it always goes,
    to the network or to an open :class:`~phi_finetune.testing.FakeAzure`, and its answer is kept. At the end,
    all of it is scrubbed and written at once. Where the block ends with an error, it is written beside ``path``
    (``nightly.broken-off.json``), marked as incomplete, and ``path`` is left as it was.

    Tokens, keys, signatures, passwords and cookies are replaced, and so are subscription, tenant and all other
    GUIDs, mail addresses, names of users, of the resource group, the workspace and the resources beside it: the
    same value by the same placeholder. What is sent to blobs and endpoints is replaced by its size and SHA-256.

    Args:
        path: The file, in JSON. Its folder is made if it is missing.
        overwrite: Whether a file that is there is replaced.
        keep_data: Whether the answers of endpoints, logs and downloads are kept as they are. Else they are
            replaced by something of their size or shape.
        keep_names: Whether the names of the resource group and the workspace are kept.
        scrub: More texts, or patterns of texts, to be replaced wherever they stand. A name that the code asks
            for by itself must not be among them, or the replay does not know it.

    Raises:
        FileExistsError: On entering: the file is there, and is not to be replaced.
        ScrubbingFailed: On leaving: a secret would have been left; nothing is written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        keep_data: bool = False,
        keep_names: bool = False,
        scrub: Iterable[str | re.Pattern[str]] = (),
    ) -> None:
        self.path = Path(path)
        self._overwrite = overwrite
        self._keep_data = keep_data
        self._keep_names = keep_names
        self._scrub = tuple(scrub)
        self._began = datetime.now(UTC)
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._secrets: dict[str, None] = {}
        self._layers = ExitStack()

    def __enter__(self) -> Recording:
        if self.path.exists() and not self._overwrite:
            raise FileExistsError(
                f"{self.path} is there already. Recording(..., overwrite=True) replaces it at the end of the block."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._began = datetime.now(UTC)
        self._layers.enter_context(layered(Place.WATCHING, self._watch))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._layers.close()
        if error is None:
            self._write(self.path, complete=True)
            return
        beside = self.path.with_suffix(".broken-off.json")
        try:
            self._write(beside, complete=False)
        except ScrubbingFailed as failed:
            error.add_note(f"Recording: {failed}")
        else:
            error.add_note(f"Recording: what was recorded until here is in {beside}.")

    def _watch(self, sending: Sending, onward: Onward) -> RequestsResponse:
        asked = sending.asked
        try:
            response = onward()
        except AzureRequestRefused:
            raise
        except RequestException as error:
            self._note(sending, None, lost=_loss(error))
            raise
        body, cut_off = take(response)
        content = answer_content(asked.url, response.status_code, body, keep_data=self._keep_data)
        headers = _kept_headers(response.headers, _ANSWERED)
        if asked.method == "HEAD":
            headers.update(_kept_headers(response.headers, _LENGTH))
        self._learn(response.headers)
        self._note(sending, Answered(response.status_code, headers, content, cut_off))
        return response

    def _note(self, sending: Sending, answered: Answered | None, *, lost: Lost | None = None) -> None:
        sent = sending.asked
        self._learn(sent.headers)
        asked = Asked(
            sent.method,
            canonical(sent.url),
            _kept_headers(sent.headers, _ASKED),
            request_content(sent.url, sent.body),
        )
        with self._lock:
            self._secrets.update(dict.fromkeys(secrets_of_url(sent.url)))
            self._secrets.update(dict.fromkeys(secrets_of_sign_in(sent.url, sent.body)))
            self._exchanges.append(Exchange(asked, answered, lost))

    def _learn(self, headers: Mapping[str, str]) -> None:
        with self._lock:
            self._secrets.update(dict.fromkeys(secrets_of_headers(headers)))

    def _write(self, path: Path, *, complete: bool) -> None:
        with self._lock:
            exchanges = tuple(self._exchanges)
            secrets = tuple(self._secrets)
        scrubber = Scrubber(exchanges, secrets=secrets, given=self._scrub, keep_names=self._keep_names)
        scrubbed = tuple(scrubber.scrubbed(exchange) for exchange in exchanges)
        if not all(scrubber.is_clean(exchange) for exchange in scrubbed):
            raise ScrubbingFailed(
                f"A secret would have stood in {path}, in a form that is not known. Nothing was written. "
                "This is a defect of phi-finetune; Recording(..., scrub=[...]) may get past it."
            )
        written = Written(scrubber.home, self._began, self._keep_data, scrubbed, complete)
        save(path, to_text(written))


def _kept_headers(headers: Mapping[str, str], which: re.Pattern[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if which.fullmatch(name)}


def _loss(error: RequestException) -> Lost:
    if isinstance(error, ConnectTimeout):
        return "no connection in time"
    if isinstance(error, Timeout):
        return "no answer in time"
    # urllib3 gives up before anything was sent.
    unsent = any(isinstance(reason, MaxRetryError) for reason in error.args)
    return "connection refused" if unsent else "connection lost"
