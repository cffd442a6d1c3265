"""What the hub, its client library and the disk refuse, told as errors of this library: of what, why, what next.

No text of an answer or of the client's own errors is passed on: a token or a signed address may stand in it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from phi_finetune.errors import (
    ConfigurationError,
    InvalidData,
    InvalidParameter,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = ["DATA_SET", "MODEL", "NotOnline", "RepoKind", "asked"]

_T = TypeVar("_T")

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""What huggingface_hub 2.4.0 sends again by itself (utils/_http.py), at most five times."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@attrs.frozen
class RepoKind:
    """What a repository of the hub holds, in the words of its errors.

    Attributes:
        noun: What it is called.
        example: The name of one.
        sign_in: How somebody signs in who asks for one.
    """

    noun: str
    example: str
    sign_in: str


DATA_SET: Final = RepoKind("data set", "HuggingFaceH4/ultrachat_200k", "run `hf auth login`, or give token=")
MODEL: Final = RepoKind("model", "microsoft/Phi-3-mini-4k-instruct", "run `hf auth login`")


class NotOnline(Exception):
    """Raised inside this package where ``HF_HUB_OFFLINE`` is set and the hub was to be asked."""


def asked(
    call: Callable[[], _T],
    repo: str,
    *,
    revision: str | None,
    file: str | None = None,
    kind: RepoKind = DATA_SET,
) -> _T:
    """Ask the hub something, and give the answer.

    The error is raised after the except block, so that the client's own, which holds the request's headers, is
    not kept as its context.

    Args:
        call: What asks, through huggingface_hub.
        repo: The name of what is asked about.
        revision: The revision asked for; None for the newest.
        file: The file asked for, if it is about one.
        kind: What it is.

    Raises:
        NotOnline: ``HF_HUB_OFFLINE`` is set.
        ConfigurationError: There is no such name or revision, the token is missing, refused or lacks the
            right, or the cache's disk is full or cannot be written.
        InvalidData: There is no such file in it.
        InvalidParameter: The name is not one that the hub can have.
        ServiceUnreachable: The hub did not answer, or is busy, also after the client's own retries.
        ServiceError: The hub answered with another error.
        UnexpectedAnswer: What answered is no hub.
    """
    from huggingface_hub.errors import (
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of whichever client it has
        OfflineModeIsEnabled,
        XetDownloadError,
    )

    try:
        return call()
    except OfflineModeIsEnabled:
        problem: Exception = NotOnline()
    except (HTTPError, OSError, ValueError, XetDownloadError, RuntimeError) as error:
        problem = _told(error, repo, revision, file, kind)
    raise problem


def _told(
    error: BaseException, repo: str, revision: str | None, file: str | None, kind: RepoKind
) -> Exception:
    from huggingface_hub.errors import (
        FileMetadataError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    resource = f"{kind.noun} {repo}" + ("" if file is None else f", file {file}")
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return _told(error.__cause__, repo, revision, file, kind)
    if isinstance(error, OfflineModeIsEnabled):
        return NotOnline()
    if isinstance(error, HFValidationError):
        return InvalidParameter(
            f"This is not the name of a {kind.noun}",
            name="repo",
            value=repo,
            allowed=f'a name as in "{kind.example}", or a folder that exists',
        )
    if isinstance(error, HfHubHTTPError):
        return _refused(error, resource, revision, file, kind)
    if isinstance(error, FileMetadataError) or (
        not isinstance(error, OSError) and isinstance(error, ValueError)
    ):
        return UnexpectedAnswer(
            "What answered is not a Hugging Face hub",
            resource=resource,
            next_call="check HF_ENDPOINT, and the proxy between here and it",
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return _not_written(error, resource)
    return ServiceUnreachable(
        "The Hugging Face hub could not be reached, or the connection broke off",
        resource=resource,
        why=type(error).__name__,
        next_call="try again; a mirror is named by HF_ENDPOINT, and HF_HUB_OFFLINE=1 uses what was fetched before",
    )


def _refused(
    error: HfHubHTTPError, resource: str, revision: str | None, file: str | None, kind: RepoKind
) -> PhiFinetuneError:
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status, request_id = error.response.status_code, error.request_id
    if isinstance(error, GatedRepoError):
        return ConfigurationError(
            f"The {kind.noun} is gated, and this account has no access to it",
            resource=resource,
            next_call=f"ask for access on the {kind.noun}'s page, then {kind.sign_in}",
            status_code=status,
            request_id=request_id,
        )
    if isinstance(error, DisabledRepoError):
        return ConfigurationError(
            f"The hub has disabled this {kind.noun}",
            resource=resource,
            status_code=status,
            request_id=request_id,
        )
    if isinstance(error, RevisionNotFoundError):
        return ConfigurationError(
            f"The {kind.noun} has no revision {revision!r}",
            resource=resource,
            next_call="give a branch, a tag or a full commit hash as revision=, or leave it out",
            status_code=status,
            request_id=request_id,
        )
    if isinstance(error, EntryNotFoundError):
        return InvalidData(
            f"The {kind.noun} has no such file",
            resource=resource,
            next_call="try again: it was there when its files were listed",
            file=file,
            rule="missing-file",
            status_code=status,
            request_id=request_id,
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403, 404):
        return _not_seen(error, resource, kind)
    if status in _BUSY:
        return _busy(error, resource, kind)
    return ServiceError(
        f"The hub answered {status}",
        resource=resource,
        next_call="try again later",
        status_code=status,
        request_id=request_id,
    )


def _not_seen(error: HfHubHTTPError, resource: str, kind: RepoKind) -> ConfigurationError:
    """The hub answers 401 for one that is private, and also for one that is not there (huggingface_hub)."""
    status = error.response.status_code
    if error.response.headers.get("X-Error-Message", "").startswith("Invalid credentials"):
        what, then = "The hub refused the token", f"{kind.sign_in}, with a token that is still valid"
    elif status == 403:
        what, then = (
            f"The token lacks the right to read this {kind.noun}",
            f"{kind.sign_in}, with a token that may read it",
        )
    else:
        what = f"There is no such {kind.noun}, or it is private and this account may not see it"
        then = f"check the name; for a private one {kind.sign_in}"
    return ConfigurationError(
        what, resource=resource, next_call=then, status_code=status, request_id=error.request_id
    )


def _busy(error: HfHubHTTPError, resource: str, kind: RepoKind) -> ServiceUnreachable:
    status = error.response.status_code
    asked_s = error.response.headers.get("Retry-After", "")
    wait = f"in {asked_s} s" if asked_s.isdigit() else "later"
    signing_in = f"; who signs in may ask more often: {kind.sign_in}" if status == 429 else ""
    return ServiceUnreachable(
        "The hub has had too many requests from here" if status == 429 else f"The hub answers {status}",
        resource=resource,
        why="it was asked again, and answered the same",
        next_call=f"try again {wait}{signing_in}",
        status_code=status,
        request_id=error.request_id,
    )


def _not_written(error: OSError, resource: str) -> ConfigurationError:
    full = error.errno in _FULL
    return ConfigurationError(
        "The disk of the Hugging Face cache is full" if full else "The Hugging Face cache cannot be used",
        resource=resource,
        why=error.strerror,
        next_call="make room, or set HF_HOME to a folder "
        + ("on a larger disk" if full else "that can be written to"),
    )
