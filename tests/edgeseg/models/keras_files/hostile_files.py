"""Load a file with every object of Keras in every place of it, and print what happened outside, as JSON.

A program, run by ``test_allowed`` in a process of its own: Keras' settings and the audit hook are the process'. Files
are opened and sockets made through Python, which ``sys.addaudithook`` sees, or by TensorFlow in C++, which inotify sees
on the files that a hostile config names.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import json
import os
import sys
import sysconfig
import types
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import load_keras_file

_WATCHED = (
    *("socket.", "subprocess.", "shutil.", "tempfile.", "urllib.", "ftplib.", "http.", "pickle.", "pty."),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename", "os.mkdir"),
    *("os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.putenv", "os.unsetenv", "os.kill"),
)
_CODE = tuple(str(Path(folder).resolve()) for folder in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib")))
_IN_OPEN, _IN_CREATE, _IN_NONBLOCK = 0x20, 0x100, 0o4000

Object = tuple[str, str, Any]  # module, name, and the class or function


class Watch:
    """Everything with an effect outside the model, and the settings of Keras and of the process."""

    def __init__(self, model: str, bait: Path) -> None:
        self.model, self.effects, self.said = model, list[str](), ""
        self._is_on = False
        self._libc = ctypes.CDLL(None)
        self._inotify = self._libc.inotify_init1(_IN_NONBLOCK)
        self._libc.inotify_add_watch(self._inotify, os.fsencode(bait), _IN_OPEN)
        self._libc.inotify_add_watch(self._inotify, os.fsencode(bait.parent), _IN_CREATE)
        self._buffer = ctypes.create_string_buffer(4096)
        self._settings = settings()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._is_on or not (event.startswith(_WATCHED) or (event == "open" and self._is_outside(*args))):
            return
        self.effects.append(f"{event} {args!r:.100}")
        raise PermissionError(f"{event} in the sandbox")

    def _is_outside(self, path: Any, mode: Any, flags: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        is_read = isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        name = os.fsdecode(path)
        return name != self.model and not (is_read and (name.startswith(_CODE) or name.endswith((".py", ".pyc"))))

    def while_loading(self, root: dict[str, Any], *, compiled: bool = False) -> list[str]:
        """Return the effects of loading a model of a config."""
        write(self.model, root)
        return self.during(lambda: load_keras_file(self.model, compile=compiled))

    def during(self, action: Callable[[], object]) -> list[str]:
        """Return the effects of an action, and undo those on settings."""
        self.effects, self.said = [], ""
        self._is_on = True
        try:
            action()
        except InputError as error:
            self.said = str(error)
        except PermissionError:
            pass
        except Exception as error:  # noqa: BLE001 - load_keras_file raises InputError and nothing else; Keras alone anything
            self.effects.append(f"raised {type(error).__name__}: {error!s:.200}")
        finally:
            self._is_on = False
        if self._libc.read(self._inotify, self._buffer, len(self._buffer)) > 0:
            self.effects.append("opened the file that the config names, or made one")
        now = settings()
        if now != self._settings:
            self.effects.append("settings " + ", ".join(key for key in now if now[key] != self._settings[key]))
            restore()
            self._settings = settings()
        return self.effects


def settings() -> dict[str, Any]:
    """Return what a file must not change."""
    names = ("floatx", "epsilon", "image_data_format", "backend", "is_traceback_filtering_enabled")
    more = ("is_interactive_logging_enabled", "is_flash_attention_enabled", "max_epochs", "max_steps_per_epoch")
    return {
        **{name: getattr(keras.config, name)() for name in (*names, *more) if hasattr(keras.config, name)},
        "dtype_policy": keras.config.dtype_policy().name,
        "registered": tuple(keras.saving.get_custom_objects()),
        "eager": tf.config.functions_run_eagerly(),
        "distribution": keras.distribution.distribution(),
        "cwd": str(Path.cwd()),
        "path": tuple(sys.path),
    }


def restore() -> None:
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def exported() -> Iterator[Object]:
    """Yield each class and function that Keras exports, and each of its classes that a file can name, once."""
    seen: set[int] = set()
    modules = [module for name, module in sys.modules.items() if f"{name}.".startswith("keras.")]
    public = [module for module in modules if not module.__name__.startswith("keras.src")]
    for module in sorted(public, key=lambda module: module.__name__):
        for name, value in sorted(vars(module).items()):
            if callable(value) and not isinstance(value, types.ModuleType) and id(value) not in seen:
                seen.add(id(value))
                yield module.__name__, name, value
    pending: list[type] = [keras.Operation, keras.metrics.Metric, keras.losses.Loss, keras.optimizers.Optimizer]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("keras.") and id(kind) not in seen:
            seen.add(id(kind))
            yield kind.__module__, kind.__name__, kind


def references(
    module: str, name: str, value: Any, bait: str, places: Collection[str]
) -> Iterator[tuple[dict[str, Any], Collection[str]]]:
    """Yield the ways to name an object, and the places to try it at where the check lets it pass."""
    yield {"module": module, "class_name": "function", "config": name, "registered_name": name}, places
    if not isinstance(value, type):
        yield {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}, places
    arguments = arguments_of(value) if isinstance(value, type) else []
    kind = {"module": module, "class_name": name, "registered_name": None}
    yield {**kind, "config": dict.fromkeys(arguments, 2)}, places  # what most layers can be made with
    if arguments:
        yield {**kind, "config": dict.fromkeys(arguments, bait)}, ("layer",)


def arguments_of(value: type) -> list[str]:
    try:
        parameters = inspect.signature(value.__init__).parameters.values()
    except ValueError:
        return []
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    return [name for name in needed if name != "self"]


IMAGE = {
    "class_name": "__keras_tensor__",
    "config": {"shape": [None, 2, 2, 3], "dtype": "float32", "keras_history": ["image", 0, 0]},
}
Layer = dict[str, Any]


def layer(class_name: str, config: dict[str, Any], *call: Any, module: str = "keras.layers") -> Layer:
    nodes = [{"args": [IMAGE, *call], "kwargs": {}}]
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
        "inbound_nodes": nodes,
    }


def convolution(**config: Any) -> Layer:
    return layer("Conv2D", {"filters": 1, "kernel_size": 1, **config})


PLACES: dict[str, Callable[[Layer], Layer]] = {
    "layer": lambda it: {**it, "inbound_nodes": [{"args": [IMAGE], "kwargs": {}}]},
    "layer_of_a_layer": lambda it: layer("TimeDistributed", {"layer": it}),
    "argument": lambda it: convolution(strides=it),
    "initializer": lambda it: convolution(kernel_initializer=it),
    "regularizer": lambda it: convolution(kernel_regularizer=it),
    "constraint": lambda it: convolution(kernel_constraint=it),
    "activation": lambda it: layer("Activation", {"activation": it}),
    "dtype_policy": lambda it: convolution(dtype=it),
    "argument_of_a_call": lambda it: layer("Add", {}, it, module="keras.src.ops.numpy"),
}


def called(it: Layer) -> Layer:
    """Return an operation that Keras runs while it loads, with a function to call and what to give it."""
    nodes = [{"args": [0, [it], "float16"], "kwargs": {}}]
    return {**layer("Switch", {}, module="keras.src.ops.core"), "inbound_nodes": nodes}


def model(layers: dict[str, Layer], compiled: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the config of a model with these layers on its input, by their names."""
    image = {"name": "image", "batch_shape": [None, 2, 2, 3], "dtype": "float32"}
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": image, "inbound_nodes": []}
    named = [{**it, "name": name, "config": named_config(it, name)} for name, it in layers.items()]
    inner = {"name": "m", "layers": [{**first, "registered_name": None, "name": "image"}, *named]}
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[name, 0, 0] for name in layers]}
    kind = {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional"}
    return {**kind, "config": {**inner, **ends}, "compile_config": compiled}


def named_config(it: Layer, name: str) -> Any:
    return {**it["config"], "name": name} if isinstance(it["config"], dict) else it["config"]


def write(path: str, root: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(root))
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')


def main(folder: Path, *, is_whole: bool) -> None:
    warnings.simplefilter("ignore")
    home = folder / "home"
    home.mkdir()
    os.chdir(home)
    bait = home / "bait.txt"
    bait.write_text("cat\ndog\n")
    path = str(folder / "m.keras")
    write(path, model({"x": layer("Nothing", {})}))
    with contextlib.suppress(InputError):  # imports what loading needs, which registers edgeseg's own layers
        load_keras_file(path)
    watch = Watch(path, bait)
    objects, tries, effects = list(exported())[:: 1 if is_whole else 3], 0, []
    for number, (module, name, value) in enumerate(objects):
        few = list(PLACES) if is_whole else list(PLACES)[number % 4 :: 4]
        for reference, places in references(module, name, value, str(bait), few):
            for place, found in tried(watch, reference, places):
                tries += 1
                effects += [f"{module}.{name} as {reference['config']} at {place}: {effect}" for effect in found]
    print(
        json.dumps({"objects": len(objects), "tries": tries, "effects": effects, "seen": list(controls(watch, bait))})
    )


def tried(watch: Watch, reference: Layer, places: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each place, and the effects that loading a file has with a reference there."""
    layers = {place: make(reference) for place, make in PLACES.items()}
    compiled = {"optimizer": reference, "loss": reference, "metrics": [reference]}
    effects = watch.while_loading(model(layers, compiled), compiled=True)
    refused = [place for place in PLACES if f"{place!r}" in watch.said]  # before Keras saw any of them
    yield from ((place, effects) for place in refused)
    for place in places:
        if place not in refused:  # one layer in the place of all, as the first may have stopped it
            yield place, watch.while_loading(model({place: layers[place]}))
    if not refused:
        yield "compile", watch.while_loading(model({"x": layer("ReLU", {})}, compiled), compiled=True)
    yield "called", watch.while_loading(model({"called": called(reference)}))


def controls(watch: Watch, bait: Path) -> Iterator[list[str]]:
    """Yield what the watch sees where Keras alone loads a file that calls a function, and where TensorFlow reads."""
    for module, name in (("keras.config", "set_floatx"), ("keras.datasets.mnist", "load_data")):
        function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
        write(watch.model, model({"called": called(function)}))
        yield list(watch.during(lambda: keras.models.load_model(watch.model, compile=False, safe_mode=True)))
    yield list(watch.during(lambda: tf.io.read_file(str(bait))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), is_whole="all" in sys.argv[2:])
