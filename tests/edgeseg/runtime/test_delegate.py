"""A delegate that comes as a library: a real one, compiled here, that takes ABS and multiplies instead."""

from __future__ import annotations

import _ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime import open_backend
from edgeseg.segmenter import Segmenter

# The structs as TFLite's c_api_types.h and common.h have them, as far as they are used. A registration is handed over
# by value: zeros behind the fields that are known stand for those that later versions added.
SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef struct { int size; int data[]; } Ints;
typedef struct {
  int type; float* data; Ints* dims; float scale; int zero_point, allocation_type; size_t bytes;
  void *allocation, *name, *delegate; int handle; _Bool stale, variable; int kind; void *params, *sparsity, *signature;
} Tensor;
typedef struct { Ints* inputs; Ints* outputs; } Node;
struct Context; struct Delegate;
typedef struct {
  void* (*init)(struct Context*, const char*, size_t);
  void (*free)(struct Context*, void*);
  int (*prepare)(struct Context*, Node*);
  int (*invoke)(struct Context*, Node*);
  const char* (*profiling_string)(const struct Context*, const Node*);
  int32_t builtin_code; const char* custom_name; int version; void* later[16];
} Registration;
typedef struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(struct Context*, Ints**);
  Tensor* tensors; void* impl;
  void* resize; void (*ReportError)(struct Context*, const char*, ...); void* add;
  int (*GetNodeAndRegistration)(struct Context*, int, Node**, Registration**);
  int (*Replace)(struct Context*, Registration, const Ints*, struct Delegate*);
} Context;
typedef struct Delegate {
  void* data; int (*Prepare)(Context*, struct Delegate*);
  void *from, *to, *release; int64_t flags; void* opaque;
} Delegate;

static float factor = 1;
static int invoke(Context* context, Node* node) {
  Tensor* in = &context->tensors[node->inputs->data[0]];
  Tensor* out = &context->tensors[node->outputs->data[0]];
  for (size_t i = 0; i < in->bytes / sizeof(float); i++) out->data[i] = in->data[i] * factor;
  return 0;
}
static int prepare(Context* context, Delegate* delegate) {
  Ints *plan, *mine;
  context->GetExecutionPlan(context, &plan);
  mine = calloc(1, sizeof(int) * (plan->size + 1));
  for (int i = 0; i < plan->size; i++) {
    Node* node; Registration* op;
    context->GetNodeAndRegistration(context, plan->data[i], &node, &op);
    if (op->builtin_code == 101) mine->data[mine->size++] = plan->data[i];  /* ABS */
  }
  Registration kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.invoke = invoke; kernel.custom_name = "Times"; kernel.version = 1;
  int status = mine->size ? context->Replace(context, kernel, mine, delegate) : 0;
  free(mine);
  return status;
}
Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t n, void (*report)(const char*)) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(keys[i], "factor")) { report("no device of that kind"); return 0; }
    factor = atof(values[i]);
  }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = prepare;
  return delegate;
}
void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
"""

SHAPE = (1, 4, 4, 3)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: no delegate to load")
    folder = tmp_path_factory.mktemp("delegate")
    (folder / "times.c").write_text(SOURCE)
    path = folder / "libtimes.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(path), str(folder / "times.c")], check=True)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tflite_model: Callable[..., bytes]) -> Path:
    path = tmp_path_factory.mktemp("model") / "abs.tflite"
    path.write_bytes(tflite_model(["ABS", "NEG"], [(SHAPE, "float32")]))
    return path


def test_it_runs_what_it_takes_and_the_cpu_the_rest(library: str, model: Path) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)
    alone = open_backend(model)
    np.testing.assert_array_equal(alone.run(image), -np.abs(image))
    backend = open_backend(model, delegate=library, delegate_options={"factor": "3"})
    assert backend.runtime.endswith("with libtimes.so (1 partition)")
    np.testing.assert_array_equal(backend.run(image), image * -3)
    backend.close()


def test_one_that_takes_nothing_is_an_error(library: str, tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    path = tmp_path / "neg.tflite"
    path.write_bytes(tflite_model(["NEG"], [(SHAPE, "float32")]))
    with pytest.raises(BackendUnavailable, match=r"libtimes.so' takes none of the model's 1 node;"):
        Segmenter(path, delegate=library)


def test_what_it_says_when_it_does_not_start_is_passed_on(library: str, model: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"libtimes.so' does not start: no device of that kind"):
        open_backend(model, delegate=library, delegate_options={"device": "usb:7"})


def test_a_library_that_is_missing_or_no_delegate(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"'libedgetpu_of_nobody.so' does not load: .*No such file"):
        open_backend(model, delegate="libedgetpu_of_nobody.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(BackendUnavailable, match="does not load"):
        open_backend(model, delegate=str(tmp_path / "text.so"))
    with pytest.raises(InputError, match="is no TFLite delegate: it has no tflite_plugin_create_delegate"):
        open_backend(model, delegate=str(_ctypes.__file__))  # a library that is surely there
