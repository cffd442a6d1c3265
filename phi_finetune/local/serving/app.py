"""The server's HTTP: who may ask, how much at a time, and how long an answer may take."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import attrs
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from phi_finetune.local.generate import Completion
from phi_finetune.local.serving.asking import Asking, TimedOut, WentAway
from phi_finetune.local.serving.replies import Chat, azures, event, refusal, trouble
from phi_finetune.local.serving.requests import Asked, BadRequest, read_request
from phi_finetune.local.serving.settings import Settings
from phi_finetune.local.serving.worker import Done, Event, Failed, Piece, Worker

__all__ = ["Service"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Tell: TypeAlias = Callable[[str], None]

_WENT_AWAY: Final = 499
"""The status in the log of a request whose caller hung up; nobody is told it."""
_TOO_LONG: Final = "The container took longer than the request timeout."


@attrs.define(eq=False)
class Service:
    """Answers requests.

    Attributes:
        settings: What the server is told.
        worker: Who answers.
        log: Writes a line of the log.
        used: Called at each request that carries the key.
    """

    settings: Settings
    worker: Worker
    log: _Tell
    used: Callable[[], None]
    _asking: set[Asking] = attrs.field(factory=set, init=False)

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="phi-finetune", docs_url=None, redoc_url=None, openapi_url=None)
        app.get("/health", response_model=None)(self.health)
        for path in ("/score", "/v1/chat/completions"):
            app.post(path, response_model=None)(self.score)
        return app

    def end(self) -> None:
        """Let go of everybody who waits; nobody is answered any more."""
        self.worker.end()
        for asking in tuple(self._asking):
            asking.tell(Failed(503, "The server is ending."))

    async def health(self) -> Response:
        """Whether the model is loaded."""
        if self.worker.ready:
            return JSONResponse({"status": "healthy"})
        return JSONResponse({"status": "loading"}, 503)

    async def score(self, request: Request) -> Response:
        """Answer a request of either form."""
        until = time.monotonic() + self.settings.timeout_s
        line = _Line(request.url.path, self.log)
        if not self._knows(request.headers.get("Authorization", "")):
            return line.end(JSONResponse(refusal("Unauthorized", "The key is missing or wrong."), 401))
        self.used()
        if not self.worker.ready:
            return line.end(JSONResponse(refusal("ServiceUnavailable", "The model is not loaded."), 503))
        if len(self._asking) >= self.settings.in_flight:
            why = f"Too many requests are in hand: {self.settings.in_flight} may be at a time."
            return line.end(JSONResponse(refusal("TooManyRequests", why), 429))
        asking = Asking(asyncio.get_running_loop(), until)
        self._asking.add(asking)
        handed_on = False
        try:
            asked = read_request(_json(await request.body()))
            self.worker.ask(asking.begin(asked))
            asking.watch(request.receive)
            if asked.stream:
                first = await asking.next()
                if isinstance(first, Failed):
                    return line.end(JSONResponse(trouble(first.why), first.status))
                handed_on = True
                return _Stream(self._events(asking, asked, first, line), lambda: self._let_go(asking))
            return await self._whole(asking, asked, line)
        except BadRequest as error:
            return line.end(JSONResponse(trouble(str(error)), 400))
        except TimedOut:
            return line.end(JSONResponse(refusal("RequestTimeout", _TOO_LONG), 408))
        except WentAway:
            return line.end(Response(status_code=_WENT_AWAY))
        finally:
            if not handed_on:
                self._let_go(asking)

    def _knows(self, authorization: str) -> bool:
        expected = f"Bearer {self.settings.key}"
        return hmac.compare_digest(authorization.encode(), expected.encode())

    def _let_go(self, asking: Asking) -> None:
        asking.end()
        self._asking.discard(asking)

    async def _whole(self, asking: Asking, asked: Asked, line: _Line) -> Response:
        answers: dict[int, Completion] = {}
        while len(answers) < len(asked.conversations):
            told = await asking.next()
            if isinstance(told, Failed):
                return line.end(JSONResponse(trouble(told.why), told.status))
            if isinstance(told, Done):
                answers[told.row] = told.completion
                line.count(told.completion)
        completions = [answers[row] for row in range(len(answers))]
        if asked.openai:
            return line.end(JSONResponse(self._chat(asked).whole(completions[0])))
        return line.end(JSONResponse(azures(completions, many=asked.many)))

    def _chat(self, asked: Asked) -> Chat:
        name = asked.model or self.settings.name
        return Chat(f"chatcmpl-{secrets.token_hex(16)}", int(time.time()), name)

    async def _events(
        self, asking: Asking, asked: Asked, first: Piece | Done, line: _Line
    ) -> AsyncGenerator[bytes]:
        """The events of a stream. One that breaks off has no ``[DONE]``, and says why where somebody listens."""
        chat, status = self._chat(asked), 200
        told: Event = first
        try:
            yield chat.piece({"role": "assistant", "content": ""})
            while isinstance(told, Piece):
                yield chat.piece({"content": told.text})
                told = await asking.next()
            if isinstance(told, Failed):
                status = told.status
                yield event(trouble(told.why))
                return
            line.count(told.completion)
            yield chat.piece({}, told.completion.finish_reason)
            if asked.usage:
                yield chat.usage(told.completion)
            yield event("[DONE]")
        except TimedOut:
            status = 408
            yield event(refusal("RequestTimeout", _TOO_LONG))
        except (WentAway, GeneratorExit, asyncio.CancelledError):
            status = _WENT_AWAY
            raise
        finally:
            self._let_go(asking)
            line.write(status)


class _Stream(Response):
    """Sends events as they come, and stops where nobody listens."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], done: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._events = events
        self._done = done

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except (WentAway, OSError):
            return
        finally:
            await self._events.aclose()
            self._done()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@attrs.define
class _Line:
    """The line of a request in the log: no text of anybody's, and no key."""

    path: str
    log: _Tell
    started: float = attrs.field(factory=time.monotonic)
    prompt: int = 0
    answer: int = 0

    def count(self, completion: Completion) -> None:
        """Count an answer's tokens."""
        self.prompt += completion.prompt_tokens
        self.answer += completion.completion_tokens

    def end(self, response: Response) -> Response:
        """Write that a request was answered."""
        self.write(response.status_code)
        return response

    def write(self, status: int) -> None:
        """Write the line."""
        took_ms = (time.monotonic() - self.started) * 1000
        self.log(f"POST {self.path} {status} {self.prompt}+{self.answer} tokens {took_ms:.0f} ms")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
