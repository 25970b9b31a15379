from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny exported model with five classes and random weights."""
    keras = pytest.importorskip("keras")
    from edgeseg.models import create
    from edgeseg_converters import export

    keras.utils.set_random_seed(3)
    model = create("unet_mini", num_classes=5, input_size=(32, 48))
    return export(model, verify=False).save(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    """The commands point the root logger at the stderr of the moment, which pytest closes after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
