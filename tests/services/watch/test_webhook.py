"""Webhooks of every form: what is genuine wakes the watches of that repository, and nothing else does anything."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.services.clock import Clock
from requisition.services.watch.config import Watch
from requisition.services.watch.records import Kept, Listed, Remote
from requisition.services.watch.webhook import FORMS, SKEW, Hooks, Seen, Unwelcome, key_of, place, read
from requisition.services.web import MAX_BODY, application, listen
from support.background import Background

KEY = b"a key of some length"
NOW = 1_800_000_000.0
JSON = ("Content-Type", "application/json")
PUSH = {
    "github": {"ref": "refs/heads/main", "repository": {"clone_url": "https://git.example/team/web.git", "id": 1}},
    "gitea": {"ref": "refs/heads/main", "repository": {"ssh_url": "ssh://git@git.example:2222/team/web.git"}},
    "gitlab": {"object_kind": "push", "project": {"git_http_url": "https://git.example/team/web.git", "name": "Web"}},
    "generic": {"url": "git@git.example:team/web.git"},
}


def signed(form, body, *, key=KEY, ident="d-1", event="", now=NOW):
    """The headers with which a forge sends a body."""
    digest = hmac.digest(key, body, "sha256").hex()
    if form == "github":
        named = {
            "X-Hub-Signature-256": f"sha256={digest}",
            "X-GitHub-Delivery": ident,
            "X-GitHub-Event": event or "push",
        }
    elif form == "gitea":
        named = {"X-Gitea-Signature": digest, "X-Gitea-Delivery": ident, "X-Gitea-Event": event or "push"}
    elif form == "gitlab":
        named = {"X-Gitlab-Token": key.decode(), "X-Gitlab-Event-UUID": ident, "X-Gitlab-Event": event or "Push Hook"}
    else:
        mac = hmac.digest(key, f"{ident}.{now:.0f}.".encode() + body, "sha256")
        signature = "v1," + base64.b64encode(mac).decode()
        named = {"webhook-id": ident, "webhook-timestamp": f"{now:.0f}", "webhook-signature": signature}
    return dict([JSON]) | named


def body_of(form):
    return json.dumps(PUSH[form]).encode()


def headers(named):
    pairs = named.items() if isinstance(named, dict) else named
    return CIMultiDictProxy(CIMultiDict(pairs))


def taken(form, body, named, *, key=KEY, now=NOW):
    return read(form, headers(named), body, key, now)


def refused(form, body, named, **fields):
    with pytest.raises(Unwelcome) as caught:
        taken(form, body, named, **fields)
    return caught.value.status


@pytest.mark.parametrize("form", FORMS)
def test_a_genuine_push_names_its_repository(form):
    delivery = taken(form, body_of(form), signed(form, body_of(form)))
    assert delivery.pushed
    assert {place(url) for url in delivery.urls} == {"git.example/team/web"}


def test_the_signature_of_github_s_own_example_is_right():
    """docs.github.com, "Validating webhook deliveries": secret, payload and signature to test with."""
    secret, body = b"It's a Secret to Everybody", b"Hello, World!"
    said = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    named = dict([JSON]) | {"X-Hub-Signature-256": said, "X-GitHub-Delivery": "1", "X-GitHub-Event": "push"}
    assert refused("github", body, named, key=secret) == 400  # genuine, and then no JSON
    assert refused("github", body + b"!", named, key=secret) == 401


def test_the_signature_of_the_standard_s_own_example_is_right():
    """standard-webhooks: spec/standard-webhooks.md and the tests of its libraries."""
    key, ident, sent = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    body = b'{"test": 2432232314}'
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    named = dict([JSON]) | {"webhook-id": ident, "webhook-timestamp": str(sent), "webhook-signature": signature}
    assert taken("generic", body, named, key=key, now=sent).urls == ()
    named["webhook-signature"] = f"v1,AAAA v2,other {signature}"
    assert taken("generic", body, named, key=key, now=sent).pushed


@pytest.mark.parametrize("form", FORMS)
def test_another_key_is_refused(form):
    assert refused(form, body_of(form), signed(form, body_of(form), key=b"another key entirely")) == 401


@pytest.mark.parametrize("form", ["github", "gitea", "generic"])
@given(at=st.integers(0, 60), bit=st.integers(0, 7))
def test_a_body_that_was_changed_is_refused(form, at, bit):
    body = body_of(form)
    named = signed(form, body)
    changed = bytearray(body)
    changed[at % len(body)] ^= 1 << bit
    assert refused(form, bytes(changed), named) == 401


@pytest.mark.parametrize("form", FORMS)
def test_every_header_must_be_there_exactly_once(form):
    named = signed(form, body_of(form))
    for name in named.keys() - {"Content-Type"}:
        assert refused(form, body_of(form), {k: v for k, v in named.items() if k != name}) == 400
        assert refused(form, body_of(form), [*named.items(), (name, named[name])]) == 400
        assert refused(form, body_of(form), named | {name: ""}) == 400
        assert refused(form, body_of(form), named | {name: "x" * 2000}) == 400


@pytest.mark.parametrize("form", FORMS)
@given(junk=st.text(max_size=80))
def test_junk_in_the_place_of_a_signature_is_refused(form, junk):
    named = signed(form, body_of(form))
    name = {"github": "X-Hub-Signature-256", "gitea": "X-Gitea-Signature", "gitlab": "X-Gitlab-Token"}.get(
        form, "webhook-signature"
    )
    assert refused(form, body_of(form), named | {name: junk}) in (400, 401)


def test_a_generic_delivery_is_taken_within_five_minutes_and_neither_before_nor_after():
    body = body_of("generic")
    named = signed("generic", body)
    for now in (NOW - SKEW, NOW, NOW + SKEW):
        assert taken("generic", body, named, now=now).pushed
    for now in (NOW - SKEW - 1, NOW + SKEW + 1):
        assert refused("generic", body, named, now=now) == 401
    for sent in ("", "-1", "1e9", "٣", "9" * 16):
        assert refused("generic", body, named | {"webhook-timestamp": sent}) in (400, 401)


def test_the_time_and_the_id_of_a_generic_delivery_are_signed():
    body = body_of("generic")
    named = signed("generic", body)
    assert refused("generic", body, named | {"webhook-id": "d-2"}) == 401
    assert refused("generic", body, named | {"webhook-timestamp": str(int(NOW) + 1)}) == 401


BODIES = [b"", b"[]", b"{", b"\xff", b'{"repository": 1}', b'{"repository": {"clone_url": 1}}', b"[" * 100_000]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_genuine_body_that_makes_no_sense_is_bad_input(form, body):
    assert refused(form, body, signed(form, body)) == 400


def test_another_kind_of_body_is_not_read():
    body = body_of("github")
    assert (
        refused("github", body, signed("github", body) | {"Content-Type": "application/x-www-form-urlencoded"}) == 415
    )
    assert taken("github", body, signed("github", body) | {"Content-Type": "Application/JSON; charset=utf-8"}).pushed


@pytest.mark.parametrize(
    ("form", "event"), [("github", "ping"), ("github", "issues"), ("gitea", "release"), ("gitlab", "Note Hook")]
)
def test_what_is_no_push_is_no_push(form, event):
    assert not taken(form, body_of(form), signed(form, body_of(form), event=event)).pushed


SAME = [
    "https://git.example/team/web",
    "https://git.example/team/web.git",
    "https://git.example/team/web.git/",
    "https://GIT.example:8443/Team/web.git",
    "http://git.example/team/web",
    "ssh://git@git.example/team/web.git",
    "ssh://git@git.example:2222/team/web",
    "git@git.example:team/web.git",
    "git.example:/team/web.git",
    "git://git.example/team/web",
]
OTHERS = ["https://git.example/team/web2", "https://git.example/web", "https://other.example/team/web", "/team/web"]


def test_one_repository_is_the_same_however_it_is_addressed():
    assert {place(url) for url in SAME} == {"git.example/team/web"}
    assert not {place(url) for url in OTHERS} & {"git.example/team/web"}
    assert place("/srv/git/web.git") == place("file:///srv/git/web") == "/srv/git/web"


@pytest.mark.parametrize(
    "url", ["", "/", "web", "https://git.example", "https://git.example/", ".git", "https:///.git"]
)
def test_what_is_no_address_is_no_repository(url):
    assert place(url) == ""


@given(st.text(max_size=200))
def test_any_text_at_all_has_a_place_or_none(text):
    place(text)


class Time:
    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


def test_a_delivery_is_known_again_for_ten_minutes():
    time = Time()
    seen = Seen(time)
    assert not seen.before(["a"])
    time.at = 599
    assert seen.before(["a"])
    time.at = 601
    assert not seen.before(["a"])


def test_each_of_its_marks_tells_a_delivery():
    seen = Seen(Time())
    assert not seen.before(["id 1", "body x"])
    assert seen.before(["id 2", "body x"])
    assert seen.before(["id 1", "body y"])
    assert not seen.before(["id 3", "body z"])


def test_what_is_remembered_is_bounded_and_the_oldest_go_first():
    seen = Seen(Time())
    for number in range(10_000):
        assert not seen.before([str(number)])
    assert len(seen._until) <= 4096
    assert seen.before(["9999"])
    assert not seen.before(["0"])


def test_a_secret_that_others_may_read_or_that_is_too_short_is_refused(tmp_path):
    file = tmp_path / "secret"
    with pytest.raises(BadInput, match="cannot be read"):
        key_of(str(file))
    file.write_bytes(KEY + b"\n")
    file.chmod(0o600)
    assert key_of(str(file)) == KEY
    file.chmod(0o640)
    with pytest.raises(Refused, match="others may read"):
        key_of(str(file))
    file.chmod(0o600)
    for bad in (b"", b"short\n", b"x" * 1025):
        file.write_bytes(bad)
        with pytest.raises(BadInput, match="16 to 1024"):
            key_of(str(file))


class Supervisor:
    """What webhooks need of one: some watches, and which of them were woken."""

    def __init__(self, *urls):
        watches = [Watch(name=f"w{n}", url=url) for n, url in enumerate(urls)]
        self.watches = [Listed(kept=Kept(watch=w, origin="file"), remote=Remote(url=w.url), refs=()) for w in watches]
        self.woken = []

    async def list(self):
        return self.watches

    async def wake(self, url=""):
        self.woken.append(url)
        return 1


@contextlib.asynccontextmanager
async def _served(hooks):
    runner = await listen(application(hooks.routes()), "127.0.0.1:0")
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@pytest.fixture
def door(secret):
    """A supervisor, its webhooks, and a function that posts to them."""
    supervisor = Supervisor("https://git.example/team/web.git", "ssh://git@git.example/team/web", "/srv/other.git")
    said = []
    hooks = Hooks(supervisor, str(secret), Clock(lambda: NOW), said.append)
    hooks.said = said
    with Background(lambda: _served(hooks)) as port:

        def post(form, body, named, method="POST"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.closing(connection):
                connection.request(method, f"/hooks/{form}", body, named)
                answer = connection.getresponse()
                content = answer.read()
                return answer.status, json.loads(content) if content[:1] == b"{" else content

        yield supervisor, hooks, post


@pytest.mark.parametrize("form", FORMS)
def test_every_watch_of_the_repository_is_woken_and_no_other(door, form):
    supervisor, hooks, post = door
    body = body_of(form)
    assert post(form, body, signed(form, body)) == (202, {"outcome": "woken", "watches": 2})
    assert supervisor.woken == ["https://git.example/team/web.git", "ssh://git@git.example/team/web"]
    assert hooks.counts == {(form, "woken"): 1}


@pytest.mark.parametrize("form", FORMS)
def test_a_delivery_that_is_sent_again_wakes_nobody(door, form):
    supervisor, _, post = door
    body = body_of(form)
    assert post(form, body, signed(form, body))[1]["outcome"] == "woken"
    assert post(form, body, signed(form, body))[1] == {"outcome": "repeated", "watches": 0}
    if form != "generic":  # its id is signed
        assert post(form, body, signed(form, body, ident="d-2"))[1]["outcome"] == "repeated"
    assert len(supervisor.woken) == 2


def test_a_refused_delivery_is_counted_and_is_not_remembered(door):
    supervisor, hooks, post = door
    body = body_of("github")
    assert post("github", body, signed("github", body, key=b"x" * 20)) == (401, {"error": "the signature is not right"})
    assert (supervisor.woken, hooks.counts) == ([], {("github", "refused"): 1})
    assert post("github", body, signed("github", body))[1]["outcome"] == "woken"


def test_a_repository_that_nobody_watches_wakes_nobody_least_of_all_everybody(door):
    supervisor, _, post = door
    for url in ("https://git.example/team/unknown.git", "", "/"):
        body = json.dumps({"url": url}).encode()
        assert post("generic", body, signed("generic", body, ident=url or "none"))[1]["outcome"] == "ignored"
    assert supervisor.woken == []


def test_a_body_beyond_the_limit_is_refused_before_it_is_judged(door):
    supervisor, hooks, post = door
    body = json.dumps(PUSH["github"] | {"pad": "x" * MAX_BODY}).encode()
    assert post("github", body, signed("github", body))[0] == 413
    assert (supervisor.woken, hooks.counts) == ([], {})


def test_only_posts_to_the_forms_there_are_are_answered(door):
    _, _, post = door
    assert post("github", None, {}, method="GET")[0] == 405
    assert post("nope", b"{}", {})[0] == 404


def test_a_secret_that_was_changed_counts_at_once_and_one_that_is_gone_is_told(door, secret):
    _, hooks, post = door
    body, new = body_of("github"), b"a new key of some length"
    secret.write_bytes(new)
    assert post("github", body, signed("github", body))[0] == 401
    assert post("github", body, signed("github", body, key=new))[0] == 202
    secret.unlink()
    assert post("github", body, signed("github", body, key=new))[0] == 503
    assert "cannot be read" in hooks.said[0]


def test_the_key_is_compared_in_constant_time(monkeypatch):
    """Every comparison of what was sent goes through hmac.compare_digest: without it nothing is believed."""
    from requisition.services.watch import webhook

    monkeypatch.setattr(webhook.hmac, "compare_digest", lambda a, b: False)
    for form in FORMS:
        assert refused(form, body_of(form), signed(form, body_of(form))) == 401


def test_the_digest_of_the_body_is_what_is_remembered_not_the_body():
    body = body_of("github")
    marks = taken("github", body, signed("github", body)).marks
    assert marks == ("github d-1", f"github {hashlib.sha256(body).hexdigest()}")
