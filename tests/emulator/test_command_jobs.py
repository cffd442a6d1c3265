from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from asking import Answer, ask
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.runners.commands import CommandInputs, CommandResult

CURATED = "azureml://registries/azureml/environments/x/versions/1"
NODES = {"first": [], "second": ["first"]}


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with an environment of the workspace's own."""
    cloud = Cloud()
    image = {"properties": {"image": "mcr.microsoft.com/azureml/base:1"}}
    assert ask(cloud, "PUT", "environments/own/versions/1", image).status == 201
    return cloud


def body(cloud: Cloud, **properties: Any) -> dict[str, Any]:
    """The body that submits a command; a property of None is left out."""
    fixed = {
        "jobType": "Command",
        "command": "echo hello",
        "environmentId": cloud.arm_id("environments", "own", "versions", "1"),
        "experimentName": "tests",
        "inputs": {},
        "outputs": {},
    }
    return {"properties": {key: value for key, value in {**fixed, **properties}.items() if value is not None}}


def submit(cloud: Cloud, name: str = "greet", **properties: Any) -> Answer:
    """Submit a command job."""
    return ask(cloud, "PUT", f"jobs/{name}", body(cloud, **properties))


def statuses(cloud: Cloud, name: str = "greet") -> list[str]:
    """What a poller reads until the job has ended."""
    seen = [ask(cloud, "GET", f"jobs/{name}").body["properties"]["status"]]
    while seen[-1] not in ("Completed", "Failed", "Canceled"):
        seen.append(ask(cloud, "GET", f"jobs/{name}").body["properties"]["status"])
        assert len(seen) < 50
    return seen


def component(cloud: Cloud, name: str, inputs: list[str]) -> str:
    """Make a command component that takes files and makes one, ``y``; its id is returned."""
    spec = {
        "type": "command",
        "command": " ".join([name, *(f"${{{{inputs.{one}}}}}" for one in inputs), "${{outputs.y}}"]),
        "environment": cloud.arm_id("environments", "own", "versions", "1"),
        "inputs": {one: {"type": "uri_file"} for one in inputs},
        "outputs": {"y": {"type": "uri_file"}},
    }
    answer = ask(cloud, "PUT", f"components/{name}/versions/1", {"properties": {"componentSpec": spec}})
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


def graph(cloud: Cloud, nodes: dict[str, list[str]], **properties: Any) -> dict[str, Any]:
    """The body of a pipeline whose nodes take what the nodes named make."""
    jobs = {
        name: {
            "type": "command",
            "componentId": component(cloud, name, needs),
            "inputs": {one: {"value": f"${{{{parent.jobs.{one}.outputs.y}}}}"} for one in needs},
        }
        for name, needs in nodes.items()
    }
    return {"properties": {"jobType": "Pipeline", "experimentName": "tests", "jobs": jobs, **properties}}


def test_the_states_of_a_command(cloud: Cloud) -> None:
    """The image is built at its first use only; then it waits for a node (service.md has the first two states)."""
    assert submit(cloud).body["properties"]["status"] == "Starting"
    seen = [status for status, _ in groupby(statuses(cloud))]
    assert seen == ["Queued", "Preparing", "Queued", "Running", "Finalizing", "Completed"]
    submit(cloud, "again")
    assert "Preparing" not in statuses(cloud, "again")


def test_the_answer_has_the_services_fields(cloud: Cloud) -> None:
    """Those of service.md, filled in where nothing was sent."""
    properties = submit(cloud, resources={"instanceCount": 2}).body["properties"]
    assert properties["resources"]["shmSize"] == "2g"
    assert properties["resources"]["instanceCount"] == 2
    assert properties["parameters"] == {}
    assert {"codeId", "distribution", "limits", "environmentVariables", "queueSettings"} <= properties.keys()
    assert "settings" not in properties


