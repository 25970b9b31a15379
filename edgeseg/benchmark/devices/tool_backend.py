"""Run a TFLite model with the ``benchmark_model`` of a device, each run a process of the tool.

The file says by itself what its tensors are: this computer needs no runtime. Repeats of an image are processes of the
tool, and a process has one image only. What a process of edgeseg shows by its later runs, an accelerator that is right
at first and wrong from then on, is shown here by the number of inferences that are made before the output is taken:
the first time that an image is run, one without warm-up; later times more of them. What a process of edgeseg shows by
its changing order, an accelerator that keeps something of the image before, cannot be shown here.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg._internal.json import WrongValue, convert
from edgeseg.benchmark.devices import benchmark_model
from edgeseg.benchmark.devices.adb_client import Folder
from edgeseg.benchmark.result import check_coverage
from edgeseg.benchmark.worker import Request
from edgeseg.choices import Precision
from edgeseg.errors import DeviceLost, EdgesegError, InputError
from edgeseg.proof.answering import precision_of, require_taken
from edgeseg.runtime.artifact import read_tflite, tflite_tensors
from edgeseg.runtime.base import is_open, require_memory
from edgeseg.runtime.options import RuntimeOptions

#: Inferences before the output is taken, by how often the image was run before; then from the second on again. With a
#: repeat of 5 the last is after the most. Odd and even ones: with two buffers in turns every other output is wrong.
INFERENCES = (1, 2, 3, 5, 8)

# Seconds that the inferences of a process may take together: 8 of a model of a minute each on a small phone.
_MAX_SECS = 600.0


class Link(Protocol):
    """A device with the tool; the methods raise what ``Device.run`` raises.

    Attributes:
        name: of the device, for messages.
        folder: what is put on it.
    """

    name: str
    folder: Folder

    @property
    def runtime(self) -> str:
        """Whose tool it is, and which build."""
        ...

    def put(self, path: Path, digest: str) -> str:
        """Copy a model to the device unless it is there; return its path there."""
        ...

    def half_arithmetic(self, content: bytes, precision: Precision, options: Mapping[str, Any]) -> bool | None:
        """Return whether the device's CPU computes a model in half precision; ``None`` where that is not known."""
        ...

    def execute(self, request: Request, more: Mapping[str, object]) -> tuple[str, str]:
        """Run the tool with more flags; return what it prints, and ``cpu`` or what else runs the model."""
        ...


