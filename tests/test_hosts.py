"""Where secrets may go: the hosts of Azure ML, and no redirect."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import requests
from azure.core.credentials import AccessTokenInfo
from hypothesis import given
from hypothesis import strategies as st
from tuning import PROMPT, SIZE, deployed, finetune, sent, trained
from urllib3.util import parse_url

import phi_finetune as pf
from phi_finetune._azure.hosts import CLOUDS, PUBLIC, Hosts
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.emulator.core.http import Response
from phi_finetune.errors import (
    AuthenticationFailed,
    ConfigurationError,
    HostRefused,
    PhiFinetuneError,
    ScoringFailed,
    ServiceError,
    ServiceUnreachable,
)
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, RequestFault, Wrong

GOOD = [
    "https://management.azure.com/subscriptions",
    "https://MANAGEMENT.AZURE.COM:443/x",
    "HTTPS://management.azure.com/x",
    "https://login.microsoftonline.com/tenant/oauth2/v2.0/token",
    "https://eastus.api.azureml.ms/x?$filter=a eq 'b'",
    "https://cert-eastus.experiments.azureml.net/x",
    "https://answers.eastus.inference.ml.azure.com/score",
    "https://store.blob.core.windows.net/x?sig=1",
    "https://store.blob.core.windows.net/Größe/@x:8443",
]
EVIL = [
    "http://management.azure.com/x",
    "http://answers.eastus.inference.ml.azure.com/score",
    "ftp://management.azure.com/x",
    "file:///etc/passwd",
    "//management.azure.com/x",
    "/relative",
    "management.azure.com/x",
    "https:management.azure.com/x",
    "https:/management.azure.com/x",
    "https:///management.azure.com/x",
    "https://",
    "",
    "https://evil.invalid/x",
    "https://169.254.169.254/metadata/identity/oauth2/token",
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://[::1].api.azureml.ms/x",
    "https://2852039166/x",
    "https://localhost/x",
    "https://management.azure.com.evil.invalid/x",
    "https://evil-management.azure.com/x",
    "https://management-azure.com/x",
    "https://evilapi.azureml.ms/x",
    "https://blob.core.windows.net/x",
    "https://.blob.core.windows.net/x",
    "https://a..blob.core.windows.net/x",
    "https://-a.blob.core.windows.net/x",
    "https://management.azure.com./x",
    "https://answers.eastus.inference.ml.azure.com.evil.invalid/score",
    "https://management.azure.com:8443/x",
    "https://management.azure.com:0443/x",
    "https://management.azure.com:x/x",
    "https://management.azure.com:/x",
    "https://management.azure.com@evil.invalid/x",
    "https://evil.invalid@management.azure.com/x",
    "https://me:you@management.azure.com/x",
    "https://evil.invalid\\.blob.core.windows.net/x",
    "https://evil.invalid\\@x.blob.core.windows.net/x",
    "https://x.blob.core.windows.net\\@evil.invalid/x",
    "https://x.blob.core.windows.net\\evil.invalid/x",
    "https://evil.invalid\t.blob.core.windows.net/x",
    "https://evil.invalid\n.blob.core.windows.net/x",
    "https://evil.invalid\x00.blob.core.windows.net/x",
    "https://evil.invalid .api.azureml.ms/x",
    "https://evil.invalid%5c.api.azureml.ms/x",
    "https://evil.invalid%23.api.azureml.ms/x",
    "https://evil.invalid#.api.azureml.ms/x",
    "https://evil.invalid?.api.azureml.ms/x",
    "https://evil.invalid;.api.azureml.ms/x",
    "https://management.azure.com#@evil.invalid/x",
    "https://management.azure.com/x\\@evil.invalid",
    "https://management.azure.com/x\r\nHost: evil.invalid",
    " https://management.azure.com/x",
    "https://\uff4danagement.azure.com/x",
    "https://\u212aeep.blob.core.windows.net/x",
    "https://store.blob.core.window\u017f.net/x",
    "https://management。azure。com/x",
    "https://xn--anagement-3ya.azure.com/x",
    f"https://{'a' * 64}.blob.core.windows.net/x",
]
EVIL_PARTS = [
    "evil.invalid\\",
    "evil.invalid/",
    "evil.invalid?",
    "evil.invalid#",
    "evil.invalid:443/",
    "evil.invalid:8443",
    "evil.invalid%5c",
    "evil.invalid%23",
    "evil.invalid\t",
    "evil.invalid\n",
    "evil.invalid ",
    "me@evil.invalid/",
    "me:you@",
    "me:you@evil.invalid\\",
    "169.254.169.254\\",
    "169.254.169.254/",
    "[::1]/",
    "[::1]",
    "127.0.0.1/#",
    "a..b",
    ".a",
    "a.",
    "-a",
    "\uff45vil",
    "a_b",
]
"""What stands before a suffix of Azure's where an account or a region is told: none of them may lead elsewhere."""

