"""A case tells other systems of itself: a receiver that is down fails nothing, a SIEM gets the whole log."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from amends.governor.webhooks import sending
from amends.governor.webhooks.delivering import Outcome, deliver

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
CHECK, SIEM = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SECRET = "a secret that both sides know"


@pytest.fixture
def receiver(monkeypatch):
    """Return a server that is not listening yet, and the genuine messages that it got, by the check of the page."""
    got, page = [], {}
    exec(CHECK, page)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_genuine = page["is_genuine"](self.headers, body, SECRET.encode())
            got.extend([json.loads(body)] if is_genuine else [])
            self.send_response(204 if is_genuine else 403)
            self.end_headers()

        def log_message(self, *said):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr(sending, "PAUSES", ())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.got = got
    server.server_bind()  # has a port, refuses who comes
    yield server
    server.server_close()


def test_a_receiver_that_is_down_fails_no_case_and_is_told_later(untrained, told, receiver):
    address = f"http://127.0.0.1:{receiver.server_port}/"
    with (untrained.home / "amends.toml").open("a") as file:
        file.write(f'[[webhooks]]\nurl = "{address}"\nsecret_env = "HOOK_SECRET"\nallow_http = true\n')
    said, before = [], len(untrained.audit())
    untrained.workspace.say = said.append
    told.register_people(untrained)
    case, _ = untrained.train()
    assert case.status == "complete" and untrained.champion().version == 1
    refused = [sentence for sentence in said if sentence.startswith("127.0.0.1 was not told: it cannot be reached")]
    assert len(refused) == 1
    receiver.server_activate()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    since = untrained.audit()[before:]
    written = [entry for entry in since if entry.action.startswith(("case:", "model:alias:", "model:version:"))]
    (outcome,) = deliver(untrained.workspace.database, untrained.workspace.settings.webhooks)
    receiver.shutdown()
    assert outcome == Outcome("127.0.0.1", len(written), 0)
    assert [message["id"] for message in receiver.got] == [entry.id for entry in written]
    (moved,) = [message for message in receiver.got if message["event"] == "alias.moved"]
    assert (moved["case"], moved["facts"]["new"]) == (case.id, 1)


def test_the_plugin_of_the_page_hands_the_whole_log_to_a_siem(untrained, told, install, tmp_path, monkeypatch):
    install(SIEM)
    monkeypatch.setenv("SIEM_LOG", str(tmp_path / "siem.jsonl"))
    told.register_people(untrained)
    untrained.train()
    lines = [json.loads(line) for line in (tmp_path / "siem.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = untrained.audit()
    assert lines == [json.loads(json.dumps(vars(entry))) for entry in entries] and len(lines) > 5
    assert [line["previous"] for line in lines[1:]] == [line["hash"] for line in lines[:-1]]
    assert not [name for name in told.PEOPLE if name in (tmp_path / "siem.jsonl").read_text(encoding="utf-8")]
