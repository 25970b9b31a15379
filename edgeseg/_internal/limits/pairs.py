"""Treat the two files of an OpenVINO model, its ``.xml`` and its ``.bin``, as one artifact with the bytes of both.

The first holds the graph and the second, of the same name beside it, the weights. In memory, for a hash and for a size
an artifact is one sequence of bytes: those of the first file, then those of the second.
"""

from __future__ import annotations

from pathlib import Path

#: The suffix of the graph's file, and that of the file with its weights.
GRAPH, WEIGHTS = ".xml", ".bin"
#: What ``edgeseg export`` adds to the name of a file that failed its verification.
REJECTED = ".rejected"

_END = b"</net>"


def weights_path(path: Path) -> Path | None:
    """Return the file with the weights of a model; ``None`` for a format that is one file.

    Args:
        path: the file that is named on a command line; its ending may be that of a rejected file.
    """
    ending = REJECTED if path.suffix == REJECTED else ""
    graph = path.with_name(path.name.removesuffix(ending)) if ending else path
    if graph.suffix.lower() != GRAPH:
        return None
    return graph.with_name(f"{graph.name[: -len(GRAPH)]}{WEIGHTS}{ending}")


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of an artifact, the named one first.

    Args:
        path: see ``weights_path``.
    """
    weights = weights_path(path)
    return (path,) if weights is None else (path, weights)


def join(graph: bytes, weights: bytes) -> bytes:
    """Return the bytes of an artifact.

    Args:
        graph: the ``.xml``. It ends with its root and one line end, which is added where it is missing; a text without
            the end of that root stays as it is, alone, for the reader to refuse.
        weights: the ``.bin``.

    Raises:
        ValueError: something follows the root.
    """
    graph, end, after = graph.partition(_END)
    if not end:
        return graph
    if after.strip():
        raise ValueError(f"something follows its {_END.decode()}")
    return graph + end + b"\n" + weights


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return the two files of an artifact, the graph first.

    Args:
        data: what ``join`` returned.
    """
    graph, end, _ = data.partition(_END)
    length = len(graph) + len(end) + 1 if end else len(data)
    return data[:length], data[length:]