URLS = st.lists(
    st.sampled_from(
        [
            *(
                "https://",
                "http://",
                "/",
                "\\",
                "@",
                ":",
                "443",
                "?",
                "#",
                "%",
                ".",
                "-",
                " ",
                "\t",
                "\n",
                "\x00",
            ),
            *("evil.invalid", "management.azure.com", "eastus.api.azureml.ms", "a.blob.core.windows.net"),
            *("a", "[::1]", "%5c", "%2f", "。", "\u017f", "K", ";", "&", "=", "xn--"),
        ]
    ),
    max_size=7,
).map("".join)


@dataclass(frozen=True)
class Saying(RequestFault):
    """An answer whose JSON body was changed on its way."""

    change: Callable[[dict[str, Any]], object]

    def spoil(self, answer: Response) -> Response:
        body = json.loads(answer.body)
        self.change(body)
        return replace(answer, body=json.dumps(body).encode())


# One host


@pytest.mark.parametrize("url", GOOD)
def test_azures_hosts_pass(url: str) -> None:
    """Those that a workspace of the public cloud uses."""
    Hosts().check(url)


@pytest.mark.parametrize("url", EVIL)
def test_other_hosts_do_not(url: str) -> None:
    """Whatever they look like; no token is for them, and the error does not repeat what may hold a password."""
    for refuse in (Hosts().check, Hosts().scope_for, lambda each: Hosts().check_scoring(each, "eastus")):
        with pytest.raises(HostRefused) as caught:
            refuse(url)
        assert "me:you" not in str(caught.value)


@given(URLS)
def test_what_passes_goes_where_it_was_checked(url: str) -> None:
    """The host that requests and urllib3 connect to is Azure's, on its port, for every URL that passes."""
    try:
        Hosts().check(url)
    except HostRefused:
        return
    goes_to = parse_url(requests.Request("GET", url).prepare().url or "")
    assert (goes_to.scheme, goes_to.port, goes_to.auth) in [("https", None, None), ("https", 443, None)]
    assert goes_to.host == urlsplit(url).hostname
    Hosts().check(f"https://{goes_to.host}/")


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("management.azure.com", "https://management.azure.com/.default"),
        ("eastus.api.azureml.ms", "https://management.azure.com/.default"),
        ("a.eastus.inference.ml.azure.com", "https://ml.azure.com/.default"),
        ("store.blob.core.windows.net", "https://storage.azure.com/.default"),
    ],
)
def test_each_host_has_its_audience(host: str, scope: str) -> None:
    """A token of the wrong one is refused there."""
    assert Hosts().scope_for(f"https://{host}/x") == scope


@pytest.mark.parametrize(
    ("uri", "passes"),
    [
        ("https://answers.eastus.inference.ml.azure.com/score", True),
        ("https://answers.westus.inference.ml.azure.com/score", False),
        ("https://eastus.inference.ml.azure.com/score", False),
        ("https://management.azure.com/score", False),
        ("https://store.blob.core.windows.net/score", False),
    ],
)
@pytest.mark.parametrize("region", ["eastus", "East US"])
def test_an_endpoint_is_in_the_workspaces_region(uri: str, passes: bool, region: str) -> None:
    """Another region's endpoint is somebody else's, as is everything that is no endpoint."""
    if passes:
        Hosts().check_scoring(uri, region)
        return
    with pytest.raises(HostRefused, match="where the workspace is"):
        Hosts().check_scoring(uri, region)


