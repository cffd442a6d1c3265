"""An answer taken off the wire, and given back as it was."""

from __future__ import annotations

import io

from requests.models import Response
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, HTTPError

from phi_finetune.emulator.doors.bodies import CutOff

__all__ = ["take"]

_PIECE = 1 << 16


def take(response: Response) -> tuple[bytes, bool]:
    """Read an answer's body, and put it back for the one who asked; the whole of it is in memory meanwhile.

    Returns:
        The body, decompressed, and whether the connection was lost in the middle of it. The one who asked meets
        that loss too, after the same bytes.
    """
    raw: HTTPResponse = response.raw
    pieces: list[bytes] = []
    loss: HTTPError | None = None
    try:
        pieces.extend(raw.stream(_PIECE, decode_content=False))
    except HTTPError as error:
        loss = error
    body = b"".join(pieces)
    method = response.request.method
    response.raw = _again(raw, method, CutOff(body, loss) if loss else io.BytesIO(body))
    try:
        return _again(raw, method, io.BytesIO(body)).read(decode_content=True), loss is not None
    except (DecodeError, HTTPError):
        return body, True


def _again(raw: HTTPResponse, method: str | None, body: io.BytesIO) -> HTTPResponse:
    return HTTPResponse(
        body=body,
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=False,
        # requests reads cookies from it.
        original_response=raw._original_response,
        request_method=method,
    )
