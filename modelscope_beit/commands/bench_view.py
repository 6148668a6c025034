"""How a measurement of a model's forms looks on a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from modelscope_beit.prediction.form_choice import Choice
from modelscope_beit.prediction.form_speed import FormSpeed, name_of


def bench_table(found: Sequence[FormSpeed]) -> Table:
    """Returns a row for each form that runs here: speed by batch size, latency of the smallest, memory, exactness."""
    measured = [one for one in found if one.refusal is None]
    sizes = list(measured[0].passes)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("form", no_wrap=True)
    speeds = [f"images/s, batch {size}" for size in sizes]
    latencies = [f"p{percent} ms, batch {sizes[0]}" for percent in (50, 99)]
    for heading in (*speeds, *latencies, "peak MiB", "largest", "rms % of spread", "same best class"):
        table.add_column(heading, justify="right")
    for one in measured:
        latency = one.passes[sizes[0]].latency
        table.add_row(
            name_of(one.wanted),
            *(f"{passes.images_per_second:.2f}" for passes in one.passes.values()),
            *(f"{1000 * latency(percent):.1f}" for percent in (50, 99)),
            "-" if one.peak_mib is None else f"{one.peak_mib:,}",
            f"{one.largest:.2g}",
            f"{100 * one.rms / one.spread:.2g}" if one.spread else "-",
            f"{100 * one.top1:.0f} %",
        )
    return table


def bench_notes(found: Sequence[FormSpeed], choices: Mapping[int, Choice], missing: Sequence[str]) -> Iterator[str]:
    """Yields what "auto" takes, what does not run here and why, and which packages are not installed."""
    for size, choice in choices.items():
        yield f"Batches of {size}: {choice}."
    for one in found:
        if one.refusal is not None:
            yield f"{name_of(one.wanted)} does not run here: {one.refusal}"
    if missing:
        yield f"Not measured, because not installed: {', '.join(missing)}."