def test_a_host_of_ones_own_is_let_through() -> None:
    """By its name, or by what it ends in; still over https alone, and for keys and prompts too."""
    hosts = Hosts(PUBLIC, ["Gateway.example.com", ".ml.example.org"])
    for url in ("https://gateway.example.com/x", "https://a.ml.example.org/x", *GOOD):
        hosts.check(url)
    hosts.check_scoring("https://gateway.example.com/score", "eastus")
    hosts.check_scoring("https://a.ml.example.org/score", "eastus")
    for url in (
        "http://gateway.example.com/x",
        "https://a.gateway.example.com/x",
        "https://ml.example.org/x",
        *EVIL,
    ):
        with pytest.raises(HostRefused):
            hosts.check(url)


@pytest.mark.parametrize(
    "name", ["", ".", ".com", "localhost", "https://a.b", "a.b/c", "a.b:443", "*.b.c", "a b.c"]
)
def test_what_is_no_hosts_name_is_not_allowed(name: str) -> None:
    """It is told when the connection is made; nothing is sent."""
    with pytest.raises(ConfigurationError, match="no host's name"):
        pf.Workspace.connect(
            subscription_id="00000000-0000-4000-8000-000000000001",
            resource_group="group",
            workspace_name="name",
            allowed_hosts=[name],
        )


# Other clouds


@pytest.mark.parametrize(
    ("cloud", "good"),
    [
        (
            "usgovernment",
            [
                "https://management.usgovcloudapi.net/subscriptions",
                "https://login.microsoftonline.us/x",
                "https://usgovvirginia.api.ml.azure.us/x",
                "https://answers.usgovvirginia.inference.ml.azure.us/score",
                "https://store.blob.core.usgovcloudapi.net/x",
            ],
        ),
        (
            "china",
            [
                "https://management.chinacloudapi.cn/subscriptions",
                "https://login.chinacloudapi.cn/x",
                "https://chinaeast2.api.ml.azure.cn/x",
                "https://answers.chinaeast2.inference.ml.azure.cn/score",
                "https://store.blob.core.chinacloudapi.cn/x",
            ],
        ),
    ],
)
def test_each_cloud_has_its_own_hosts(cloud: Any, good: list[str]) -> None:
    """And those of another cloud are foreign."""
    hosts = Hosts(CLOUDS[cloud])
    for url in good:
        hosts.check(url)
        with pytest.raises(HostRefused):
            Hosts().check(url)
    for url in [*GOOD, *EVIL]:
        with pytest.raises(HostRefused):
            hosts.check(url)


@pytest.mark.parametrize(
    ("cloud", "arm", "registries"),
    [
        ("usgovernment", "https://management.usgovcloudapi.net", "https://usgovarizona.api.ml.azure.us"),
        ("china", "https://management.chinacloudapi.cn", "https://chinaeast2.api.ml.azure.cn"),
    ],
)
def test_a_workspace_of_another_cloud_asks_there(
    fake_azure: FakeAzure, cloud: Any, arm: str, registries: str
) -> None:
    """With that cloud's token from the first one on; nothing of it is asked of the public cloud."""
    opaque = Opaque()
    workspace = pf.Workspace.connect(
        subscription_id="00000000-0000-4000-8000-000000000001",
        resource_group="nobodys",
        workspace_name="nowhere",
        credential=opaque,
        cloud=cloud,
        clock=fake_azure.clock,
        retries=NoRetries(),
    )
    calls: tuple[Callable[[], object], ...] = (workspace.jobs, lambda: workspace.foundation_model("Phi-4"))
    for call, address in zip(calls, (arm, registries), strict=True):
        with pytest.raises(ServiceUnreachable) as caught:
            call()
        assert (caught.value.resource or "").startswith(f"GET {address}/")
    assert opaque.asked == [f"{arm}/.default"]


