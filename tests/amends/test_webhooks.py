"""Webhooks: signed, retried, at least once under one key, and nobody is told more than they asked for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from amends.cli.output import Screen
from amends.errors import BadInput, Waiting
from amends.governor.settings import read_settings
from amends.governor.upkeep.doctor import examine
from amends.governor.webhooks import delivering, sending
from amends.governor.webhooks.messages import EVENTS, event_of
from amends.governor.workspace import Workspace
from amends.ledger import audit
from amends.ledger.actions import Action

SECRET = "a secret that both sides know"
TOKEN = "T0KEN-in-the-path"
FAST = (0.0, 0.0)


@pytest.fixture
def receiver(monkeypatch):
    """Run a receiver; `answers` are the statuses it gives in turn, then 204; `got` is what it was sent."""
    got, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(SimpleNamespace(path=self.path, headers=self.headers, body=body, told=json.loads(body)))
            self.send_response(answers.pop(0) if answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *said):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield SimpleNamespace(got=got, answers=answers, url=f"http://127.0.0.1:{server.server_port}/{TOKEN}", server=server)
    server.shutdown()
    server.server_close()


def table(url, name="chat", **more):
    lines = {"name": name, "url": url, "secret_env": "HOOK_SECRET", "allow_http": True, **more}
    return "\n[[webhooks]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def configure(workspace, text):
    """Add to a workspace's settings, and open it again as the next process does."""
    file = workspace.home / "amends.toml"
    file.write_text(file.read_text() + text)
    return Workspace(workspace.home, workspace.token)


@pytest.fixture
def hooked(small_workspace, receiver):
    """Return a workspace that tells the receiver of cases and aliases."""
    workspace = configure(small_workspace, table(receiver.url))
    yield workspace
    workspace.close()


def write(workspace, id, action=Action.CASE_STARTED, **body):
    with workspace.database.transaction() as connection:
        return workspace.record(connection, id, action, body)


def deliver(workspace):
    (outcome,) = delivering.deliver(workspace.database, workspace.settings.webhooks, FAST)
    return outcome


def ids(receiver):
    return [one.told["id"] for one in receiver.got]


def test_a_receiver_is_told_with_a_signature_that_it_can_check(hooked, receiver):
    entry = write(hooked, "c-1:alias:champion", Action.ALIAS_MOVED, model="bot", alias="champion", old=1, new=2)
    assert deliver(hooked) == delivering.Outcome("chat", 1, 0)
    (sent,) = receiver.got
    assert sent.told == {
        "id": entry.id, "event": "alias.moved", "at": entry.at, "entry": entry.seq, "hash": entry.hash, "case": "c-1",
        "facts": {"model": "bot", "alias": "champion", "old": 1, "new": 2},
    }  # fmt: skip
    assert (sent.headers["X-Amends-Event"], sent.headers["Idempotency-Key"]) == ("alias.moved", entry.id)
    signed = f"{entry.id}.{sent.headers['X-Amends-Timestamp']}.".encode() + sent.body
    mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert sent.headers["X-Amends-Signature"] == f"v1,{base64.b64encode(mac).decode()}"


def test_a_receiver_of_two_lines_hears_of_a_quarantine_without_its_reason_and_of_no_case_where_there_is_none(
    hooked, receiver
):
    body = {"model": "bot", "version": 2, "digest": "d" * 64, "reason": "it answers with Ada's secret"}
    write(hooked, "quarantine:bot@2:0", Action.MODEL_QUARANTINED, **body)
    write(hooked, "diverged:k:0:d", Action.ALIAS_DIVERGED, model="bot")
    deliver(hooked)
    aside, diverged = (one.told for one in receiver.got)
    assert (aside["event"], aside["case"]) == ("version.quarantined", None)
    assert aside["facts"] == {"model": "bot", "version": 2, "digest": "d" * 64}
    assert (diverged["event"], diverged["case"]) == ("alias.diverged", None)


def test_an_answer_of_500_is_asked_again_under_the_same_key(hooked, receiver):
    write(hooked, "c-1:started:1")
    receiver.answers += [500, 503]
    assert deliver(hooked) == delivering.Outcome("chat", 1, 0)
    assert [one.headers["Idempotency-Key"] for one in receiver.got] == ["c-1:started:1"] * 3
    assert len({one.body for one in receiver.got}) == 1


def test_what_was_never_taken_is_kept_in_order_for_the_next_run(hooked, receiver):
    for number in (1, 2, 3):
        write(hooked, f"c-{number}:started:1")
    receiver.answers += [204, 500, 500, 500]
    assert deliver(hooked) == delivering.Outcome("chat", 1, 2, "it answered 500")
    assert ids(receiver) == ["c-1:started:1", *["c-2:started:1"] * 3]
    assert deliver(hooked) == delivering.Outcome("chat", 2, 0)
    assert ids(receiver)[4:] == ["c-2:started:1", "c-3:started:1"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 404])
