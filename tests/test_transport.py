from __future__ import annotations

import base64
import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from tuning import PROMPT, Heard, deployed, finetune, sent

import phi_finetune as pf
from phi_finetune._azure.transport import verb_class
from phi_finetune.errors import (
    AuthenticationFailed,
    ConfigurationError,
    InvalidParameter,
    PermissionMissing,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
)
from phi_finetune.events import RequestRetried, RequestSent
from phi_finetune.protocols import Try
from phi_finetune.retries import NoRetries, RetryBudget, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, ExpiredToken, RequestFault, Silence, Unreachable

JOBS = "GET */workspaces/phi-lab/jobs"


class Tokens:
    """A credential whose every token of a fake can be made stale.

    Attributes:
        given: How many tokens were given.
        stale: Whether those that are given are refused.
    """

    def __init__(self, azure: FakeAzure) -> None:
        self._azure = azure
        self.given = 0
        self.stale = False

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        token = self.get_token_info(*scopes)
        return AccessToken(token.token, token.expires_on)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        self.given += 1
        token, expires_on = self._azure.cloud.identity.issue(scopes[0].removesuffix("/.default"))
        return AccessTokenInfo(outdated(token) if self.stale else token, expires_on)


def outdated(token: str) -> str:
    """The same token, of an hour before it expired."""
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "exp": 1}).encode()).rstrip(b"=").decode()
    return f"{head}.{changed}.{signature}"


def connected(azure: FakeAzure, credential: Any, **policies: Any) -> pf.Workspace:
    """A workspace with another credential."""
    return pf.Workspace.connect(
        subscription_id=azure.subscription_id,
        resource_group=azure.resource_group,
        workspace_name=azure.workspace_name,
        credential=credential,
        clock=azure.clock,
        **policies,
    )


# Sending again


@pytest.mark.parametrize(("retries", "sends"), [(NoRetries(), 1), (StandardRetries(attempts=3), 3)])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_read_is_sent_as_often_as_the_policy_says(
    fake_azure: FakeAzure, retries: Any, sends: int, status: int
) -> None:
    """Not one send more: nobody below or above sends again too."""
    fake_azure.faults.next(Answer(JOBS, status), times=sends)
    with pytest.raises(ServiceError) as caught:
        fake_azure.workspace(retries=retries).jobs()
    assert caught.value.status_code == status
    assert len(fake_azure.journal) == sends


def test_five_sends_are_the_standard(fake_azure: FakeAzure) -> None:
    """The fifth may succeed, and each failed one is told."""
    heard = Heard()
    fake_azure.faults.next(Answer(JOBS, 503), times=4)
    assert fake_azure.workspace(on_event=heard).jobs() == ()
    assert len(fake_azure.journal) == 5
    retried = heard.of(RequestRetried)
    assert [event.attempt for event in retried] == [1, 2, 3, 4]
    assert {event.why for event in retried} == {"HTTP 503"}
    assert {event.resource for event in retried} == {"GET jobs"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 501])
def test_a_refusal_is_not_repeated(fake_azure: FakeAzure, workspace: pf.Workspace, status: int) -> None:
    """What was understood and refused is asked once; but a 401 once more, with a new token."""
    fake_azure.faults.next(Answer(JOBS, status), times=2 if status == 401 else 1)
    with pytest.raises(PhiFinetuneError) as caught:
        workspace.jobs()
    assert caught.value.status_code == status
    assert len(fake_azure.journal) == (2 if status == 401 else 1)


def test_retry_after_is_obeyed(fake_azure: FakeAzure) -> None:
    """The pause passes on the workspace's clock, and is no shorter than what was asked."""
    fake_azure.faults.next(Answer(JOBS, 429, headers={"Retry-After": "40"}))
    before = fake_azure.clock.now()
    started = time.monotonic()
    fake_azure.workspace(retries=StandardRetries(jitter_s=0)).jobs()
    assert fake_azure.clock.now() - before == timedelta(seconds=40)
    assert time.monotonic() - started < 5


def test_retry_after_that_is_too_long_is_not_waited_for(fake_azure: FakeAzure) -> None:
    """An hour is more than the standard policy waits: the refusal is told at once."""
    fake_azure.faults.next(Answer(JOBS, 429, headers={"Retry-After": "3600"}))
    with pytest.raises(ServiceError):
        fake_azure.workspace().jobs()
    assert len(fake_azure.journal) == 1