def test_a_command_has_no_children_and_its_own_error(cloud: Cloud) -> None:
    """Run history has the program's words, and no pipeline's code."""
    cloud.commands.on("*", CommandResult(exit_code=2, log="boom"))
    submit(cloud)
    statuses(cloud)
    run = ask(cloud, "GET", f"{cloud.workspace.api}/history/v1.0{cloud.workspace.id}/runs/greet").body
    assert (run["runType"], run["status"], run["target"]) == ("azureml.scriptrun", "Failed", "serverless")
    assert run["error"]["error"]["referenceCode"] is None
    assert "status code 2" in run["error"]["error"]["message"]
    assert "boom" in run["error"]["error"]["message"]
    children = f"{cloud.workspace.api}/history/v1.0{cloud.workspace.id}/runs/greet/children"
    assert ask(cloud, "GET", children).body["value"] == []


def test_a_step_waits_for_its_image(cloud: Cloud) -> None:
    """A pipeline runs while the image of its step is being built."""
    ask(cloud, "PUT", "jobs/chain", graph(cloud, NODES))
    cloud.clock.advance(timedelta(minutes=2))
    job = cloud.jobs.find("chain")
    assert (job.status, [step.status for step in job.children]) == ("Running", ["Preparing"])
    cloud.clock.advance(timedelta(minutes=5))
    assert [step.status for step in job.children] == ["Queued"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command": None}, "missing"),
        ({"environmentId": None}, "missing"),
        ({"environmentId": "azureml:nowhere:1"}, "nowhere"),
        ({"codeId": "azureml:nothing:1"}, "nothing"),
        ({"computeId": "nowhere"}, "Unknown compute target 'nowhere'"),
        ({"command": "echo ${{inputs.x}}"}, "input 'x'"),
        ({"command": "echo ${{outputs.x}}"}, "output 'x'"),
        ({"inputs": {"x": {"jobInputType": "uri_file"}}}, "neither a value nor a uri"),
        (
            {
                "inputs": {
                    "x": {
                        "jobInputType": "uri_file",
                        "uri": "azureml://datastores/workspaceblobstore/paths/x",
                    }
                }
            },
            "Input 'x'",
        ),
        ({"resources": {"instanceCount": -1}}, "at least 1"),
        ({"resources": {"instanceType": "Standard_XXL"}}, "Standard_XXL"),
        ({"limits": {"timeout": "soon"}}, "not a duration"),
    ],
)
def test_a_command_is_checked(cloud: Cloud, change: dict[str, Any], words: str) -> None:
    """Nothing is kept of what is refused."""
    answer = submit(cloud, **change)
    assert answer.status == 400
    assert words in str(answer.body)
    assert ask(cloud, "GET", "jobs").body["value"] == []


def test_an_output_that_would_be_a_known_version_is_refused(cloud: Cloud) -> None:
    """Versions are never changed, and that is told before anything runs (assumed)."""
    output = {"out": {"jobOutputType": "uri_folder", "assetName": "rows", "assetVersion": "1"}}
    assert submit(cloud, outputs=output).status == 201
    statuses(cloud)
    assert submit(cloud, "again", outputs=output).status == 400
    free = {"out": {"jobOutputType": "uri_folder", "assetName": "rows"}}
    assert submit(cloud, "third", outputs=free).status == 201
    statuses(cloud, "third")
    assert [one.version for one in cloud.assets.datasets()["rows"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda jobs: jobs["first"]["inputs"].update(x={"value": 1}), "Unknown input 'x'"),
        (lambda jobs: jobs["second"]["inputs"].clear(), "Required input 'first'"),
        (lambda jobs: jobs["second"]["inputs"].update(first={"value": 1}), "is of type uri_file"),
        (
            lambda jobs: jobs["second"]["inputs"].update(first={"value": "${{parent.jobs.third.outputs.y}}"}),
            "output 'y' of 'third'",
        ),
        (
            lambda jobs: jobs["second"]["inputs"].update(first={"value": "${{parent.jobs.first.outputs.z}}"}),
            "output 'z' of 'first'",
        ),
        (
            lambda jobs: jobs["second"]["inputs"].update(
                first={"value": "${{parent.jobs.second.outputs.y}}"}
            ),
            "wait for each other",
        ),
        (lambda jobs: jobs["first"].update(outputs={"y": {"value": "${{parent.outputs.y}}"}}), "not bound"),
        (lambda jobs: jobs["first"].update(componentId="azureml:nothing:1"), "nothing"),
        (lambda jobs: jobs.update(third=None), "missing"),
    ],
)
def test_a_pipeline_is_checked(cloud: Cloud, change: Any, words: str) -> None:
    """References lead somewhere, and inputs are those that components declare."""
    sent = graph(cloud, NODES)
    change(sent["properties"]["jobs"])
    answer = ask(cloud, "PUT", "jobs/chain", sent)
    assert answer.status == 400
    assert words in str(answer.body)


