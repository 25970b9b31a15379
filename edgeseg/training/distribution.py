"""Distribute one training over several GPUs, or processes, by Keras' own means; whoever starts the processes.

A step's batch is split evenly. Under JAX the shares are one global array: batch norm and the loss see the whole batch,
and a run computes what one device with that batch would. Under TensorFlow each GPU has the batch norm and the weighted
mean of its own share, as in ``MirroredStrategy``.

Several processes work under JAX alone: with ``MultiWorkerMirroredStrategy`` the ``fit`` of Keras 3 fails in its first
step (keras-team/keras issue 20585; seen with Keras 3.15 and TensorFlow 2.21).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from edgeseg.choices import Distribute
from edgeseg.errors import InputError

#: ``none``: one device. ``auto``: every GPU of this machine. ``workers``: with the other processes that the
#: environment names, each with every GPU that it sees.

#: What Keras reads in ``keras.distribution.initialize``.
ADDRESSES, NUM_WORKERS, WORKER = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)


class Distribution:
    """The devices and processes of a training; this class is one device alone, for which nothing changes.

    Attributes:
        worker: number of this process, from 0, which is the chief: it alone writes files.
        num_workers: number of processes.
        num_replicas: number of devices of all processes together; they share a batch.
    """

    worker = 0
    num_workers = 1
    num_replicas = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.worker == 0

    def making(self) -> AbstractContextManager[Any]:
        """Return a context in which the model that learns is built, loaded and compiled."""
        return nullcontext()

    def fitting(self) -> AbstractContextManager[Any]:
        """Return a context in which ``fit`` is called."""
        return nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        """Return a context, within ``fitting``, where this process computes alone, on models built outside ``making``.

        The work of the chief alone is done in it: a variable that is created in ``fitting`` waits for all workers.
        """
        return nullcontext()

    def from_chief(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the chief's numbers in place of one's own, so that all decide alike; rounded to float32."""
        return dict(values)

    def wait_for_all(self) -> None:
        """Wait until every worker has come here: the files that the chief wrote before are there then."""

    def require_shares(self, batch_size: int) -> None:
        """Raise ``InputError`` where a batch cannot be split evenly."""
        if batch_size % self.num_replicas:
            nearest = max(1, round(batch_size / self.num_replicas)) * self.num_replicas
            raise InputError(
                f"a batch of {batch_size} cannot be shared by {self.num_replicas} devices; "
                f"give a batch size that is a multiple of {self.num_replicas}, such as {nearest}."
            )


def start(distribute: Distribute) -> Distribution:
    """Find the devices and, with ``workers``, wait for the other processes.

    Args:
        distribute: the kind of distribution.

    Raises:
        InputError: several workers without JAX, without the others' address, or after a first computation; or a Keras
            backend that cannot distribute.
    """
    backend = keras.config.backend()
    if distribute == "none":
        return Distribution()
    if distribute == "workers" and backend != "jax":
        raise InputError(
            f"several workers train together under KERAS_BACKEND=jax only, this is {backend}: there Keras has no "
            "distribution over processes that works with fit. For the GPUs of one machine give auto."
        )
    if backend == "jax":
        if distribute == "workers":
            _join()
        return _OnJax() if len(keras.distribution.list_devices()) > 1 else Distribution()
    if backend == "tensorflow":
        devices = _tensorflow_devices()
        return _OnTensorFlow(devices) if len(devices) > 1 else Distribution()
    raise InputError(f"training is distributed under KERAS_BACKEND=jax or tensorflow, this is {backend}.")


class _OnJax(Distribution):
    """Every device of every process that has joined."""

    def __init__(self) -> None:
        import jax

        # Each process reads its own share; Keras can only split a tf.data pipeline.
        self._parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        self.worker, self.num_workers = jax.process_index(), jax.process_count()
        self.num_replicas = jax.device_count()

    def making(self) -> AbstractContextManager[Any]:
        return self._parallel.scope()  # type: ignore[no-any-return]

    def fitting(self) -> AbstractContextManager[Any]:
        return self._parallel.scope()  # type: ignore[no-any-return]

    @contextmanager
    def alone(self) -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def from_chief(self, values: Mapping[str, float]) -> dict[str, float]:
        from jax.experimental import multihost_utils

        received = multihost_utils.broadcast_one_to_all(np.array(list(values.values()), np.float32))
        return dict(zip(values, (float(value) for value in received), strict=True))

    def wait_for_all(self) -> None:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("edgeseg")


class _OnTensorFlow(Distribution):
    """The GPUs of this machine."""

    def __init__(self, devices: list[str]) -> None:
        import tensorflow as tf

        self._strategy = tf.distribute.MirroredStrategy(devices)
        self.num_replicas = len(devices)

    def making(self) -> AbstractContextManager[Any]:
        # A model remembers the strategy; in its scope during fit, the models of validation would be mirrored too.
        return self._strategy.scope()  # type: ignore[no-any-return]


def _join() -> None:
    """Connect to the other processes, unless the caller has done so."""
    import jax

    if jax.distributed.is_initialized():
        return
    try:
        keras.distribution.initialize()
    except ValueError as error:
        raise InputError(
            f"the other workers are not known ({str(error).splitlines()[0]}): set {ADDRESSES}=HOST:PORT of the first, "
            f"{NUM_WORKERS}, and {WORKER}=0, 1, ... for each; Slurm and Open MPI need none of these."
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"the workers could not meet ({str(error).splitlines()[0]}). They must before anything is computed: call "
            "keras.distribution.initialize() before a model is made."
        ) from error


def _tensorflow_devices() -> list[str]:
    """Return the GPUs; where there is none, the CPU's logical devices, of which only tests have several."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
