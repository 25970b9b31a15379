"""The sentence of Keras that says what is wrong, from errors that Keras itself raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.models.opening import at_input_size


@keras.saving.register_keras_serializable(package="test_keras_errors")
class Wrap(layers.Layer):  # type: ignore[misc]
    """Holds a model of one size, as people wrap an encoder."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inputs = keras.Input((16, 24, 3))
        self.inner = keras.Model(inputs, layers.Conv2D(2, 1)(inputs))

    def call(self, x: Any) -> Any:
        return self.inner(x)


def test_a_size_that_a_layer_refuses_is_said_in_its_words() -> None:
    inputs = keras.Input((16, 24, 3))
    model = keras.Model(inputs, Wrap()(inputs))
    said = r"rebuilt at 32,48 \(H,W\): Wrap: Input 0.*expected shape=\(None, 16, 24, 3\)"
    with pytest.raises(InputError, match=said) as caught:
        at_input_size(model, (32, 48))
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def raised(call: Any) -> Exception:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    return caught.value


def test_backticks_are_those_of_edgeseg_alone() -> None:
    """What they have becomes a flag on the command line; Keras quotes names of its own with them."""

    class Refusing(layers.Layer):  # type: ignore[misc]
        def __init__(self, says: type[Exception], **kwargs: Any) -> None:
            super().__init__(**kwargs)
            raise says("a function of yours; give it: `custom_objects={'f': your_function}`.")

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(says=InputError if config["name"] == "own" else ValueError)

    said = {}
    for name in ("own", "another"):
        config = {"module": None, "class_name": "Refusing", "config": {"name": name}, "registered_name": "Refusing"}
        said[name] = reason_of(
            raised(
                lambda config=config: keras.saving.deserialize_keras_object(
                    config, custom_objects={"Refusing": Refusing}
                )
            )
        )
    assert "give it: `custom_objects={'f': your_function}`." in said["own"]
    assert "give it: 'custom_objects={'f': your_function}'." in said["another"]


def test_the_reason_is_a_line_without_escape_codes_or_configs() -> None:
    class Adding(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.add(x, keras.ops.zeros((1, 5, 7, 3)))

    inputs = keras.Input((4, 4, 3))
    errors = [
        (lambda: layers.Dense(2)(keras.Input(())), "Dense"),
        (lambda: Adding()(inputs), "Adding: "),
        (lambda: layers.deserialize({"class_name": "Dense", "config": {}, "module": "keras.layers"}), "units"),
        (lambda: layers.Conv2D(2, 7, strides=0), "strides"),
        (lambda: layers.Concatenate()([inputs, keras.Input((5, 5, 3))]), "Concatenate"),
    ]
    for call, text in errors:
        reason = reason_of(raised(call))
        assert text.lower() in reason.lower()
        assert not any(part in reason for part in ("\x1b", "\n", "Exception encountered", "Arguments received"))
        assert len(reason) <= 303


def test_an_error_without_words_is_named() -> None:
    assert reason_of(ValueError()) == "ValueError()"


@pytest.mark.parametrize("make", [lambda x: x[..., ::-1], lambda x: x + 3.0, lambda x: x + x, keras.ops.relu])
def test_h5_of_keras3_with_operations_says_to_save_as_keras(tmp_path: Path, make: Any) -> None:
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, make(layers.Conv2D(3, 1)(inputs))).save(tmp_path / "m.h5")
    with pytest.raises(InputError, match=r"calls keras.ops between its layers \('.*'\).*: model.save\('m.keras'\)"):
        load_keras_file(tmp_path / "m.h5")
    (tmp_path / "m.h5").unlink()
    keras.Model(inputs, layers.Add()([inputs, layers.Conv2D(3, 1)(inputs)])).save(tmp_path / "m.h5")
    load_keras_file(tmp_path / "m.h5")  # a layer of the same name as an operation
