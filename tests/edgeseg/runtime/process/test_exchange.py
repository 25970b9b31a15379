"""``runtime.process.exchange``: a request and its answer, and the ways in which a process gives none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeseg._internal.json import WrongValue
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.runtime.process.exchange import ask, raise_refusal

WORKER = """
import os, sys
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime.process.exchange import answer

def work(asked):
    os.write(1, b"a native library speaks\\n")
    if asked["do"] == "die":
        os.kill(os.getpid(), 9)
    if asked["do"] == "sleep":
        import time
        time.sleep(60)
    if asked["do"] == "input":
        raise InputError("it is\\nwrong")
    if asked["do"] == "unavailable":
        raise BackendUnavailable("it is not there")
    return {"path": asked["path"]}

sys.exit(answer(work))
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    return "a_worker"


def test_an_answer_is_the_answer_alone(worker: str) -> None:
    assert json.loads(ask(worker, {"path": "m\u00fc.tflite", "do": "answer"}, 60)) == {"path": "m\u00fc.tflite"}


def test_an_error_arrives_as_it_was_raised(worker: str) -> None:
    with pytest.raises(InputError, match=r"^it is wrong$"):
        raise_refusal(ask(worker, {"path": "m", "do": "input"}, 60))
    with pytest.raises(BackendUnavailable, match=r"^it is not there$"):
        raise_refusal(ask(worker, {"path": "m", "do": "unavailable"}, 60))


def test_a_process_that_gives_no_answer_is_lost(worker: str) -> None:
    with pytest.raises(DeviceLost, match=r"that verified 'm' ended early, killed by SIGKILL"):
        ask(worker, {"path": "m", "do": "die"}, 60, doing="verified")
    with pytest.raises(DeviceLost, match=r"that measured 'm' gave no answer in 0 s and was stopped"):
        ask(worker, {"path": "m", "do": "sleep"}, 0.1)


@pytest.mark.parametrize("text", ["", "[]", '{"error": "x"}', '{"error": "x", "kind": "odd"}'])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        raise_refusal(text)