def test_the_cloud_of_a_client_is_taken_over(fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    """azure-ai-ml's client says which cloud it is for."""
    from azure.ai.ml import MLClient

    # azure-ai-ml writes the cloud of its last client there.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")
    names = (fake_azure.subscription_id, fake_azure.resource_group, fake_azure.workspace_name)
    client = MLClient(fake_azure.credential, *names, cloud="AzureUSGovernment")
    handle = pf.Workspace.from_clients(client)._handle()
    assert handle.url.startswith("https://management.usgovcloudapi.net/")


def test_there_is_no_other_cloud(fake_azure: FakeAzure) -> None:
    """A cloud that is not known is told, with those that are."""
    with pytest.raises(ConfigurationError, match="no cloud named 'moon'") as caught:
        connected(fake_azure, cloud="moon")
    assert "usgovernment" in (caught.value.next_call or "")


class Opaque:
    """A credential whose tokens are nobody's."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        self.asked += scopes
        return AccessTokenInfo("opaque", int(time.time()) + 3600)


def connected(azure: FakeAzure, **how: Any) -> pf.Workspace:
    """A workspace, of whatever cloud."""
    return pf.Workspace.connect(
        subscription_id=azure.subscription_id,
        resource_group=azure.resource_group,
        workspace_name=azure.workspace_name,
        **{"credential": azure.credential, "clock": azure.clock, "retries": NoRetries(), **how},
    )


# Addresses that answers tell


def refused(
    azure: FakeAzure, call: Callable[[], object], fault: Callable[[str], RequestFault], told: str
) -> str:
    """What became of a call whose answers tell an address: nothing where it was refused, and nothing was sent."""
    azure.faults.next(fault(told))
    try:
        call()
    except HostRefused as error:
        return "me:you is told" if "me:you" in str(error) else ""
    except PhiFinetuneError as error:
        return f"{told!r}: {type(error).__name__}"
    return f"{told!r} was followed"


@pytest.mark.parametrize("auth", ["key", "aad_token"])
def test_a_question_goes_to_azure_alone(fake_azure: FakeAzure, workspace: pf.Workspace, auth: Any) -> None:
    """An address that is not Azure's gets neither key nor token nor question, and no key is asked for."""
    name = trained(fake_azure, workspace).deploy(instance_type=SIZE, auth=auth).name

    def said(uri: str) -> Saying:
        return Saying("GET */onlineEndpoints/*", lambda body: body["properties"].update(scoringUri=uri))

    fake_azure.journal.clear()
    other = "https://answers.westus.inference.ml.azure.com/score"
    told = [
        refused(fake_azure, lambda: workspace.endpoint(name).chat(PROMPT), said, uri)
        for uri in [*EVIL, other]
    ]
    assert "".join(told) == ""
    assert {entry.method for entry in fake_azure.journal} == {"GET"}


def test_another_regions_endpoint_can_be_allowed(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A host that the user names is asked; this one is nobody's, and does not answer."""
    endpoint = deployed(fake_azure, workspace)
    allowing = connected(fake_azure, allowed_hosts=[".westus.inference.ml.azure.com"])
    elsewhere = attrs.evolve(endpoint, scoring_uri="https://answers.westus.inference.ml.azure.com/score")
    with pytest.raises((ScoringFailed, ServiceUnreachable)):
        allowing.attach(elsewhere).chat(PROMPT)
    with pytest.raises(HostRefused):
        workspace.attach(elsewhere).chat(PROMPT)


def test_a_next_page_elsewhere_is_not_asked_for(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A link in an answer may not lead a token away."""

    def said(url: str) -> Saying:
        return Saying("GET */workspaces/phi-lab/jobs", lambda body: body.update(nextLink=url))

    told = [refused(fake_azure, workspace.jobs, said, url) for url in EVIL if url]
    assert "".join(told) == ""
    assert len(fake_azure.journal) == len(told)


def test_an_operation_elsewhere_is_not_followed(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Nor is the header of a change that was accepted."""
    cluster = workspace.gpu_compute("gpu", size=SIZE)

    def said(url: str) -> Wrong:
        return Wrong("PUT */computes/*", header="Azure-AsyncOperation", value=url)

    told = []
    for url in EVIL:
        told.append(refused(fake_azure, cluster.ensure, said, url))
        cluster.delete()
    assert "".join(told) == ""
    assert {urlsplit(entry.url).hostname for entry in fake_azure.journal} == {"management.azure.com"}


def test_a_log_elsewhere_is_not_read(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The address of a log file comes with its own signature, and is as little trusted."""
    job = finetune(workspace).submit().wait()

    def said(url: str) -> Saying:
        return Saying(
            "GET */runs/*/details", lambda body: body.update(logFiles={"user_logs/std_log.txt": url})
        )

    told = [refused(fake_azure, job.logs, said, url) for url in EVIL]
    assert "".join(told) == ""


def test_a_store_elsewhere_gets_no_data(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The account that a datastore names becomes a host, so it may hold nothing but a host's name."""
    tune = finetune(workspace)

    def said(account: str) -> Saying:
        return Saying(
            "GET */datastores/workspaceblobstore", lambda body: body["properties"].update(accountName=account)
        )

    def submit() -> None:
        workspace._handle().forget("blob store")
        tune.submit()

    told = [refused(fake_azure, submit, said, part) for part in EVIL_PARTS]
    assert "".join(told) == ""
    assert fake_azure.jobs == {}


def test_a_region_elsewhere_gets_no_token(fake_azure: FakeAzure) -> None:
    """Nor may the region that a workspace names."""
    job = finetune(fake_azure.workspace()).submit()

    def said(location: str) -> Saying:
        return Saying("GET */workspaces/phi-lab", lambda body: body.update(location=location))

    def look() -> None:
        fake_azure.workspace().attach(job).logs()

    told = [refused(fake_azure, look, said, part) for part in EVIL_PARTS]
    assert "".join(told) == ""


# Redirects

REDIRECTS = [300, 301, 302, 303, 307, 308]
ELSEWHERE = [
    "https://evil.invalid/x",
    "https://evilstore.blob.core.windows.net/c/x",
    "https://other.eastus.inference.ml.azure.com/score",
    "https://management.azure.com/other",
    "/other",
]


@pytest.mark.parametrize("status", REDIRECTS)
def test_no_redirect_is_followed(fake_azure: FakeAzure, workspace: pf.Workspace, status: int) -> None:
    """Not by a read, and not by a question: wherever it leads, one request was sent."""
    endpoint = deployed(fake_azure, workspace)
    endpoint.chat(PROMPT)
    for on, call in (("GET */jobs", workspace.jobs), ("POST */score", lambda: endpoint.chat(PROMPT))):
        for location in ELSEWHERE:
            fake_azure.journal.clear()
            fake_azure.faults.next(Answer(on, status, headers={"Location": location}))
            with pytest.raises(HostRefused, match=f"HTTP {status} names another address") as caught:
                call()
            assert len(fake_azure.journal) == 1
            assert caught.value.status_code == status


@pytest.mark.parametrize("status", REDIRECTS)
def test_no_body_is_posted_elsewhere(fake_azure: FakeAzure, workspace: pf.Workspace, status: int) -> None:
    """azure-core would follow by itself, and send a whole job to any store of Azure's."""
    tune = finetune(workspace)
    for location in (ELSEWHERE[1], ELSEWHERE[3]):
        fake_azure.faults.next(Answer("PUT */jobs/*", status, headers={"Location": location}))
        with pytest.raises(HostRefused):
            tune.submit()
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) == 2
    assert sent(fake_azure, "*", "*/other") == sent(fake_azure, "*", "/c/x") == []


@pytest.mark.parametrize("status", REDIRECTS)
def test_no_secret_is_posted_elsewhere(fake_azure: FakeAzure, status: int) -> None:
    """A sign-in sends its secret once, whatever the answer says."""
    fake_azure.faults.next(Answer("POST */oauth2/*", status, headers={"Location": ELSEWHERE[1]}))
    principal = ServicePrincipal(
        tenant_id=fake_azure.tenant_id, client_id=fake_azure.client_id, client_secret=fake_azure.client_secret
    )
    with pytest.raises(AuthenticationFailed, match="names another address"):
        connected(fake_azure, credential=principal).jobs()
    assert len([entry for entry in fake_azure.journal if entry.method == "POST"]) == 1


def test_a_redirect_to_nowhere_is_an_error_as_any(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Without an address there is nothing to follow."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(Answer("GET */jobs", 302))
    with pytest.raises(ServiceError):
        workspace.jobs()
    fake_azure.faults.next(Answer("POST */score", 302))
    with pytest.raises(ScoringFailed):
        endpoint.chat(PROMPT)
