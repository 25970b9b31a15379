"""Stands in for ``ssh``: shares a connection by a file, and says to each order what ``answers.json`` has for it."""

import json
import sys
from pathlib import Path

answers = json.loads(Path(sys.argv[0]).absolute().with_name("answers.json").read_text())
if any(argument == "ControlMaster=yes" for argument in sys.argv):
    path = Path(next(argument for argument in sys.argv if argument.startswith("ControlPath=")).partition("=")[2])
    path.touch()
    sys.stdin.buffer.read()
    path.unlink()
    sys.exit()
sys.stdin.buffer.readline()
order = json.loads(sys.stdin.buffer.readline())
answer = answers["ssh"].get(order["do"], {"line": "{}"})
sys.stderr.buffer.write(answer.get("stderr", "").encode("utf-8", "surrogatepass"))
said = order["marker"] + answer["line"] + "\n"
sys.stdout.buffer.write(said.encode("utf-8", "surrogatepass"))
sys.stdout.buffer.flush()
sys.exit(answer.get("status", 0))