def test_a_pipeline_may_be_a_component_itself(cloud: Cloud) -> None:
    """Then it has no nodes of its own (service.md, "Pipeline")."""
    first = component(cloud, "first", [])
    spec = {
        "type": "pipeline",
        "inputs": {},
        "outputs": {"made": {"type": "uri_file"}},
        "jobs": {
            "inside": {
                "type": "command",
                "componentId": first,
                "outputs": {"y": {"value": "${{parent.outputs.made}}"}},
            }
        },
    }
    answer = ask(cloud, "PUT", "components/whole/versions/1", {"properties": {"componentSpec": spec}})
    outputs = {"made": {"jobOutputType": "uri_file"}}
    properties = {"jobType": "Pipeline", "componentId": answer.body["id"], "jobs": {}, "outputs": outputs}
    answer = ask(cloud, "PUT", "jobs/whole", {"properties": properties})
    assert answer.status == 201, answer.body
    assert (answer.body["properties"]["jobs"], answer.body["properties"]["componentId"]) == (
        {},
        properties["componentId"],
    )
    cloud.commands.on("first *", CommandResult(outputs={"y": b"made"}))
    statuses(cloud, "whole")
    assert cloud.storage.read("azureml://datastores/workspaceblobstore/paths/azureml/whole/made") == {
        "made": b"made"
    }


def test_steps_that_need_nothing_of_each_other_run_at_once(cloud: Cloud) -> None:
    """So a pipeline takes as long as its longest way."""
    ask(cloud, "PUT", "jobs/fork", graph(cloud, {"a": [], "b": [], "c": ["a", "b"]}))
    statuses(cloud, "fork")
    a, b, c = cloud.jobs.find("fork").children
    assert a.started == b.started
    assert c.created == max(a.slot.ends, b.slot.ends)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Nodes, each of which takes what some others make, in any order."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else []
        for place, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


@settings(max_examples=25)
@given(nodes=graphs(), broken=st.sets(st.integers(0, 5), max_size=2), keep_going=st.booleans())
def test_every_pipeline_runs_in_order(
    nodes: dict[str, list[str]], broken: set[int], keep_going: bool
) -> None:
    """No node begins before those that it needs have completed, and each gets what they made."""
    cloud = Cloud()
    ask(cloud, "PUT", "environments/own/versions/1", {"properties": {"image": "x/y:1"}})
    fails = {f"n{number}" for number in broken}

    def run(command: CommandInputs) -> CommandResult:
        assert {name: list(files.values()) for name, files in command.files.items()} == {
            name: [name.encode()] for name in nodes[command.name]
        }
        return CommandResult(outputs={"y": command.name.encode()}, exit_code=int(command.name in fails))

    cloud.commands.on("*", run)
    settings_sent = {"continue_on_step_failure": keep_going}
    answer = ask(cloud, "PUT", "jobs/chain", graph(cloud, nodes, settings=settings_sent))
    assert answer.status == 201, answer.body
    ended = statuses(cloud, "chain")[-1]
    steps = {step.display_name: step for step in cloud.jobs.find("chain").children}
    for name, step in steps.items():
        assert all(steps[need].status == "Completed" for need in nodes[name])
        assert all(step.created >= steps[need].slot.ends for need in nodes[name])
    assert (ended == "Failed") == any(step.status == "Failed" for step in steps.values())
    assert ended == "Failed" or set(steps) == set(nodes)
    if keep_going:
        reached = {name for name in nodes if not _behind(name, nodes, fails)}
        assert set(steps) == reached


def _behind(name: str, nodes: dict[str, list[str]], fails: set[str]) -> bool:
    """Whether a node needs, at first hand or not, one that fails."""
    return any(need in fails or _behind(need, nodes, fails) for need in nodes[name])
