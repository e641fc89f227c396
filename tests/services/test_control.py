"""The socket of a service, and clients of every kind: the one that is meant, the mistaken and the hostile."""

import asyncio
import gc
import json
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from requisition.schemas.diagnostic import Conflicted, Failed, Refused
from requisition.services import control as service
from requisition.services.control import Control
from requisition.stdlib.control import MAX_REQUEST, Answered, ask, default_socket, items
from support.background import Background


class Verbs:
    """What a service might offer; `closed` is set when a stream that never ends was given up."""

    def __init__(self):
        self.closed = threading.Event()
        self.said = []
        self.release = threading.Event()

    async def echo(self, args):
        return args

    async def count(self, args):
        for number in range(args["to"]):
            yield number

    async def forever(self, args):
        try:
            yield "begun"
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def refuse(self, args):
        raise Conflicted.of("it is taken", where="there", why="somebody was first", next="choose another")

    async def break_down(self, args):
        raise RuntimeError("a mistake of ours")

    async def time_out(self, args):
        raise TimeoutError("of the verb itself")

    async def flood(self, args):
        while True:
            yield "x" * 65536

    def all(self):
        names = ("echo", "count", "forever", "refuse", "break_down", "time_out", "flood")
        return {name: getattr(self, name) for name in names}


@pytest.fixture
def verbs():
    return Verbs()


@pytest.fixture
def path(tmp_path, verbs):
    place = str(tmp_path / "run/x.sock")
    with Background(lambda: Control(place, verbs.all(), verbs.said.append)):
        yield place


@pytest.fixture
def impatient(monkeypatch):
    """A service that waits for a tenth of a second."""
    monkeypatch.setattr(service, "_PATIENCE", 0.1)


