"""Testing code that uses Azure Machine Learning, with no account and no network.

::

    from phi_finetune.testing import FakeAzure

    def test_nightly():
        with FakeAzure() as azure:
            run_nightly(azure.ml_client())
            assert azure.endpoints == {}

:class:`FakeAzure` is a subscription with a workspace in it. The fixtures ``fake_azure`` and ``workspace``
of the pytest plugin open one for a test; :mod:`phi_finetune.testing.faults` has what can go wrong in it.
"""

from __future__ import annotations

from phi_finetune.testing.credential import FakeCredential
from phi_finetune.testing.fake_azure import FakeAzure, UnknownRoute, UnmetFault

__all__ = ["FakeAzure", "FakeCredential", "UnknownRoute", "UnmetFault"]