def test_a_policy_of_ones_own_decides(fake_azure: FakeAzure) -> None:
    """It sees each failed send, and what it gives is obeyed."""
    seen: list[Try] = []

    class Twice:
        def wait_s(self, failed: Try) -> float | None:
            seen.append(failed)
            return 3.0 if failed.attempt < 2 else None

    fake_azure.faults.next(Answer(JOBS, 500), times=2)
    before = fake_azure.clock.now()
    with pytest.raises(ServiceError):
        fake_azure.workspace(retries=Twice()).jobs()
    assert [(one.attempt, one.verb_class, one.status_code, one.sent) for one in seen] == [
        (1, "read", 500, True),
        (2, "read", 500, True),
    ]
    assert seen[1].elapsed_s == 3.0
    assert fake_azure.clock.now() - before == timedelta(seconds=3)


def test_a_policy_that_raises_is_named(fake_azure: FakeAzure) -> None:
    """The call ends with an error of this library's that has the policy's own as its cause; nothing is sent again."""

    class Broken:
        def wait_s(self, failed: Try) -> float | None:
            if failed.status_code == 404:
                return None
            raise ZeroDivisionError("of my own")

    endpoint = deployed(fake_azure, fake_azure.workspace())
    workspace = fake_azure.workspace(retries=Broken())
    calls: tuple[tuple[RequestFault, Callable[[], object]], ...] = (
        (Answer(JOBS, 500), workspace.jobs),
        (Answer("PUT */jobs/*", 500), finetune(workspace).submit),
        (Unreachable("POST */score"), lambda: workspace.attach(endpoint).chat(PROMPT)),
    )
    for fault, call in calls:
        fake_azure.faults.next(fault)
        with pytest.raises(ConfigurationError, match="Broken raised ZeroDivisionError") as caught:
            call()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert [entry.status for entry in sent(fake_azure, "GET", "*/jobs")] == [500]
    # The first job is the one that the endpoint's model is of.
    assert [entry.status for entry in sent(fake_azure, "PUT", "*/jobs/*")] == [201, 500]


def test_a_policy_that_asks_for_nonsense_is_told(fake_azure: FakeAzure) -> None:
    """A wait that is none is an error, and never a hang."""

    class Forever:
        def wait_s(self, failed: Try) -> float | None:
            return float("inf")

    fake_azure.faults.next(Answer(JOBS, 500))
    with pytest.raises(InvalidParameter, match="asked to wait inf"):
        fake_azure.workspace(retries=Forever()).jobs()


def test_azure_ai_ml_has_no_retries_of_its_own(fake_azure: FakeAzure) -> None:
    """A submission goes through the same transport: with no retries it is sent once."""
    tune = finetune(fake_azure.workspace(retries=NoRetries()))
    fake_azure.faults.next(Answer("PUT */jobs/*", 503))
    with pytest.raises(ServiceError):
        tune.submit()
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) == 1


