"""Run a TFLite file in half precision, as a separate process: LiteRT's CompiledModel ends its process on old ARM CPUs.

Run as a file with four arguments: the model, a ``.npy`` file of its inputs ``(N, 1, H, W, 3)``, the ``.npy`` file to
write its first outputs to, and the number of threads. Where the CPU does not compute in half precision, XNNPACK
emulates it. Imports nothing of edgeseg, so that it runs from any place.
"""

import sys

import numpy as np

# XNNPACK's flag TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16. It replaces the flags that LiteRT sets itself, such as those
# for integers, which an fp16 file has none of. Read in google-ai-edge/LiteRT f674577, xnnpack_delegate.h.
_FORCE_FP16 = 4


def main(model: str, inputs: str, outputs: str, num_threads: str) -> None:
    """Run the model on each input."""
    from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options

    cpu = CpuOptions(num_threads=int(num_threads), xnnpack_flags=_FORCE_FP16)
    compiled = CompiledModel.from_file(model, options=Options(HardwareAccelerator.CPU, cpu_options=cpu))
    key = compiled.get_signature_by_index(0)["key"]
    shape = next(iter(compiled.get_output_tensor_details(key).values()))["shape"]
    given, got = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    results = []
    for tensor in np.load(inputs):
        given[0].write(tensor)
        compiled.run_by_index(0, given, got)
        results.append(got[0].read(int(np.prod(shape)), np.float32).reshape(shape))
    np.save(outputs, np.stack(results))
    for buffer in (*given, *got):
        buffer.destroy()
    compiled.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
