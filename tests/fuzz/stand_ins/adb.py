"""Stands in for ``adb``: says to each question what ``answers.json`` has for it."""

import json
import sys
from pathlib import Path

answers = json.loads(Path(sys.argv[0]).absolute().with_name("answers.json").read_text())
script = sys.argv[-1]
questions = (
    *(("getprop", "properties"), ("--help", "usage"), ("sha256sum", "digest"), ("--output_filepath", "fed")),
    *(("exec", "run"), ("wc -c", "size"), ("cat ", "data")),
)
name = next((name for part, name in questions if part in script), "other")
if sys.argv[1] == "devices":
    name = "devices"
answer = answers["adb"].get(name, {"text": ""})
sys.stdout.buffer.write(answer["text"].encode("utf-8", "surrogatepass"))
sys.exit(answer.get("status", 0))
