from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import fill_model, load_keras_file, read_spec, read_training_state, save_model
from edgeseg.spec import ModelSpec, Provenance

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """One convolution, compiled, and trained for one step so that the optimizer has a state."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 48, 3))
    built = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs))
    built.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    built.train_on_batch(image(), np.zeros((1, 32, 48, 3), np.float32))
    return built


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.keras"


def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 32, 48, 3), np.float32)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The archive again, each entry as ``change(name, content)`` says; ``None`` leaves it out."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def test_the_spec_the_state_and_the_weights_come_back(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    spec = tiny_spec.replace(provenance=Provenance(source="tiny.keras", rewrites=(("swap", 2),), tools={"keras": "3"}))
    save_model(model, path, spec, training_state={"history": [{"loss": 0.5}]})
    assert read_spec(path) == spec
    assert read_spec(str(path)) == spec
    assert read_training_state(path) == {"history": [{"loss": 0.5}]}
    loaded = load_keras_file(path)
    np.testing.assert_array_equal(loaded.predict_on_batch(image()), model.predict_on_batch(image()))


def test_the_optimizer_comes_back_where_it_is_asked_for(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    save_model(model, path, tiny_spec)
    loaded = load_keras_file(path, compile=True)
    assert int(loaded.optimizer.iterations) == 1
    for was, now in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(was), keras.ops.convert_to_numpy(now))


def test_keras_itself_reads_the_file(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    save_model(model, path, tiny_spec, training_state={})
    plain = keras.models.load_model(path)
    np.testing.assert_array_equal(plain.predict_on_batch(image()), model.predict_on_batch(image()))


def test_a_file_of_keras_itself_has_no_spec(model: keras.Model, path: Path) -> None:
    model.save(path)
    assert read_spec(path) is None
    assert read_training_state(path) is None
    assert load_keras_file(path).output_shape == (None, 32, 48, 3)


def test_an_existing_file_is_kept_unless_asked(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="exists"):
        save_model(model, path, tiny_spec)
    with pytest.raises(TypeError):  # a state that is no JSON, found out after Keras has written
        save_model(model, path, tiny_spec, training_state={"x": object()}, overwrite=True)
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == ["m.keras"]
    save_model(model, path, tiny_spec, overwrite=True)
    assert read_spec(path) == tiny_spec


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_input_error(model: keras.Model, tiny_spec: ModelSpec, path: Path, kept: float) -> None:
    save_model(model, path, tiny_spec)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for read in (load_keras_file, read_spec, read_training_state):
        with pytest.raises(InputError, match=r"m\.keras' is not a \.keras archive; it may be truncated"):
            read(path)


def test_a_missing_file_or_folder_is_an_input_error(tmp_path: Path) -> None:
    for read in (load_keras_file, read_spec):
        with pytest.raises(InputError, match=r"gone\.keras' does not exist"):
            read(tmp_path / "gone.keras")
        with pytest.raises(InputError):
            read(tmp_path)


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("config.json", None),
        ("config.json", b""),
        ("config.json", b"\xff\xfe"),
        ("config.json", b"[]"),
        ("config.json", b"{}"),
        ("config.json", b'{"module": "keras.layers", "class_name": "Conv2D", "config": {}}'),
        ("model.weights.h5", None),
        ("model.weights.h5", b""),
        ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + b"\x00" * 100),
    ],
)
def test_a_damaged_archive_is_one_line(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, entry: str, content: bytes | None
) -> None:
    save_model(model, path, tiny_spec)
    rewritten(path, lambda name, was: content if name == entry else was)
    with pytest.raises(InputError, match=r"^Keras cannot load '.*m\.keras': .+") as caught:
        load_keras_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "was", "now"),
    [
        ("model.weights.h5", b"HEAP", b"HEEP"),  # RuntimeError in h5py
        ("config.json", b'"class_name": "DTypePolicy"', b'"class_name": -1'),  # AttributeError in Keras
        ("config.json", b'"groups": 1', b'"groups": 0'),
    ],
)
def test_damage_deep_inside_is_an_input_error(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, entry: str, was: bytes, now: bytes
) -> None:
    save_model(model, path, tiny_spec)
    with zipfile.ZipFile(path) as archive:
        assert was in archive.read(entry)
    rewritten(path, lambda name, content: content.replace(was, now) if name == entry else content)
    with pytest.raises(InputError, match=r"^Keras cannot load '.*m\.keras': .+"):
        load_keras_file(path)


def test_a_bit_that_flipped_is_found(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    save_model(model, path, tiny_spec)
    for content, read in ((b'"class_names"', read_spec), (b'"class_name"', load_keras_file)):
        data = bytearray(path.read_bytes())
        at = data.index(content)
        data[at + 3] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError):
            read(path)


def test_a_spec_that_cannot_be_read_is_an_input_error(model: keras.Model, tiny_spec: ModelSpec, path: Path) -> None:
    save_model(model, path, tiny_spec)
    rewritten(path, lambda name, was: b'{"format_version": 99}' if name == "edgeseg.spec.json" else was)
    with pytest.raises(InputError, match="format version 99"):
        read_spec(path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_lambda_is_refused_and_never_run(tmp_path: Path, tiny_spec: ModelSpec, path: Path, nested: bool) -> None:
    witness = tmp_path / "it_ran"
    name = str(witness)
    inputs = keras.Input((32, 48, 3))
    outputs = keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(32, 48, 3))(inputs)
    attack = keras.Model(inputs, outputs)
    if nested:
        outer = keras.Input((32, 48, 3))
        attack = keras.Model(outer, attack(outer))
    save_model(attack, path, tiny_spec)
    witness.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"m\.keras.*[Ll]ambda"):
        load_keras_file(path)
    assert read_spec(path) == tiny_spec
    assert not witness.exists()
    keras.models.load_model(path, safe_mode=False).predict_on_batch(image())
    assert witness.exists()  # the attack works where safe mode is off


def test_a_class_of_a_module_on_the_path_is_not_imported(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config names modules; importing one runs it."""
    (tmp_path / "attacker.py").write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\nclass Layer: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    save_model(model, path, tiny_spec)
    config = {"module": "attacker", "class_name": "Layer", "config": {}, "registered_name": "attacker>Layer"}
    rewritten(path, lambda name, was: json.dumps(config).encode() if name == "config.json" else was)
    with pytest.raises(InputError):
        load_keras_file(path)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    ("entry", "content", "said"),
    [
        ("metadata.json", b"[]", "of its config, it is a list; accepted: object"),
        ("metadata.json", b'{"keras_version": 3}', "'keras_version' is 3; accepted: text"),
        ("metadata.json", b'{"keras_version": "3\\n"}', r"'keras_version' is '3\\n'; accepted: text without"),
        ("config.json", b'{"class_name":' * 100_000, "it is JSON nested too deeply"),
        ("config.json", b'{"class_name": ' + b"9" * 5000 + b"}", "an integer of thousands of digits"),
    ],
    ids=range(5),
)
def test_a_config_that_is_no_text_about_a_model(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, entry: str, content: bytes, said: str
) -> None:
    save_model(model, path, tiny_spec)
    rewritten(path, lambda name, old: content if name == entry else old)
    with pytest.raises(InputError, match=f"m.keras.*{said}") as caught:
        load_keras_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_weights_that_are_cut_off_or_another_models_do_not_fill_a_model(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, share: float
) -> None:
    save_model(model, path, tiny_spec)
    fill_model(keras.models.clone_model(model), path)
    with pytest.raises(InputError, match=r"m.keras' is damaged, or not of this model: "):
        fill_model(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)]), path)
    rewritten(path, lambda name, content: content[: int(share * len(content))] if name.endswith(".h5") else content)
    with pytest.raises(InputError, match=r"m.keras' is damaged, or not of this model: "):
        fill_model(keras.models.clone_model(model), path)


def test_weights_without_their_groups_are_one_error_and_no_warnings(
    path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    shutil.copy(DATA / "saved_start.keras", path)

    def without_layers(name: str, content: bytes) -> bytes:
        if name.endswith(".h5"):
            held = io.BytesIO(content)
            with h5py.File(held, "r+") as file:
                file.move("layers", "lasers")
            return held.getvalue()
        return content

    rewritten(path, without_layers)
    recwarn.clear()
    with pytest.raises(InputError, match=r"m.keras': A total of \d+ objects could not be loaded"):
        load_keras_file(path)
    assert [str(one.message) for one in recwarn] == []


def test_an_archive_with_a_damaged_entry_is_refused_and_nothing_is_unpacked(
    model: keras.Model, tiny_spec: ModelSpec, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, path, tiny_spec)
    content = path.read_bytes()
    start = content.index(b'"format_version"')  # of the spec, which Keras does not read and unpacks all the same
    path.write_bytes(content[:start] + b"?" + content[start + 1 :])
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(InputError, match=r"m.keras' is damaged: the checksum of 'edgeseg.spec.json' is another one"):
        load_keras_file(path)
    assert list((tmp_path / "temporary").iterdir()) == []
