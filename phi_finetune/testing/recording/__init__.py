"""Recording what the real service answers, and answering the same in tests.

::

    from phi_finetune.testing import Recording, Replay

    with Recording("tests/recordings/nightly.json"):
        nightly(MLClient(DefaultAzureCredential(), subscription, group, name))

    def test_nightly():
        with Replay("tests/recordings/nightly.json") as replay:
            nightly(replay.ml_client())
"""

from __future__ import annotations

from phi_finetune.testing.recording.exchange import Answered, Asked, Exchange
from phi_finetune.testing.recording.player import NotRecorded
from phi_finetune.testing.recording.recorder import Recording, ScrubbingFailed
from phi_finetune.testing.recording.replay import Replay

__all__ = ["Answered", "Asked", "Exchange", "NotRecorded", "Recording", "Replay", "ScrubbingFailed"]
