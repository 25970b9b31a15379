"""Replace ``MaxPoolingWithArgmax2D`` and its ``MaxUnpooling2D`` layers by the custom ops of LiteRT's delegates.

    Given:   p, index = MaxPoolingWithArgmax2D(2)(x)          x (B, 2h, 2w, C), p (B, h, w, C)
             u = MaxUnpooling2D(2)([v, index])                v (B, h, w, C), u (B, 2h, 2w, C)
    Result:  p, index = IndexedMaxPooling()(x)                CUSTOM MaxPoolingWithArgmax2D in the artifact
             u = IndexedUnpooling()([x, v, index])            CUSTOM MaxUnpooling2D

Holds where ``MaxUnpoolingRewrite`` says, for float32, and only on a delegate that has the two: no interpreter without
XNNPACK or the GPU accelerator opens the artifact. On LiteRT's CPU a pair on 256x256x64 took about a
third as long as the masks (x86-64, 2 threads).

The proof at the export runs these layers on TensorFlow, which gives a tie to the first pixel in row order. XNNPACK
goes through a window by columns, so of (0, 1) and (1, 0) it takes the other one; ``ties`` measures how often that
happens on the images of the verification. The GPU accelerator takes the first.
"""

from __future__ import annotations

from typing import Any

from edgeseg.errors import RewriteRefused
from edgeseg_converters.rewrites.shared.lowered import IndexedMaxPooling, IndexedUnpooling
from edgeseg_converters.rewrites.shared.max_unpooling_site import MaxUnpoolingRewrite


class MaxUnpoolingToDelegateOps(MaxUnpoolingRewrite):
    """See the module."""

    keeps_index = True

    def check_map(self, shape: tuple[int | None, ...], dtype: str) -> None:
        """Refuse half precision as well, which the ops of both delegates lack."""
        super().check_map(shape, dtype)
        if dtype != "float32":
            raise RewriteRefused(f"the pooled map is {dtype}; the delegates' op is float32. Export with target generic")

    def pool(self, x: Any, name: str) -> tuple[Any, Any]:
        """Return the pooled map, and its source with the index."""
        pooled, index = IndexedMaxPooling(name=name)(x)
        return pooled, (x, index)

    def unpool(self, values: Any, where: Any, name: str) -> Any:
        """Unpool by one layer."""
        source, index = where
        return IndexedUnpooling(name=name)([source, values, index])
