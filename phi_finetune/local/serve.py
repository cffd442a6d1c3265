"""``python -m phi_finetune.local.serve FOLDER``: the server of a deployment.

:mod:`phi_finetune.local.server_folder` says what is in its folder. It answers ``POST /score`` and
``POST /v1/chat/completions``, each in Azure's form or in OpenAI's, and ends within two seconds of SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from phi_finetune.errors import MissingDependency
from phi_finetune.local._needs import require

if TYPE_CHECKING:
    from phi_finetune.local.serving.settings import Settings

__all__ = ["main"]

_STEP_S: Final = 0.5
"""How long the model may take, at the end, for what it is computing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end.

    Args:
        arguments: The server's folder; None takes it from the command line.

    Returns:
        0 where it was told to end; 1 where it cannot serve: the log's last line then says why.
    """
    (path,) = sys.argv[1:] if arguments is None else arguments
    from phi_finetune.local.serving.settings import Settings

    try:
        require("torch", "transformers", "fastapi", "uvicorn")
        settings = Settings.read(Path(path))
    except MissingDependency as error:
        return _refuse(str(error))
    except (OSError, ValueError, LookupError, TypeError) as error:
        return _refuse(f"server.json cannot be used: {type(error).__name__}")
    return _serve(Path(path), settings)


def _serve(folder: Path, settings: Settings) -> int:
    from phi_finetune.local.serving.app import Service
    from phi_finetune.local.serving.server import serve
    from phi_finetune.local.serving.worker import Worker

    whys: list[str] = []
    worker = Worker(settings.model, whys.append)
    worker.start()
    service = Service(settings, worker, _log, lambda: _touch(folder / "used"))
    serve(service, folder / "port", lambda: bool(whys))
    worker.join(_STEP_S)
    return _refuse(whys[0]) if whys else 0


def _touch(used: Path) -> None:
    # It is not there where nobody looks after the server, nor where its folder is being removed.
    with suppress(FileNotFoundError):
        os.utime(used)


def _refuse(why: str) -> int:
    _log(f"ERROR {why}")
    return 1


def _log(line: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own end takes torch seconds, and a thread that is still within torch outlives it badly.
    os._exit(code)