def connected(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(path)
    return client


def answers(client):
    with client, client.makefile("rb") as stream:
        return [json.loads(line) for line in stream]


def said(path, raw):
    """What a client is answered that sends these bytes and then waits."""
    client = connected(path)
    client.sendall(raw)
    return answers(client)


def line(verb, **args):
    return json.dumps({"verb": verb, "args": args}).encode() + b"\n"


def test_a_verb_is_answered_with_what_it_returns(path):
    assert ask(path, "echo", {"a": [1, "ü", None]}) == {"a": [1, "ü", None]}


def test_a_stream_is_items_and_then_done(path):
    assert said(path, line("count", to=3)) == [{"item": 0}, {"item": 1}, {"item": 2}, {"done": None}]
    assert list(items(path, "count", {"to": 2})) == [0, 1, None]


def test_a_failure_reaches_the_caller_with_its_words_and_exit_code(path):
    with pytest.raises(Answered) as caught:
        ask(path, "refuse", {})
    (found,) = caught.value.diagnostics
    assert (found.what, found.where, found.why, found.next) == (
        "it is taken", "there", "somebody was first", "choose another",
    )  # fmt: skip
    assert caught.value.exit_code == Conflicted.exit_code


@pytest.mark.parametrize("verb", ["break_down", "time_out"])
def test_a_verb_that_breaks_down_is_told_and_logged_and_the_service_goes_on(path, verbs, verb):
    with pytest.raises(Answered, match="the service failed"):
        ask(path, verb, {})
    assert "a request failed" in verbs.said[0]
    assert ask(path, "echo", {}) == {}


GARBAGE = {
    "nothing like JSON": b"\x00\xff\xfe garbage\n",
    "an empty line": b"\n",
    "not an object": b"[]\n",
    "no verb": b'{"args": {}}\n',
    "a verb that is no text": b'{"verb": 1, "args": {}}\n',
    "arguments that are no object": b'{"verb": "echo", "args": []}\n',
    "text that is no UTF-8": b'{"verb": "echo", "args": {"a": "\xff"}}\n',
    "half a character": b'{"verb": "echo", "args": {"a": "\\ud800"}}\n',
    "deep nesting": b'{"verb": "echo", "args": {"a": ' + b"[" * 20000 + b"]" * 20000 + b"}}\n",
    "two documents": b'{"verb": "echo", "args": {}} {}\n',
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_bad_input_and_the_service_goes_on(path, verbs, name):
    (answer,) = said(path, GARBAGE[name])
    assert answer["exit"] == 4
    assert answer["error"]["what"].startswith("a request is")
    assert verbs.said == []
    assert ask(path, "echo", {}) == {}


def test_an_unknown_verb_is_told_with_those_that_there_are(path):
    with pytest.raises(Answered, match=r"no verb 'exec'[\s\S]*there are break_down, count, echo"):
        ask(path, "exec", {"command": "id"})


def test_a_request_that_ends_before_its_line_does_is_bad_input(path):
    client = connected(path)
    client.sendall(b'{"verb": "echo"')
    client.shutdown(socket.SHUT_WR)
    assert answers(client)[0]["exit"] == 4


def test_a_request_of_the_largest_size_is_heard_and_one_byte_more_is_not(path):
    def sized(size):
        return line("echo", a="x" * (size - len(line("echo", a=""))))

    (answer,) = said(path, sized(MAX_REQUEST))
    assert len(answer["done"]["a"]) > MAX_REQUEST - 100
    (answer,) = said(path, sized(MAX_REQUEST + 2))
    assert answer["error"]["what"] == f"a request has at most {MAX_REQUEST} bytes"


def test_a_client_that_pours_without_end_is_cut_off_long_before_memory_is_full(path):
    client, sent = connected(path), 0
    with client, suppress(ConnectionError):
        while sent < 64 << 20:
            sent += client.send(b"x" * 65536)
    assert sent < 4 << 20
    assert ask(path, "echo", {}) == {}


def test_a_client_that_says_nothing_is_told_so_and_left(impatient, path):
    (answer,) = said(path, b"")
    assert answer["error"]["what"] == "a request comes within 0.1 s"


def test_a_client_that_does_not_read_is_cut_off(path, monkeypatch):
    monkeypatch.setattr(service, "_PATIENCE", 1.0)
    client = connected(path)
    client.sendall(line("flood"))
    with client, client.makefile("rb") as stream:
        ended = threading.Event()
        threading.Thread(target=lambda: (wait_until_gone(client), ended.set()), daemon=True).start()
        assert ended.wait(30)
        sent = stream.read()
    assert sent.startswith(b'{"item":"xxx')
    assert b'"done"' not in sent


def wait_until_gone(client):
    """Until the far end has closed, without reading what it sent."""
    poll = select.poll()
    poll.register(client, select.POLLHUP)
    poll.poll()


def test_a_caller_who_hangs_up_ends_the_stream_that_has_nothing_to_say(path, verbs):
    client = connected(path)
    client.sendall(line("forever"))
    with client.makefile("rb") as stream:
        assert json.loads(stream.readline()) == {"item": "begun"}
        assert not verbs.closed.is_set()
    client.close()
    assert verbs.closed.wait(30)


def test_more_than_sixty_four_at_once_are_sent_away_and_the_others_are_answered(path):
    waiting = [connected(path) for _ in range(64)]
    for client in waiting:
        client.sendall(line("forever"))
        client.recv(64)
    with pytest.raises(Answered, match="too many are asking at once"):
        ask(path, "echo", {})
    for client in waiting:
        client.close()
    deadline = threading.Event()
    for _ in range(300):
        try:
            assert ask(path, "echo", {}) == {}
            break
        except Answered:
            deadline.wait(0.02)
    else:
        pytest.fail("nobody was let in again")


def test_many_who_ask_one_after_the_other_and_side_by_side_all_get_their_own_answer(path):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: ask(path, "echo", {"n": n}), range(400)))
    assert [one["n"] for one in found] == list(range(400))


def test_a_long_answer_is_taken_whole_and_leaves_no_complaint(tmp_path):
    place, complaints = str(tmp_path / "x.sock"), []

    async def much(args):
        return "x" * args["size"]

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, found: complaints.append(found))
        async with Control(place, {"much": much}, complaints.append):
            for size in range(100_000, 400_000, 20_000):  # around what the kernel holds for a reader
                assert len(await asyncio.to_thread(ask, place, "much", {"size": size})) == size
        gc.collect()

    asyncio.run(main())
    assert complaints == []


def test_the_socket_and_its_folder_are_their_owners_alone(path):
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


STRANGER = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
except PermissionError:
    sys.exit("permission denied")
try:
    client.sendall(b'{"verb": "echo", "args": {}}\\n')
except BrokenPipeError:
    pass
