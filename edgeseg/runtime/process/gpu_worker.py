"""Ask the LiteRT GPU accelerator, as a separate process: a crash in a driver must not crash the caller.

Run as a file with the paths of models as arguments. For each model it writes one line on stderr that begins the
runtime's log about that model, and one line on stdout with a JSON object after ``ANSWER``; the runtime writes there
too. Imports nothing of edgeseg, so that it runs from any place.
"""

import json
import os
import sys

#: Begins the log on stderr about the next model.
MARK = "edgeseg asks about the next model"

#: Begins a line with an answer.
ANSWER = "edgeseg answer "


def main(paths: list[str]) -> None:
    """Ask about every model in turn."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    for path in paths:
        os.write(2, f"\n{MARK}\n".encode())
        answer: dict[str, object]
        try:
            # Without the CPU: a node that XNNPACK takes instead counts as accelerated too.
            model = CompiledModel.from_file(path, HardwareAccelerator.GPU)
            answer = {"full": model.is_fully_accelerated()}
            model.close()
        except RuntimeError as error:
            answer = {"error": str(error)}
        print(f"\n{ANSWER}{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