class ToolBackend:
    """A TFLite model on a device that has ``benchmark_model``; a ``Backend``.

    Attributes:
        runtime: which tool it is.
        spec: the ModelSpec inside the file, ``None`` when there is none.
        inputs: the model's inputs.
        outputs: the model's outputs.
        fully_accelerated: whether the accelerator ran every node in each run; ``None`` where the tool does not say.
        coverage: ``(delegated, total)`` nodes of the run with fewest, where it is known.
        half_arithmetic: whether the CPU computes in half precision; ``None`` where that is not known, as on a GPU.
    """

    def __init__(self, artifact: Path, options: Mapping[str, Any], link: Link) -> None:
        """Read a model and copy it to the device.

        Args:
            artifact: a ``.tflite`` file of this computer.
            options: keywords of ``edgeseg.runtime.open_backend``.
            link: the device.

        Raises:
            InputError: the file is no model that the tool can be fed, or an option is wrong.
            DeviceLost: the device went away.
        """
        RuntimeOptions(**options).choose(artifact)
        self._what, content, self.spec = read_tflite(artifact)
        self._path = link.put(artifact, sha256(content))
        self.inputs, self.outputs = tflite_tensors(self._what, content)
        if len(self.inputs) != 1:
            raise InputError(f"{self._what} has {len(self.inputs)} inputs; over adb a model of one can be fed.")
        for output in self.outputs:
            if is_open(output.shape):
                raise InputError(
                    f"{self._what} leaves the size of its output '{output.name}' open, {output.shape}: over adb it is "
                    "not known how much to read. Convert the model at a fixed size (edgeseg export --imgsz H,W)."
                )
        require_memory(self._what, *self.inputs, *self.outputs)
        self._options, self._link = dict(options), link
        self._sent: dict[str, str] = {}
        self._times: Counter[str] = Counter()
        self._processes = 0
        self._last = np.zeros(0)
        self.runtime = link.runtime
        self.fully_accelerated: bool | None = None
        self.coverage: tuple[int, int] | None = None
        self.half_arithmetic = link.half_arithmetic(
            content, precision_of(self.spec, *self.inputs, *self.outputs), options
        )

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once, which is as many inferences as ``INFERENCES`` says; see ``Backend.run``."""
        digest = self._feed(image)
        times = self._times[digest]
        self._times[digest] += 1
        later = len(INFERENCES) - 1
        return self._infer(digest, INFERENCES[times if times <= later else 1 + (times - 1) % later])

    def run_several(self, image: NDArray[Any], num_runs: int) -> NDArray[Any]:
        """Run a number of inferences in one process, and return the last output."""
        return self._infer(self._feed(image), num_runs)

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self.run(self._last)

    def close(self) -> None:
        """Remove from the device what the model was fed with."""
        # On a device that went away nothing can be removed, and the error that said so is on its way.
        with contextlib.suppress(EdgesegError):
            for name in self._sent.values():
                self._link.folder.remove(name)
        self._sent.clear()

    def _feed(self, image: NDArray[Any]) -> str:
        """Send a tensor unless it is there; return its digest."""
        require_taken(self._what, self.inputs[0], image)
        # A phone's memory is little-endian, whatever this computer's is.
        data = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).tobytes()
        digest = sha256(data)
        if digest not in self._sent:
            name = f"{digest[:16]}.input"
            self._link.folder.write(data, name)
            self._sent[digest] = name
        self._last = image
        return digest

    def _infer(self, digest: str, num_runs: int) -> NDArray[Any]:
        self._processes += 1
        output = f"{self._processes}.output"
        request = Request(
            path=self._path,
            options=self._options,
            warmup_runs=0,
            warmup_min_secs=0.0,
            num_runs=num_runs,
            min_secs=0.0,
            max_secs=_MAX_SECS,
        )
        files = {
            "input_layer": "image",
            "input_layer_shape": ",".join(str(abs(side)) for side in self.inputs[0].shape),
            "input_layer_value_files": f"image:{self._link.folder.path_of(self._sent[digest])}",
            "output_filepath": self._link.folder.path_of(output),
        }
        text, accelerator = self._link.execute(request, files)
        try:
            self._note(benchmark_model.require_run(text, accelerator, num_runs))
        except EdgesegError as error:
            raise type(error)(f"{self._link.name}: {error}") from error
        sizes = [math.prod(map(abs, o.shape)) * np.dtype(o.dtype).itemsize for o in self.outputs]
        data = self._link.folder.read(output, size=sum(sizes), what=f"the output of {self._what}")
        self._link.folder.remove(output)
        first = self.outputs[0]
        shape = tuple(map(abs, first.shape))
        return np.frombuffer(data[: sizes[0]], np.dtype(first.dtype).newbyteorder("<")).reshape(shape)

    def _note(self, placement: benchmark_model.Placement) -> None:
        """Keep the least that the accelerator took in any run."""
        try:
            placement = convert(asdict(placement), benchmark_model.Placement)
            check_coverage(placement.coverage)
        except WrongValue as error:
            raise DeviceLost(f"what benchmark_model reports cannot be right: {error}.") from error
        full = (self.fully_accelerated, placement.fully_accelerated)
        self.fully_accelerated = False if False in full else placement.fully_accelerated
        known = [coverage for coverage in (self.coverage, placement.coverage) if coverage is not None]
        self.coverage = min(known, default=None)
