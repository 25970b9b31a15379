"""Change what devices answer, over stand-ins of the programs ssh and adb."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import Draw, changed_json, changed_text
from fuzz.readers.reader import Reader, Seeds, data_files
from fuzz.seeds import answers_of_devices

_FAST = ("--rounds", "1", "--num-runs", "2", "--min-secs", "0")
_STATUS = st.sampled_from((0,) * 9 + (1, 2, 127, 137, 255))


def _ssh(seeds: Seeds) -> st.SearchStrategy[Case]:
    answers = answers_of_devices()["ssh"]

    @st.composite
    def case(draw: Draw) -> Case:
        do = draw(st.sampled_from((*answers, "work", "work", "work", "hello")))
        lines: dict[str, Any] = {one: {"line": json.dumps(answer)} for one, answer in answers.items()}
        value = answers[do]
        if do == "work" and draw(st.integers(0, 3)):  # the worker's own answer is JSON inside the answer
            inner = draw(changed_json(json.loads(value["stdout"]))).decode(errors="replace")
            line = json.dumps({**value, "stdout": inner})
        else:
            line = draw(changed_json(value)).decode(errors="replace").replace("\n", " ")
        lines[do] = {"line": line, "status": draw(_STATUS), "stderr": draw(_SAID)}
        return _case(seeds, "ssh:board", {"ssh": lines}, draw)

    return case()


_SAID = st.sampled_from(("", "", "", "\x1b[2J\nconnection\n", "edgeseg-found Python 3.8", "x" * 5000, "\udcff"))


def _adb(seeds: Seeds) -> st.SearchStrategy[Case]:
    return _phone(("run", "run", "run", "properties"), lambda programs, draw: _case(seeds, "adb", programs, draw))


def _adb_verify(seeds: Seeds) -> st.SearchStrategy[Case]:
    files = {name.rpartition("/")[2]: content for name, content in data_files(seeds, "proven/").items()}
    command = ("verify", "mini.fp32.tflite", "--device", "adb", "--accelerator", "gpu", "--repeat", "1")
    often = ("fed", "fed", "fed", "size", "data")
    return _phone(often, lambda programs, _: Case(command=command, files=files, programs=programs))


def _phone(often: tuple[str, ...], of: Callable[[dict[str, Any], Draw], Case]) -> st.SearchStrategy[Case]:
    """Have a phone lie to one question, to those of ``often`` more than to others."""
    answers = answers_of_devices()["adb"]

    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(st.sampled_from((*answers, *often)))
        texts: dict[str, Any] = {one: {"text": text} for one, text in answers.items()}
        text = draw(changed_text(answers[name])).decode(errors="replace")
        texts[name] = {"text": text, "status": draw(_STATUS)}
        return of({"adb": texts}, draw)

    return case()


def _case(seeds: Seeds, device: str, programs: dict[str, Any], draw: Draw) -> Case:
    form = draw(st.sampled_from((("--output", "out.json"), ("--json",))))
    command = ("benchmark", "model.tflite", "--device", device, *_FAST, *form)
    return Case(command=command, files={"model.tflite": seeds["model.tflite"]}, programs=programs)


READERS = {"ssh": Reader(3, _ssh), "adb": Reader(3, _adb), "adb-verify": Reader(3, _adb_verify)}
