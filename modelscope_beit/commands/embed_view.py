"""How features look on a terminal: what a table holds, and the nearest pictures."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from modelscope_beit.features.neighbours import Neighbour
from modelscope_beit.features.table import FeatureTable


def embedding_rows(table: FeatureTable, seconds: float | None) -> dict[str, str]:
    """Returns heading -> text of a table that was written; seconds: that computing it took, None if it was read."""
    rows = {
        "feature": f"{table.facts['feature']}, {table.features.shape[1]} numbers a picture",
        "pictures": f"{len(table.paths) - len(table.errors):,}",
    }
    if table.errors:
        rows["not readable"] = f"{len(table.errors):,} more; the column error says why"
    if seconds is not None:
        rows["time"] = f"{seconds:.1f} s, {len(table.paths) / max(seconds, 1e-9):.1f} images/s"
    return rows


def neighbour_table(found: Iterable[Neighbour]) -> Table:
    """Returns a table with a row per picture; names are shown as they are, and wrapped, not cut."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("picture", overflow="fold")
    table.add_column("label", overflow="fold")
    for one in found:
        label = ", ".join(one.label) if isinstance(one.label, list) else one.label or ""
        table.add_row(f"{one.cosine:.4f}", Text(one.path), Text(label))
    return table
