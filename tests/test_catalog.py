"""The facts about sizes and successors: complete, plausible, and each with its source."""

from __future__ import annotations

import math
from datetime import date

import pytest

from phi_finetune import catalog

ALLOWED_BY_MODELS = [
    "Standard_DS5_v2",
    "Standard_NC6s_v3",
    "Standard_NC12s_v3",
    "Standard_NC24s_v3",
    "Standard_NC24rs_v3",
    "Standard_NC4as_T4_v3",
    "Standard_NC8as_T4_v3",
    "Standard_NC16as_T4_v3",
    "Standard_NC64as_T4_v3",
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC96ads_A100_v4",
    "Standard_ND40rs_v2",
    "Standard_ND96asr_v4",
    "Standard_ND96amsr_A100_v4",
    "Standard_ND96isr_H100_v5",
    "Standard_NC40ads_H100_v5",
    "Standard_NC80adis_H100_v5",
]


@pytest.mark.parametrize("name", ALLOWED_BY_MODELS)
def test_sizes_that_models_allow_are_known(name: str) -> None:
    """Each size in a Phi model's allow list is in the catalog."""
    assert catalog.sizes.find(name) is not None


def test_find_ignores_case() -> None:
    """The pipeline writes sizes in lower case, the models do not; both find the same size."""
    lower = catalog.sizes.find("standard_nc24ads_a100_v4")
    assert lower == catalog.sizes.find(" Standard_NC24ads_A100_v4")
    assert lower is not None
    assert (lower.gpus, lower.gpu_memory_gib, lower.vcpus) == (1, 80, 24)
    assert lower.family == "standardNCADSA100v4Family"


def test_unknown_size() -> None:
    """A size that the catalog lacks is None, not an error."""
    assert catalog.sizes.find("Standard_X1") is None


def test_unknown_is_none() -> None:
    """No price and no GPU memory is zero; a size without GPUs has neither model nor memory."""
    for size in catalog.sizes.all_sizes():
        numbers = (size.price_usd_per_hour, size.low_priority_usd_per_hour, size.gpu_memory_gib)
        assert all(number is None or (number > 0 and math.isfinite(number)) for number in numbers)
        assert (size.gpu_model is None) == (size.gpu_memory_gib is None) == (size.gpus == 0)


def test_every_fact_has_a_source() -> None:
    """Each row names where its hardware comes from, and where its price does if it has one."""
    for size in catalog.sizes.all_sizes():
        assert size.size_source is not None
        assert (size.price_source is not None) == (size.price_usd_per_hour is not None)
        sources = (source for source in (size.size_source, size.price_source) if source)
        assert all(source.title and source.observed_on.startswith("20") for source in sources)


def test_prices_are_called_estimates() -> None:
    """The source of every price says that it is an estimate."""
    sources = {size.price_source for size in catalog.sizes.all_sizes() if size.price_source}
    assert sources
    assert all("An estimate, to be refreshed" in source.title for source in sources)


def test_low_priority_is_cheaper() -> None:
    """Where both prices are known, low priority costs less."""
    for size in catalog.sizes.all_sizes():
        if size.price_usd_per_hour and size.low_priority_usd_per_hour:
            assert size.low_priority_usd_per_hour < size.price_usd_per_hour


def test_names_are_unique() -> None:
    """No size occurs twice, whatever its case."""
    names = [size.name.lower() for size in catalog.sizes.all_sizes()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "day", "retired"),
    [
        ("Standard_NC6_Promo", date(2023, 9, 6), True),
        ("Standard_NC24r", date(2024, 1, 1), True),
        ("Standard_NC6s_v3", date(2025, 9, 29), False),
        ("Standard_NC6s_v3", date(2025, 9, 30), True),
        ("Standard_NC24ads_A100_v4", date(2030, 1, 1), False),
    ],
)
def test_retired(name: str, day: date, retired: bool) -> None:
    """A size is retired from its day on."""
    size = catalog.sizes.find(name)
    assert size is not None
    assert size.is_retired(day) is retired


@pytest.mark.parametrize(("name", "exempt"), [("Standard_ND40rs_v2", True), ("Standard_NC4as_T4_v3", False)])
def test_exempt_from_reserve(name: str, exempt: bool) -> None:
    """A100, H100 and ND40rs_v2 are spared the reserve of 20 %, T4 is not."""
    size = catalog.sizes.find(name)
    assert size is not None
    assert size.exempt_from_reserve is exempt


def test_successor() -> None:
    """The tutorial's model is followed by one model for fine-tuning, and by another for use as it is."""
    successor = catalog.successors.find("phi-3-mini-4k-instruct")
    assert successor is not None
    assert (successor.fine_tuning, successor.inference) == ("Phi-4", "Phi-4-mini-instruct")
    assert successor.fine_tuning_source is not None
    assert successor.inference_source is not None


def test_no_successor() -> None:
    """A model that nothing is known to follow has no successor."""
    assert catalog.successors.find("Phi-4") is None