def test_a_submission_is_sent_again_and_pays_once(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A named write that was not taken up is sent again under its name."""
    fake_azure.faults.next(Answer("PUT */jobs/*", 503), times=2)
    job = finetune(workspace).submit()
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) == 3
    assert list(fake_azure.jobs) == [job.name]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/x", "read"),
        ("HEAD", "/x", "read"),
        ("PUT", "/x", "named-write"),
        ("PATCH", "/x", "named-write"),
        ("DELETE", "/x", "named-write"),
        ("POST", "/datastores/d/listSecrets", "read"),
        ("POST", "/onlineEndpoints/e/listKeys?api-version=1", "read"),
        ("POST", "/runs/search", "read"),
        ("POST", "/deployments/d/getLogs/", "read"),
        ("POST", "/score", "score"),
        ("POST", "/jobs/j/cancel", "action"),
    ],
)
def test_a_verb_is_as_safe_as_what_it_does(method: str, path: str, expected: str) -> None:
    """A POST that only reads is a read."""
    assert verb_class(method, f"https://management.azure.com{path}") == expected


# What all requests share


def outage(azure: FakeAzure, workspace: pf.Workspace, *, calls: int, sends: int) -> None:
    """So many calls, none of which succeeds, make so many sends; not one more or less."""
    before = len(azure.journal)
    azure.faults.next(Answer(JOBS, 503), times=sends)
    for _ in range(calls):
        with pytest.raises(ServiceError):
            workspace.jobs()
    assert len(azure.journal) - before == sends


def test_an_outage_is_not_made_worse(fake_azure: FakeAzure) -> None:
    """The first hundred further sends are made; then each call is one request, and its error says why."""
    budget = RetryBudget()
    workspace = fake_azure.workspace(retry_budget=budget)
    outage(fake_azure, workspace, calls=25, sends=25 * 5)
    assert budget.left == 0
    outage(fake_azure, workspace, calls=1000, sends=1000)
    fake_azure.faults.next(Answer(JOBS, 503))
    with pytest.raises(ServiceError, match="the workspace's retry budget is spent") as caught:
        workspace.jobs()
    assert caught.value.status_code == 503
    fake_azure.faults.next(Unreachable(JOBS))
    with pytest.raises(ServiceUnreachable, match="the workspace's retry budget is spent"):
        workspace.jobs()


def test_what_succeeds_fills_the_budget_again(fake_azure: FakeAzure) -> None:
    """By one each; a further send that succeeds costs nothing, so that some faults among successes never empty it."""
    budget = RetryBudget(20)
    workspace = fake_azure.workspace(retry_budget=budget)
    outage(fake_azure, workspace, calls=1, sends=5)
    assert budget.left == 0
    for done in range(1, 6):
        workspace.jobs()
        assert budget.left == done
    for _ in range(3):
        fake_azure.faults.next(Answer(JOBS, 503))
        workspace.jobs()
        assert budget.left == 5
    fake_azure.faults.next(Silence(JOBS))
    with pytest.raises(ServiceUnreachable):
        workspace.jobs()
    assert budget.left == 5


def test_each_send_is_told(fake_azure: FakeAzure) -> None:
    """With its number, its status and how long it took; a sign-in between two of them too."""
    heard = Heard()
    for fault in (ExpiredToken(JOBS), Silence(JOBS), Answer(JOBS, 503)):
        fake_azure.faults.next(fault)
    fake_azure.workspace(on_event=heard, retries=StandardRetries(jitter_s=0)).jobs()
    seen = [
        (type(event).__name__, getattr(event, "attempt", None), getattr(event, "status", None))
        for event in heard
        if event.resource == "GET jobs"
    ]
    assert seen == [
        ("RequestSent", 1, 401),
        ("SignedInAnew", None, None),
        ("RequestSent", 2, None),
        ("RequestRetried", 1, None),
        ("RequestSent", 3, 503),
        ("RequestRetried", 2, None),
        ("RequestSent", 4, 200),
    ]
    assert [event.took_s for event in heard.of(RequestSent)] == [0, 100, 0, 0]
    assert [entry.status for entry in fake_azure.journal] == [401, None, 503, 200]


# Signing in anew


def test_a_refused_token_is_replaced_once(fake_azure: FakeAzure) -> None:
    """One 401, one new token, one more send; the caller notices nothing."""
    tokens = Tokens(fake_azure)
    tokens.stale = True
    workspace = connected(fake_azure, tokens, retries=NoRetries())
    assert workspace._handle().credential is not None
    tokens.stale = False
    assert workspace.jobs() == ()
    assert [entry.status for entry in fake_azure.journal] == [401, 200]
    assert tokens.given == 2


@pytest.mark.parametrize(("retries", "sends"), [(NoRetries(), 2), (StandardRetries(attempts=3), 4)])
def test_a_new_token_that_has_expired_is_a_failed_send(
    fake_azure: FakeAzure, retries: Any, sends: int
) -> None:
    """One new token is free; from then on the policy counts, and in the end the error says how to sign in."""
    tokens = Tokens(fake_azure)
    tokens.stale = True
    with pytest.raises(AuthenticationFailed) as caught:
        connected(fake_azure, tokens, retries=retries).jobs()
    assert caught.value.status_code == 401
    assert "az login" in (caught.value.next_call or "")
    assert [entry.status for entry in fake_azure.journal] == [401] * sends
    assert tokens.given == sends


def test_a_new_token_that_is_refused_for_another_reason_is_told_at_once(fake_azure: FakeAzure) -> None:
    """A wrong tenant, or a token that means nothing: asking again would not help."""
    fake_azure.faults.next(Answer(JOBS, 401, "InvalidAuthenticationToken"), times=2)
    with pytest.raises(AuthenticationFailed):
        fake_azure.workspace().jobs()
    assert [entry.status for entry in fake_azure.journal] == [401, 401]


def test_every_refused_token_is_replaced(fake_azure: FakeAzure) -> None:
    """A token that was taken for a while, and is refused later in the same call, is replaced as the first was."""
    for fault in (ExpiredToken(JOBS), Answer(JOBS, 503), ExpiredToken(JOBS)):
        fake_azure.faults.next(fault)
    heard = Heard()
    assert fake_azure.workspace(retries=StandardRetries(attempts=2), on_event=heard).jobs() == ()
    assert [entry.status for entry in fake_azure.journal] == [401, 503, 401, 200]
    assert [event.why for event in heard.of(RequestRetried)] == ["HTTP 503"]


@pytest.mark.parametrize("times", [2, 3])
def test_tokens_that_expire_in_a_row_are_borne(fake_azure: FakeAzure, times: int) -> None:
    """By reads, by what azure-ai-ml sends, by a question and by an action alike; an action was not carried out."""
    workspace = fake_azure.workspace()
    endpoint = deployed(fake_azure, workspace)
    job = finetune(workspace).submit()
    calls: dict[str, Callable[[], object]] = {
        JOBS: workspace.jobs,
        "PUT */jobs/*": finetune(workspace, {"lora_r": 4}).submit,
        "POST */score": lambda: endpoint.chat(PROMPT),
        "POST */cancel": job.cancel,
    }
    for on, call in calls.items():
        fake_azure.faults.next(ExpiredToken(on), times=times)
        call()
    assert len(sent(fake_azure, "POST", "*/cancel")) == 1 + times


def test_azure_ai_mls_own_copy_of_a_token_is_replaced_too(fake_azure: FakeAzure) -> None:
    """A job is submitted with a good token, after the one that its client kept was refused."""
    tokens = Tokens(fake_azure)
    workspace = connected(fake_azure, tokens, retries=NoRetries())
    first = finetune(workspace).submit()
    fake_azure.clock.advance(timedelta(hours=2))
    fake_azure.journal.clear()
    second = finetune(workspace, {"lora_r": 4}).submit()
    assert sorted(fake_azure.jobs) == sorted([first.name, second.name])
    refused = [entry for entry in fake_azure.journal if entry.status == 401]
    assert 1 <= len(refused) <= 2


def test_a_tenant_that_is_another_is_named(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Azure says which tenant it wants; the next call signs in there."""
    tenant = "11111111-2222-4333-8444-555555555555"
    message = (
        "The access token is from the wrong issuer. It must match the tenant "
        f"'https://sts.windows.net/{tenant}/' associated with this subscription."
    )
    fake_azure.faults.next(Answer(JOBS, 401, "InvalidAuthenticationTokenTenant", message), times=2)
    with pytest.raises(AuthenticationFailed) as caught:
        workspace.jobs()
    assert caught.value.next_call == f"sign in to the right tenant: az login --tenant {tenant}"


def test_a_missing_role_is_no_missing_thing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """403 is never read as absence, and its error says what to ask for."""
    fake_azure.faults.next(Answer("GET */computes/gpu", 403, "AuthorizationFailed", "No."))
    with pytest.raises(PermissionMissing) as caught:
        workspace.gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure()
    assert "AzureML Data Scientist" in (caught.value.next_call or "")
    assert fake_azure.computes == {}


# Secrets


def test_nothing_secret_is_told(fake_azure: FakeAzure, caplog: pytest.LogCaptureFixture) -> None:
    """No token, key, signature or row is in a log, an event, or an error with its whole traceback."""
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    workspace = fake_azure.workspace(on_event=heard, retries=StandardRetries(attempts=2))
    endpoint = deployed(fake_azure, workspace)
    told = []
    for fault in ("GET */jobs", "POST */score", "PUT */jobs/*", "POST */listsecrets"):
        fake_azure.faults.next(Answer(fault, 403))
    calls = (workspace.jobs, lambda: endpoint.chat(PROMPT), finetune(workspace).submit)
    for call in (*calls, finetune(workspace, {"lora_r": 4}).submit):
        try:
            call()
        except PhiFinetuneError as error:
            told += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    assert len(told) > 6
    text = "\n".join([*told, caplog.text, *map(repr, heard), repr(workspace), repr(endpoint)])
    token = fake_azure.credential.get_token("https://management.azure.com/.default").token
    keys = fake_azure.endpoints[endpoint.name].keys.values()
    for secret in (token.rpartition(".")[2], *keys, fake_azure.client_secret, "Tell me of river number 0"):
        assert secret not in text
    assert "sig=" not in text.replace("sig=REDACTED", "")


# No answer


def test_no_answer_is_told_after_the_last_send(fake_azure: FakeAzure) -> None:
    """Where nothing comes back, the request is named, and sent as often as the policy says."""
    heard = Heard()
    workspace = pf.Workspace.connect(
        subscription_id="00000000-0000-4000-8000-000000000001",
        resource_group="nobodys",
        workspace_name="nowhere",
        credential=Opaque(),
        clock=fake_azure.clock,
        retries=StandardRetries(attempts=3),
        on_event=heard,
    )
    with pytest.raises(ServiceUnreachable) as caught:
        workspace.jobs()
    assert (caught.value.resource or "").startswith("GET https://management.azure.com/subscriptions/")
    assert caught.value.next_call
    assert "opaque" not in "".join(traceback.format_exception(caught.value))
    assert [event.why for event in heard.of(RequestRetried)] == ["ServiceRequestError"] * 2


class Opaque:
    """A credential of nobody's: no fake answers to its tokens, and the door lets none of them out."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("opaque", int(time.time()) + 3600)