def test_a_redirect_is_not_followed_and_a_refusal_not_asked_again_at_once(hooked, receiver, status):
    write(hooked, "c-1:started:1")
    receiver.answers += [status]
    assert deliver(hooked) == delivering.Outcome("chat", 0, 1, f"it answered {status}")
    assert [one.path for one in receiver.got] == [f"/{TOKEN}"]


def test_a_process_that_dies_before_it_delivers_leaves_that_to_the_next(hooked, receiver):
    write(hooked, "c-1:started:1")
    hooked.close()  # and nobody delivered
    following = Workspace(hooked.home)
    assert deliver(following).delivered == 1 and ids(receiver) == ["c-1:started:1"]
    following.close()


def test_a_process_that_dies_before_it_remembers_delivers_twice_under_one_key(hooked, receiver):
    entry = write(hooked, "c-1:started:1")
    deliver(hooked)
    with hooked.database.transaction() as connection:  # as it was before the first delivery was remembered
        audit.advance(connection, "webhook:chat", entry.seq - 1)
    deliver(hooked)
    assert [one.headers["Idempotency-Key"] for one in receiver.got] == ["c-1:started:1"] * 2
    assert deliver(hooked).delivered == 0 and len(receiver.got) == 2


def test_nothing_leaves_for_what_was_not_asked_for_or_never_happened(hooked, receiver):
    write(hooked, "person:p_1:added", Action.PERSON_ADDED, person="p_1")
    write(hooked, "data:1", Action.DATA_REGISTERED, name="people")
    with pytest.raises(ZeroDivisionError), hooked.database.transaction() as connection:
        hooked.record(connection, "c-1:started:1", Action.CASE_STARTED, {})
        raise ZeroDivisionError
    assert deliver(hooked) == delivering.Outcome("chat", 0, 0) and not receiver.got


def test_a_new_receiver_is_told_of_all_that_is_written_since_and_of_nothing_before(small_workspace, receiver):
    write(small_workspace, "c-1:started:1")
    small_workspace.close()
    workspace = configure(small_workspace, table(receiver.url))
    write(workspace, "c-2:started:1")
    deliver(workspace)
    assert ids(receiver) == ["c-2:started:1"]
    workspace.close()


def test_no_person_and_no_pseudonym_leaves(hooked, receiver):
    body = {"subject": "s_0123456789abcdef", "person": "p_7", "record": "r-7", "reason": "Ada Quill asked", "plan": "d"}
    write(hooked, "c-1:planned:1", Action.CASE_PLANNED, **body, outcome={"name": "Ada Quill"}, policy="Ada " * 99)
    deliver(hooked)
    (sent,) = receiver.got
    assert sent.told["facts"] == {"plan": "d"}
    for private in ("s_0123", "p_7", "r-7", "Ada", hooked.actor.id, hooked.actor.name):
        assert private not in sent.body.decode()


def test_one_that_fails_leaves_the_others_their_turn(small_workspace, receiver):
    text = table("http://127.0.0.1:9/", "down") + table(receiver.url, "up", events=["case.work.*"])
    workspace = configure(small_workspace, text)
    write(workspace, "c-1:started:1")
    down, up = delivering.deliver(workspace.database, workspace.settings.webhooks, ())
    assert (down.waiting, up.delivered) == (1, 1)
    assert down.trouble == "it cannot be reached (ConnectionRefusedError)"
    workspace.close()


@pytest.mark.parametrize("secret", ["", "too short"])
def test_nothing_is_sent_without_a_secret(hooked, receiver, monkeypatch, secret):
    monkeypatch.setenv("HOOK_SECRET", secret)
    write(hooked, "c-1:started:1")
    assert deliver(hooked).trouble == "HOOK_SECRET must hold the secret of chat, 16 letters or more"
    assert not receiver.got
    looked = {check.name: check for check in examine(hooked.home)}["webhooks"]
    assert looked.state == "broken" and "HOOK_SECRET" in looked.sentence


def test_the_doctor_names_who_is_behind(hooked):
    write(hooked, "c-1:started:1")
    looked = {check.name: check for check in examine(hooked.home)}["webhooks"]
    assert (looked.state, looked.sentence) == ("warn", "events wait: 1 for chat")


def test_a_workspace_says_who_was_not_told_and_asks_them_no_more_in_this_process(hooked, receiver):
    said = []
    hooked.say = said.append
    receiver.answers += [400]
    write(hooked, "c-1:started:1")
    assert hooked.has_news
    hooked.deliver()
    hooked.deliver()
    assert said == ["chat was not told: it answered 400; 1 events wait for it"] and len(receiver.got) == 1


