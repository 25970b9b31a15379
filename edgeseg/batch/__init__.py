"""Run a model on as many images as there are: in parts, on several processes or machines, and on where a kill ended it.

``listing`` names the images, ``shard`` takes a part of them, ``manifest`` remembers which are done, ``work`` says what
is done with one, ``pool`` and ``ray_pipeline`` do it, and ``results`` makes the tables. ``run`` has them all in a row.
"""
