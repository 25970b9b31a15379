"""Ask LiteRT's GPU accelerator about models in a separate process, so that a driver's crash is not the caller's."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgeseg._internal.json import Meta, WrongValue, decode
from edgeseg.runtime.process import child
from edgeseg.runtime.process.gpu_worker import ANSWER, MARK
from edgeseg.tflite.cpu import NO_LSE, Cpu

# Loading the weights of the largest zoo model takes SwiftShader seconds; a driver that hangs never answers.
_TIMEOUT_S = 300

_ADAPTER = re.compile(r"Selected adapter: ([^,\n]+).*?backend=(\w+)")
_REFUSED = re.compile(r"^(?:CUSTOM )?(\w+): ?(.*)$")
_ON_GPU = re.compile(r"^(\d+|No) operations will run on the GPU", re.MULTILINE)
_BEGIN = "Following operations are not supported by GPU delegate:"


@dataclass(frozen=True)
class GpuReply:
    """The accelerator's answer about one model.

    Attributes:
        full: whether it takes the whole model; ``None`` when the model did not open.
        error: why it did not open.
        log: what the runtime logged about this model.
    """

    full: bool | None
    error: str
    log: str

    @property
    def adapter(self) -> str | None:
        """The adapter that it ran on, as the driver names itself: ``SwiftShader Device (Subzero), Vulkan``."""
        match = _ADAPTER.search(self.log)
        return f"{match[1]}, {match[2]}" if match else None

    @property
    def no_driver(self) -> bool:
        """Whether there is no driver at all."""
        return "No adapters found" in self.log

    @property
    def refused(self) -> dict[str, str]:
        """Op to the first reason in the log, for the ops that are refused somewhere in the model."""
        lines = self.log.partition(_BEGIN)[2].partition("operations will run on the")[0].splitlines()
        reasons: dict[str, str] = {}
        for match in filter(None, map(_REFUSED.match, lines)):
            reasons.setdefault(match[1], match[2].strip().rstrip("."))
        return reasons

    @property
    def on_gpu(self) -> int | None:
        """The number of nodes that run on the GPU."""
        match = _ON_GPU.search(self.log)
        if match is None:
            return None
        return 0 if match[1] == "No" else int(match[1])


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """A line of ``gpu_worker``."""

    full: bool | None = None
    error: Annotated[str, Meta(max_length=1 << 20)] = ""


def ask_gpu(models: Sequence[bytes], environment: Mapping[str, str]) -> list[GpuReply]:
    """Ask about models in one separate process; after a crash the remaining models have no answer.

    Args:
        models: whole ``.tflite`` files.
        environment: the variables of that process, through which it finds a driver.
    """
    if not models:
        return []
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        paths = []
        for index, model in enumerate(models):
            paths.append(str(Path(folder) / f"{index}.tflite"))
            Path(paths[-1]).write_bytes(model)
        worker = Path(__file__).with_name("gpu_worker.py")
        ended = child.run(worker, paths, environment=environment, timeout_s=_TIMEOUT_S)
    if ended.status is None:
        return [GpuReply(None, ended.how, "")] * len(models)
    logs = ended.stderr.split(MARK)[1:]
    lines = [line for line in ended.stdout.splitlines() if line.startswith(ANSWER)]
    replies = []
    for line, log in zip(lines, logs, strict=False):
        try:
            answer = decode(line.removeprefix(ANSWER), _Answer)
        except WrongValue as error:
            answer = _Answer(error=f"its answer is not understood: {error}")
        # A model that is taken in part does not open on the GPU alone, and the log says so before the error.
        full = False if _ON_GPU.search(log) else answer.full
        replies.append(GpuReply(full, " ".join(answer.error.split()), log))
    if len(replies) < len(models):
        last = logs[-1] if logs else ended.stderr
        missing = len(models) - len(replies)
        why = NO_LSE if Cpu.here().lse is False else f"the process that asked it ended early, {ended.how}"
        replies += [GpuReply(None, why, last)] * missing
    return replies
