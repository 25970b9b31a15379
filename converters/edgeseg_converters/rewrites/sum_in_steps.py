"""Add nearest-resized maps from the smallest up, each sum at the smaller size.

    Given:   y = a + up2(b) + up4(c) + up8(d)          up: nearest, whole factors
    Result:  y = a + up2(b + up2(c + up2(d)))

Pixels can be added before they are copied. Every fusion of HRNet's branches is such a sum. Cost: only one of n resized
maps is resized to the full size and added there, so it pays wherever there are two.

Holds where one size divides the other and nothing else reads the resized maps. Float32 rounding only: the sum is in
another order.
"""

from __future__ import annotations

from keras import layers

from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites.base import Rewrite, Site, Tensors
from edgeseg_converters.rewrites.shared.convolution import only_user, refuse_shared_layers
from edgeseg_converters.rewrites.shared.resizes import resize_of, sum_repeated


class SumInSteps(Rewrite):
    """See the module."""

    layer_class = "Add"
    atol = 1e-5  # sums of a few values below 4, in another order

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Match a sum with at least two maps whose pixels are repeated for it alone."""
        if node.kind != self.layer_class or len(set(node.inputs)) < len(node.inputs):
            return None
        producers = (graph.producer(value) for value in node.inputs)
        repeated = [x for x in map(resize_of, producers) if x and x.repeats_pixels and only_user(graph, x.node) is node]
        if len(repeated) < 2:
            return None
        return Site.of(graph, [*(resize.node for resize in repeated), node])

    def check(self, site: Site) -> None:
        """Refuse shared layers."""
        refuse_shared_layers(site)

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the sum in steps; it keeps its name, which the last resize gets where only resized maps are added."""
        *resizes, total = site.nodes
        repeated = {node.outputs[0] for node in resizes}
        size = total.outputs[0].shape[1:3]
        maps = [tensors[node.inputs[0]] for node in resizes]
        terms = sum_repeated(maps, (size[0] or 0, size[1] or 0), total.name)
        terms = [*(tensors[value] for value in total.inputs if value not in repeated), *terms]
        if len(terms) == 1:
            return {total.outputs[0]: layers.Identity(name=total.name)(terms[0])}
        return {total.outputs[0]: layers.Add(name=total.name)(terms)}
