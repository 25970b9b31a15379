"""Results and comparisons as one HTML page that needs nothing else: no script, no request, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgeseg import __version__
from edgeseg.benchmark import charts, tables
from edgeseg.benchmark.compare import CONFIDENCE, NOISE, Comparison
from edgeseg.benchmark.result import Environment, LatencyResult

# The colors and widths are those of the report of an export.
_STYLE = """
:root { --ink: #1b1f24; --soft: #59636e; --page: #fff; --line: #d5dae0; --track: #eceff2;
        --old: #8c959f; --new: #1a66c9; --good: #1a7f37; --bad: #c3271b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --soft: #9aa4af; --page: #12161b; --line: #333b44; --track: #232a32;
          --old: #7d8792; --new: #5ba0f5; --good: #4bb966; --bad: #f47067; } }
@media print {
  :root { --ink: #000; --soft: #444; --page: #fff; --line: #bbb; --track: #eee;
          --old: #888; --new: #1a66c9; --good: #1a7f37; --bad: #c3271b; }
  body { font-size: 11px; padding: 0; } h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; } }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; }
h2 { margin: 2.6rem 0 .4rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { margin: 1.6rem 0 .4rem; font-size: 1rem; } p { margin: .3rem 0; max-width: 60rem; }
.soft, caption, figcaption { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.headline { margin: .6rem 0 0; padding: .7rem 1rem; border-left: 5px solid var(--old); background: var(--track); }
.headline.slower { border-color: var(--bad); } .headline.faster { border-color: var(--good); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding: .35rem 0; font-size: .88rem; }
th, td { padding: .28rem .8rem .28rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; } .left { text-align: left; } td.left { overflow-wrap: break-word; }
figure { margin: 0 0 1.4rem; } figcaption { font-size: .9rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
line { stroke-width: 2; } line.grid { stroke: var(--line); stroke-width: 1; }
line.thin { stroke: var(--ink); stroke-width: 1; }
line.new { stroke: var(--new); stroke-width: 3; } line.soft { stroke: var(--old); } line.good { stroke: var(--good); }
line.bad { stroke: var(--bad); }
line.thinner { stroke-width: 1; } rect.old { fill: var(--old); fill-opacity: .75; } rect.track { fill: var(--track); }
rect.soft { fill: var(--old); } rect.good { fill: var(--good); } rect.bad { fill: var(--bad); }
.dot { fill: var(--ink); fill-opacity: .45; } .over { fill: none; stroke: var(--bad); }
.blob { fill: var(--new); fill-opacity: .55; stroke: var(--new); }
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    results: Sequence[LatencyResult], comparisons: Sequence[Comparison], mean_iou: Mapping[str, float] | None = None
) -> str:
    """One HTML file.

    Args:
        results: all that is shown, of all files.
        comparisons: pairs of them; may be empty.
        mean_iou: name of an artifact to its mIoU in [0, 1]; see ``accuracy.read_mean_iou``.
    """
    names = _names(results, comparisons)
    body = [_header(results, comparisons), _warnings(results, names)]
    if comparisons:
        body.append(_comparisons(comparisons))
    body += [_results(results, names), _trade_off(results, names, mean_iou or {})]
    body += [_calls(results, names), _environments(results, names)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Latency</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"{''.join(body)}</body>\n</html>\n"
    )


def _names(results: Sequence[LatencyResult], comparisons: Sequence[Comparison]) -> list[str]:
    """A number and what it is; the earlier one of a pair is called like the later one, and says so."""
    before = {id(c.baseline) for c in comparisons}
    return [
        f"{number} {charts.label(result)}{', before' if id(result) in before else ''}"
        for number, result in enumerate(results, 1)
    ]


def _header(results: Sequence[LatencyResult], comparisons: Sequence[Comparison]) -> str:
    artifacts = len({result.artifact for result in results})
    devices = ", ".join(dict.fromkeys(result.environment.device for result in results))
    text = f"<header>\n<h1>Latency</h1>\n<p class=soft>{_count(len(results), 'result')} of "
    text += f"{_count(artifacts, 'artifact')} on {escape(devices)}</p>\n"
    if comparisons:
        verdicts = [tables.verdict(c) for c in comparisons]
        told = [f"{verdicts.count(word)} {word}" for word in ("slower", "faster") if word in verdicts]
        unsure = sum(not c.significant for c in comparisons)
        told += [f"{unsure} without a difference that these runs can tell"] if unsure else []
        kind = next((word for word in ("slower", "faster") if word in verdicts), "")
        text += f'<p class="headline {kind}">{_count(len(comparisons), "pair")}: {", ".join(told)}.</p>\n'
    return text + "</header>\n"


def _warnings(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    found = []
    for name, result in zip(names, results, strict=True):
        told = [*result.warnings]
        if result.software_rendering:
            told.insert(0, "the GPU is a program on the CPU, this is no GPU's latency")
        found += [f"{name}: {'; '.join(told)}."] if told else []
    if not found:
        return ""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in found)
    return f"<h3>Before you believe the numbers</h3>\n<ul>\n{items}</ul>\n"


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    note = (
        "Time after over time before; to the right is slower. Above the ratio of the fastest calls, thin below it the "
        f"ratio of the medians, each with the {CONFIDENCE:.0%} interval of a bootstrap over processes. A result counts "
        "as different when the interval of the fastest and the median both lie outside the noise band of "
        f"{NOISE:.0%}, on the same side; gray means that these runs show no difference."
    )
    image = f"<figure>{charts.forest(comparisons)}<figcaption>{note}</figcaption></figure>\n"
    return (
        "<h2>Before and after</h2>\n"
        + image
        + _table(tables.COMPARISON_COLUMNS, tables.comparison_rows(comparisons), "")
    )


def _results(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    image = (
        f"<figure>{charts.spans(results, names)}<figcaption>Bar: 80 % of the calls. Thin ticks: the "
        "median of each process. Blue: the median of all.</figcaption></figure>\n"
    )
    note = (
        "Milliseconds; over all timed calls of all processes. First: the first call of a process. Init: opening the "
        "file. Memory: what opening and running added to a process at its peak."
    )
    rows = [[str(number), *row] for number, row in enumerate(tables.rows(results), 1)]
    return f"<h2>Results</h2>\n{image}{_table(('>#', *tables.COLUMNS), rows, note)}"


def _trade_off(results: Sequence[LatencyResult], names: Sequence[str], mean_iou: Mapping[str, float]) -> str:
    image = charts.trade_off(results, mean_iou)
    if not image:
        return ""
    rows = [
        [name, f"{mean_iou[r.artifact]:.4f}", f"{r.median_s * 1e3:.2f}", f"{r.size_bytes / 1e6:.2f}"]
        for name, r in zip(names, results, strict=True)
        if r.artifact in mean_iou
    ]
    note = "mIoU over the median latency; a circle grows with the size of its file, its number is the result's."
    return (
        f"<h2>Accuracy, latency, size</h2>\n<figure>{image}<figcaption>{note}</figcaption></figure>\n"
        f"{_table(('Result', '>mIoU', '>Median ms', '>Size MB'), rows, '')}"
    )


def _calls(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    text = (
        "<h2>Every call</h2>\n<p class=soft>In the order in which they were made, in milliseconds; a column for each "
        "process, its median in blue, and at the right how often which time. Red rings lie above the image.</p>\n"
    )
    for name, result in zip(names, results, strict=True):
        if result.latencies_s:
            counted = (
                f"{_count(len(result.latencies_s), 'call')} in {_count(len(result.rounds), 'process', 'processes')}"
            )
            image = charts.calls(result, name)
        else:
            counted, image = "the device's own tool gives statistics and no single calls", ""
        text += f"<figure><figcaption><b>{escape(name)}</b>, {counted}; {escape(result.runtime)}"
        text += f"</figcaption>{image}</figure>\n"
    return text


def _environments(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    text = "<h2>Where and with what</h2>\n"
    for place, rows in _by_place(results, names):
        lines = [
            f"{place.machine}, {_count(place.cpus, 'CPU')}, {place.system}",
            f"governor {place.governor}" if place.governor else "governor not known",
            *(f"{name} {value}" for name, value in place.extra.items()),
            ", ".join(f"{package} {version}" for package, version in place.versions.items()),
        ]
        listed = "".join(f"<li>{escape(line)}</li>\n" for line in lines if line)
        text += f"<h3>{escape(place.device)}</h3>\n<ul>\n{listed}</ul>\n"
        text += _table(("Result", "Date", ">Other work before", ">Hottest zone, before and at most"), rows, "")
    return f"{text}<p class=soft>edgeseg {escape(__version__)}</p>\n"


def _by_place(results: Sequence[LatencyResult], names: Sequence[str]) -> list[tuple[Environment, list[list[str]]]]:
    """Environments that differ only in the moment are one; a row for each result in it."""
    places: dict[tuple[object, ...], tuple[Environment, list[list[str]]]] = {}
    for name, result in zip(names, results, strict=True):
        e = result.environment
        key = e.device, e.machine, e.system, e.governor, tuple(e.versions.items()), tuple(e.extra.items())
        heat = " to ".join(f"{value:.0f} \N{DEGREE SIGN}C" for value in e.temperature_c) or "\N{EN DASH}"
        load = "\N{EN DASH}" if e.load is None else f"{e.load:.0%}"
        places.setdefault(key, (e, []))[1].append([name, e.date, load, heat])
    return list(places.values())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    kinds = ["" if column.startswith(">") else " class=left" for column in columns]
    head = "".join(f"<th{k}>{escape(c.lstrip('>'))}</th>" for k, c in zip(kinds, columns, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{k}>{escape(cell)}</td>' for k, cell in zip(kinds, row, strict=True))}</tr>\n"
        for row in rows
    )
    caption = f"<caption>{escape(note)}</caption>" if note else ""
    return f'<div class="scroll"><table>{caption}\n<tr>{head}</tr>\n{body}</table></div>\n'


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