print(client.recv(65536).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv (util-linux)")
def test_another_user_is_kept_out_by_the_modes_and_where_they_were_opened_by_name(verbs):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", sys.executable, "-I", "-c"]
    if subprocess.run([*nobody, ""], check=False, capture_output=True, cwd="/").returncode:
        pytest.skip(f"another user cannot run {sys.executable}")

    def stranger():
        return subprocess.run([*nobody, STRANGER, path], capture_output=True, text=True, check=False, cwd="/")

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/run/x.sock"
        with Background(lambda: Control(path, verbs.all(), verbs.said.append)):
            assert stranger().stderr == "permission denied\n"
            os.chmod(f"{folder}/run", 0o755)
            assert stranger().stderr == "permission denied\n"
            os.chmod(path, 0o666)
            answer = json.loads(stranger().stdout)
            assert (answer["error"]["what"], answer["exit"]) == ("this service is not yours", Refused.exit_code)


def test_the_socket_that_a_killed_service_left_is_taken_over(tmp_path, verbs):
    path = str(tmp_path / "x.sock")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    with pytest.raises(Failed, match="does not answer"):
        ask(path, "echo", {})
    with Background(lambda: Control(path, verbs.all(), verbs.said.append)):
        assert ask(path, "echo", {}) == {}
    assert not os.path.exists(path)


def test_a_second_service_is_refused_and_does_not_disturb_the_first(path, verbs):
    with pytest.raises(Conflicted, match="already running"), Background(lambda: Control(path, verbs.all(), print)):
        pass
    assert ask(path, "echo", {}) == {}


def test_a_service_that_ends_cuts_off_who_was_listening_and_another_can_begin_at_once(tmp_path, verbs):
    path = str(tmp_path / "x.sock")
    with Background(lambda: Control(path, verbs.all(), verbs.said.append)):
        stream = items(path, "forever", {})
        assert next(stream) == "begun"
    with pytest.raises(Failed, match="broke off"):
        next(stream)
    with Background(lambda: Control(path, verbs.all(), verbs.said.append)):
        assert ask(path, "echo", {}) == {}


def test_a_folder_that_others_may_write_to_is_refused(tmp_path, verbs):
    tmp_path.chmod(0o777)
    with (
        pytest.raises(Refused, match="others may change the folder"),
        Background(lambda: Control(str(tmp_path / "x.sock"), verbs.all(), print)),
    ):
        pass


def test_a_path_that_is_too_long_for_a_socket_is_told(tmp_path, verbs):
    path = str(tmp_path / ("x" * 120))
    with (
        pytest.raises(Failed, match="the socket cannot be made"),
        Background(lambda: Control(path, verbs.all(), print)),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_caller_does_not_speak_to_a_socket_of_another_user(tmp_path):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(path)
        squatter.listen()
        os.chown(path, 65534, 65534)
        with pytest.raises(Failed, match="not to be trusted"):
            ask(path, "echo", {"secret": "x"})


def test_a_caller_that_is_answered_before_it_was_heard_gets_the_answer(tmp_path):
    """As one beyond the sixty-fourth is: its request meets a closed socket."""
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            connection.sendall(b'{"error": {"what": "too many"}, "exit": 1}\n')
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Answered, match="too many"):
            ask(path, "echo", {"a": "x" * 60000})
        thread.join()


HOSTILE_SERVICES = {
    "an answer without an end": b"x" * (17 << 20),
    "nothing": b"",
    "half a line": b'{"done"',
    "no JSON": b"hello\n",
    "neither done nor error": b'{"other": 1}\n',
    "an error without words": b'{"error": {}, "exit": 1}\n',
    "an answer that is no object": b"7\n",
}


@pytest.mark.parametrize("name", HOSTILE_SERVICES)
def test_a_caller_survives_what_is_no_answer(tmp_path, name):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    connection.sendall(HOSTILE_SERVICES[name])
                except ConnectionError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Failed, match="the service broke off"):
            ask(path, "echo", {})
        thread.join()


def test_the_default_place_is_the_system_s_for_root_and_the_users_own_for_others(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_socket("watch") == "/run/requisition/watch.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_socket("watch") == "/run/user/7/requisition/watch.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_socket("watch") == "/run/user/1000/requisition/watch.sock"
