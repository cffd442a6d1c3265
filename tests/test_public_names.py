from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from architecture import library

import phi_finetune as pf

TESTS = Path(__file__).parent
SOURCE = ast.parse(Path(pf.__file__).read_text(encoding="utf-8"))


def for_type_checkers() -> dict[str, set[str]]:
    """What the package imports where only a type checker looks, by module."""
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If)]
    return {
        str(node.module).removeprefix("phi_finetune."): {alias.name for alias in node.names}
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }


def outside(code: str) -> list[str]:
    """Run code in a Python of its own; the modules that it has loaded by then."""
    script = f"""
import json, sys
sys.path.insert(0, {str(TESTS)!r})
{textwrap.dedent(code)}
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def heavy(loaded: list[str], *but: str) -> list[str]:
    """The slow packages among the modules."""
    slow = ("azure", "azureml", "datasets", "matplotlib", "mlflow", "pandas", "pyarrow", "torch")
    roots = {name.partition(".")[0] for name in loaded}
    return sorted(roots & set(slow) - set(but))


# The names

NO_HOME = ("__version__", "local")


def test_what_type_checkers_see_is_what_there_is() -> None:
    """The imports for type checkers, the homes of the names and the list of names say the same."""
    homes = {module: set(names) for module, names in pf._HOMES.items()}
    assert for_type_checkers() == {**homes, "phi_finetune": {"local"}}
    names = [name for group in homes.values() for name in group]
    assert sorted([*names, *NO_HOME]) == sorted(pf.__all__)
    assert dir(pf) == sorted(pf.__all__)


@pytest.mark.parametrize("name", [name for name in pf.__all__ if name not in NO_HOME])
def test_a_name_is_its_homes(name: str) -> None:
    """It is the very object, which says where it lives and what it is."""
    (home,) = [module for module, names in pf._HOMES.items() if name in names]
    thing: Any = getattr(pf, name)
    module = import_module(f"phi_finetune.{home}")
    assert thing is getattr(module, name)
    assert name in module.__all__
    assert thing.__doc__
    assert thing.__module__.startswith(f"phi_finetune.{home}") or name == "ParameterValues"


def test_the_local_engine_is_reached_from_the_package() -> None:
    """It is a module, which is loaded when it is named."""
    assert pf.local is import_module("phi_finetune.local")


def test_every_module_exports_what_it_says() -> None:
    """Nothing in a module's list of names is missing from it."""
    for one in library():
        if one.name == "phi_finetune.__main__":
            continue
        module = import_module(one.name)
        missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
        assert (one.name, missing) == (one.name, [])


def test_the_version_is_the_distributions() -> None:
    """It is looked up, so that it is written down once."""
    assert pf.__version__ == version("phi-finetune")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module, so that ``hasattr`` and editors work."""
    assert not hasattr(pf, "Workspce")
    with pytest.raises(AttributeError, match="module 'phi_finetune' has no attribute 'Workspce'"):
        _ = pf.Workspce


# What is loaded


def test_importing_the_library_loads_none_of_it() -> None:
    """A name that is not used costs nothing."""
    loaded = outside("import phi_finetune")
    assert heavy(loaded) == []
    assert [name for name in loaded if name.startswith("phi_finetune")] == ["phi_finetune"]


def test_a_whole_request_is_put_together_without_azure() -> None:
    """Connecting, describing and naming load none of the slow packages."""
    loaded = outside(
        """
        import phi_finetune as pf
        ws = pf.Workspace.connect(
            subscription_id="00000000-0000-4000-8000-000000000001", resource_group="g", workspace_name="w"
        )
        cluster = ws.gpu_compute("gpu", size="Standard_NC24ads_A100_v4")
        model = pf.FoundationModel("Phi-4", "8", "azureml")
        tune = model.finetune(pf.ChatDataset.from_sample()).on(cluster).with_parameters(lora_r=4)
        assert tune.job_name().startswith("phi-4-sample-")
        """
    )
    assert heavy(loaded, "azure") == []
    assert not [name for name in loaded if name.startswith("azure.") and not name.startswith("azure.core")]


FOLLOWING = """
    import online, pipelines
    from asking import ask
    from phi_finetune.testing import FakeAzure

    with FakeAzure() as azure:
        ws = azure.workspace()
        pipelines.start(azure.cloud, "tune")
        job = ws.job("tune").wait()
        assert job.metrics().history("loss") and job.children() and job.logs()
        assert list(job.events()) and job.diagnose().status == "Completed"
        pipelines.start(azure.cloud, "other")
        assert ws.job("other").cancel().status == "Canceled"
        online.deployed(azure.cloud, "blue", "green", traffic={"blue": 100})
        (endpoint,) = ws.endpoints()
        assert endpoint.chat("Hello.").text
        assert endpoint.keys().primary and endpoint.logs("blue")
        assert len(endpoint.deployments()) == 2
        endpoint.shift_traffic({"green": 100})
        endpoint.delete()
        assert ws.jobs() and ws.models() == () and ws.gpu_skus() and azure.endpoints == {}
        cluster = {"vmSize": "Standard_NC4as_T4_v3", "scaleSettings": {"maxNodeCount": 1}}
        body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": cluster}}
        ask(azure.cloud, "PUT", "computes/gpu", body)
        ws.gpu_compute("gpu").ensure().delete()
"""


def test_following_and_asking_need_no_azure_ai_ml() -> None:
    """Waiting, cancelling, metrics, logs, chatting, keys, traffic and deleting are plain requests."""
    loaded = outside(FOLLOWING)
    assert not [name for name in loaded if name.startswith("azure.ai")]
    assert heavy(loaded, "azure") == []


# What calls take


PIPELINE_KEYWORDS = {"logging_enable", "logging_body", "raw_response_hook"}
"""What azure-core takes with any call; the first makes it log bodies and headers, tokens too (reliability.md S2)."""


def calls() -> dict[str, inspect.Signature]:
    """Every public function and method of the library, by its name."""
    found: dict[str, inspect.Signature] = {}
    for one in library():
        if "._" in one.name or one.name.split(".")[1:2] in (["emulator"], ["testing"], ["__main__"]):
            continue
        module = import_module(one.name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            inner = vars(thing) if inspect.isclass(thing) and thing.__module__ == one.name else {}
            parts = {f"{name}.{part}": value for part, value in inner.items() if not part.startswith("_")}
            for place, value in {name: thing, **parts}.items():
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if inspect.isfunction(function):
                    found[f"{one.name}.{place}"] = inspect.signature(function)
    return found


def test_no_call_passes_keywords_on() -> None:
    """None takes keywords that it does not name, so that azure-core's logging of bodies cannot be turned on (S2)."""
    signatures = calls()
    assert len(signatures) > 100
    for name, signature in signatures.items():
        assert not PIPELINE_KEYWORDS & set(signature.parameters), name
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                assert "Unpack[" in str(parameter.annotation), name
