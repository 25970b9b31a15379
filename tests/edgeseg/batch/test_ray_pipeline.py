"""``ray_pipeline``: the same work on a cluster of Ray's, started by the test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeseg import Segmenter
from edgeseg.batch.listing import Images, Pairs
from edgeseg.batch.manifest import records
from edgeseg.batch.ray_pipeline import Cluster
from edgeseg.batch.results import evaluation
from edgeseg.batch.run import Plan, run
from edgeseg.batch.work import Prediction
from edgeseg.datasets import open_split
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.evaluation.evaluate import evaluate
from tests.edgeseg.batch.conftest import MODEL, Opener, null_segmenter, write_deadly


def test_without_ray_it_says_what_to_install(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = Plan(folder=tmp_path / "out", cluster=Cluster())
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[ray\]"'):
        run(Prediction(opener=null_segmenter), Images([str(images)]), plan)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with a core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    # Usage statistics are off on every node, and nothing of the nodes is on a network.
    environment = {"RAY_USAGE_STATS_ENABLED": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        yield nodes
        nodes.shutdown()


@pytest.mark.slow
def test_a_cluster_of_two_nodes_loses_a_worker(cluster: Any, labeled: Callable, tmp_path: Path) -> None:
    root, work, _ = labeled(300)
    split = open_split(root, "test")
    plan = Plan(folder=tmp_path / "out", cluster=Cluster(address=cluster.address))
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        pids = [int(path.stem) for path in (tmp_path / "pids").glob("*.pid")]
        alive = [pid for pid in pids if pid != os.getpid() and Path(f"/proc/{pid}").exists()]
        if done >= 50 and not killed and len(alive) == 2:
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    outcome = run(work, Pairs([(str(image), str(label)) for image, label in split.pairs]), plan, progress=kill)
    assert killed and (outcome.num_images, outcome.num_failed) == (300, 0)
    assert not Path(f"/proc/{killed[0]}").exists()
    names = [record.name for record in records(plan.manifest)]
    assert sorted(names) == sorted(image.name for image, _ in split.pairs)
    # Sums of integers: equal to the last pixel.
    alone = evaluate(Segmenter(MODEL, num_threads=1), split)
    assert (evaluation(plan.manifest, split.classes).matrix.counts == alone.matrix.counts).all()


@pytest.mark.slow
def test_an_image_that_takes_every_actor_down_is_recorded(cluster: Any, images: Path, tmp_path: Path) -> None:
    write_deadly(images / "003.png")
    (images / "bad.png").write_bytes(b"no image")
    plan = Plan(folder=tmp_path / "out", cluster=Cluster(address=cluster.address, actors=1))
    outcome = run(Prediction(opener=Opener(tmp_path, always=True)), Images([str(images)]), plan)
    errors = {record.name: record.error for record in records(plan.manifest)}
    assert (len(errors), outcome.num_failed) == (21, 2)
    assert errors["003.png"] == "the actors of Ray that did it died"
    assert "does not decode" in (errors["bad.png"] or "")


@pytest.mark.slow
def test_what_a_cluster_refuses(cluster: Any, images: Path, tmp_path: Path) -> None:
    listing, work = Images([str(images)]), Prediction(opener=null_segmenter)
    with pytest.raises(InputError, match="2 cores and 0 GPUs: 2 actors of `num_threads=1` fit, not 3"):
        run(work, listing, Plan(folder=tmp_path / "a", cluster=Cluster(address=cluster.address, actors=3)))
    with pytest.raises(InputError, match="0 actors of `num_threads=4` fit, not 1"):
        run(work, listing, Plan(folder=tmp_path / "b", cluster=Cluster(address=cluster.address, num_threads=4)))
    with pytest.raises(BackendUnavailable, match="there is no Ray at 'nothing'"):
        run(work, listing, Plan(folder=tmp_path / "c", cluster=Cluster(address="nothing")))
