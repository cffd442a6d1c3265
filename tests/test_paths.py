"""No name leads to another resource, and no answer is read past what it holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phi_finetune as pf
from phi_finetune._azure.paths import segment
from phi_finetune.errors import InvalidParameter, NotFound, UnexpectedAnswer
from phi_finetune.testing import FakeAzure

LOOKS: dict[str, Callable[[pf.Workspace, str], object]] = {
    "cluster": lambda ws, name: ws.gpu_compute(name).delete(),
    "endpoint": lambda ws, name: ws.endpoint(name),
    "job": lambda ws, name: ws.job(name),
    "model": lambda ws, name: ws.model(name, version="1"),
    "version": lambda ws, name: ws.model("m", version=name),
}


@given(name=st.text(min_size=1, max_size=20))
def test_a_name_is_one_segment(name: str) -> None:
    """It holds no slash and no question mark, and is never a dot or two; or it is refused."""
    try:
        part = segment(name)
    except InvalidParameter:
        assert not name.strip(".") or not name.strip()
        return
    assert not set(part) & set("/?#")
    assert part.strip(".")


@pytest.mark.parametrize("name", ["", ".", "..", "  "])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_name_that_leads_elsewhere_is_refused(
    fake_azure: FakeAzure, look: Callable[[pf.Workspace, str], object], name: str
) -> None:
    """Two dots would be the folder above: the workspace itself. Nothing is sent."""
    with pytest.raises(InvalidParameter):
        look(fake_azure.workspace(), name)
    assert not any(entry.method == "DELETE" for entry in fake_azure.journal)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_path_is_no_name(fake_azure: FakeAzure, look: Callable[[pf.Workspace, str], object]) -> None:
    """What holds slashes is looked for as it is, below what it belongs to, and not found."""
    workspace = fake_azure.workspace()
    below = f"/workspaces/{workspace.name}/"
    with suppress(NotFound):
        look(workspace, "../../phi-lab")
    asked = [entry.url for entry in fake_azure.journal if below in entry.url]
    assert asked
    assert all("..%2F..%2Fphi-lab" in url for url in asked)


def test_a_field_that_is_missing_is_told(fake_azure: FakeAzure) -> None:
    """An answer without what it always has is an error of ours, which names it."""
    from phi_finetune._azure.paths import required

    with pytest.raises(UnexpectedAnswer, match="'name'"):
        required({"id": "x"}, "name", "job x")
