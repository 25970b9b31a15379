"""Run OpenVINO models, an ``.xml`` and a ``.bin``, and read what is in them."""