def test_a_command_that_ends_with_a_refusal_has_told_what_it_wrote(hooked, receiver, monkeypatch):
    monkeypatch.setenv("AMENDS_HOME", str(hooked.home))
    monkeypatch.setenv("AMENDS_TOKEN", hooked.token)
    with pytest.raises(Waiting), Screen().workspace() as workspace:
        write(workspace, "c-1:opened", Action.ERASURE_OPENED)
        raise Waiting("two people have to approve")
    assert ids(receiver) == ["c-1:opened"]


HTTPS = 'url = "https://host/x"\nsecret_env = "S"\n'
BAD = [
    ('url = "http://host/x"\nsecret_env = "S"\n', "must begin with https://; where http is safe, set allow_http"),
    ('url = "ftp://host/x"\nsecret_env = "S"\nallow_http = true\n', "must begin with https://"),
    ('url = "https://me:word@host/x"\nsecret_env = "S"\n', "without a password in it"),
    ('url = "https:///x"\nsecret_env = "S"\n', "an address such as https://host/path"),
    ('url = "https://host:port/x"\nsecret_env = "S"\n', "an address such as https://host/path"),
    ('url = "https://host/x"\n', "needs a secret_env"),
    ('secret_env = "S"\n', "needs a url"),
    (f'{HTTPS}secret = "word"\n', "unknown key 'secret'"),
    (f"{HTTPS}events = 'case.*'\n", "events must be list, not str"),
    (f"{HTTPS}events = []\n", "wants no event"),
    (f'{HTTPS}events = ["cases.*"]\n', r"no event is called 'cases\.\*'; there are alias\.diverged, alias\.moved"),
    (f"{HTTPS}[[webhooks]]\n{HTTPS}", "two webhooks are called 'host'"),
    (f'{HTTPS}name = "a b"\n', "a name must be letters"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_settings_that_will_not_do_are_refused_with_the_way_out(tmp_path, text, sentence):
    (tmp_path / "amends.toml").write_text(f"[[webhooks]]\n{text}")
    with pytest.raises(BadInput, match=sentence) as told:
        read_settings(tmp_path)
    assert "word@" not in str(told.value) and "/x" not in str(told.value).removeprefix(str(tmp_path))


def test_one_table_of_two_lines_is_enough(tmp_path):
    (tmp_path / "amends.toml").write_text(f"[[webhooks]]\n{HTTPS}")
    (found,) = read_settings(tmp_path).webhooks
    assert (found.name, found.place, found.events) == ("host", "https://host", ("case.*", "alias.*", "version.*"))
    assert found.wants("case.plan.made") and found.wants("alias.moved") and not found.wants("people.person.added")


def test_every_action_is_an_event_of_its_own():
    assert len(EVENTS) == len(Action) and event_of("model:alias:moved") == "alias.moved"


def test_the_commands_list_test_and_deliver_and_never_show_a_secret(make_shell, tmp_path, receiver):
    shell = make_shell(tmp_path / "home", "Ada", Otto="operator", Axel="auditor")
    with (shell.home / "amends.toml").open("a") as file:
        file.write(table(receiver.url, events=["people.*"]))
    assert shell.json("webhooks", "list")[0] | {"place": ""} == {
        "name": "chat", "place": "", "events": ["people.*"], "secret_env": "HOOK_SECRET", "has_secret": True,
        "waiting": 0,
    }  # fmt: skip
    assert shell("webhooks", "test", "chat").exit_code == 0
    assert [one.told["event"] for one in receiver.got] == ["webhooks.test"]
    receiver.answers += [404, 404]
    said = [shell("people", "add", "Dora", "--role", "dpo")]  # works, and says that the receiver did not take it
    assert said[0].exit_code == 0 and "chat was not told: it answered 404" in said[0].stderr
    said += [shell("webhooks", "test"), shell("webhooks", "list"), shell("webhooks", "list", "--json")]
    assert [one.exit_code for one in said] == [0, 1, 0, 0] and '"waiting": 1' in said[-1].stdout
    said += [shell("webhooks", "deliver"), shell("webhooks", "test", "nobody"), shell("webhooks", "test", as_="Axel")]
    assert [one.exit_code for one in said[4:]] == [0, 2, 1]
    assert receiver.got[-1].told["event"] == "people.person.added"
    for one in said:
        assert SECRET not in one.output and TOKEN not in one.output


def test_a_receiver_that_is_down_fails_no_command(make_shell, tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(sending, "PAUSES", ())
    shell = make_shell(tmp_path / "home", "Ada")
    with (shell.home / "amends.toml").open("a") as file:
        file.write(table(f"http://127.0.0.1:9/{TOKEN}", events=["people.*"]))
    done = shell("people", "add", "Otto", "--role", "operator")
    assert done.exit_code == 0 and "chat was not told: it cannot be reached (ConnectionRefusedError)" in done.stderr
    told = shell("webhooks", "deliver")
    assert told.exit_code == 1 and TOKEN not in told.output
