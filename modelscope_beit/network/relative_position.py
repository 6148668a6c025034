"""Relative positions: which table row belongs to a pair of tokens, and tables for another grid. torch only.

A table has (2 rows - 1)(2 columns - 1) rows for pairs of patches and 3 more: class token to patch, patch to class
token, class token to itself. Source: BEiT (arXiv 2106.08254); unilm/beit2 modeling_finetune.py.
"""

import torch
from torch import Tensor

from modelscope_beit.settings.model import TableResize

NUM_CLASS_TOKEN_ROWS = 3


def relative_position_index(rows: int, columns: int) -> Tensor:
    """Returns the table row of every pair of tokens of a grid of patches.

    Returns (T, T), integers, T = 1 + rows * columns: first index the query, second the key; token 0 is the class
    token.
    """
    row, column = torch.meshgrid(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"), indexing="ij")
    row, column = row.flatten(), column.flatten()
    row_distance = row[:, None] - row[None, :] + rows - 1  # (P, P)
    column_distance = column[:, None] - column[None, :] + columns - 1  # (P, P)
    table_rows = num_table_rows(rows, columns)
    index = torch.empty(1 + rows * columns, 1 + rows * columns, dtype=torch.long, device="cpu")
    index[1:, 1:] = row_distance * (2 * columns - 1) + column_distance
    index[0, :] = table_rows - 3
    index[:, 0] = table_rows - 2
    index[0, 0] = table_rows - 1
    return index


def num_table_rows(rows: int, columns: int) -> int:
    """Returns how many rows the table of a grid of patches has."""
    return (2 * rows - 1) * (2 * columns - 1) + NUM_CLASS_TOKEN_ROWS


def gather_bias(table: Tensor, index: Tensor) -> Tensor:
    """Returns what is added to the attention logits: (A, T, T) from a table (R, A) and an index (T, T)."""
    if table.device.type == "cpu":
        # The gradient of the other way takes eight times as long here. On a GPU it is the same each time, this is not.
        return table.t().contiguous().index_select(1, index.flatten()).unflatten(1, index.shape)
    return table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1).contiguous()


def resize_table(
    table: Tensor, source_grid: tuple[int, int], target_grid: tuple[int, int], method: TableResize = "unilm"
) -> Tensor:
    """Returns a table for another grid of patches; gradients flow back to the given one.

    table: (R, A). Grids are (rows, columns) of patches. An axis whose size stays is left as it is.
    method: "unilm" is the reference's: distances at growing (geometric) steps, not-a-knot cubic spline; "linear"
        is linear interpolation at the same distances (as in timm); "bilinear" resizes the table like a picture
        (as in transformers).
    Returns (R', A), computed in double precision, in the table's own type.
    Source: unilm/beit2 run_class_finetuning.py, which takes square grids only and needs a SciPy before 1.14.
    """
    if source_grid == target_grid:
        return table
    rows, columns = (2 * size - 1 for size in source_grid)
    distances = table[:-NUM_CLASS_TOKEN_ROWS].double().view(rows, columns, -1)
    along_rows = _resampling_matrix(rows, 2 * target_grid[0] - 1, method).to(table.device)
    along_columns = _resampling_matrix(columns, 2 * target_grid[1] - 1, method).to(table.device)
    resized = torch.einsum("ir,jc,rca->ija", along_rows, along_columns, distances)
    return torch.cat([resized.flatten(0, 1).to(table.dtype), table[-NUM_CLASS_TOKEN_ROWS:]])


def _resampling_matrix(source_size: int, target_size: int, method: TableResize) -> Tensor:
    """Returns (target_size, source_size): each new distance as a weighted sum of the old ones."""
    if source_size == target_size:
        return torch.eye(source_size, dtype=torch.float64)
    if source_size == 1:
        return torch.ones(target_size, 1, dtype=torch.float64)
    if method == "bilinear":
        source = torch.arange(source_size, dtype=torch.float64)
        target = (torch.arange(target_size, dtype=torch.float64) + 0.5) * source_size / target_size - 0.5
    else:
        source = _geometric_distances(source_size, target_size)
        target = torch.arange(target_size, dtype=torch.float64) - target_size // 2
    target = target.clamp(source[0], source[-1])
    degree = min(3 if method == "unilm" else 1, source_size - 1)
    return _spline_matrix(source, target, degree)


def _geometric_distances(source_size: int, target_size: int) -> Tensor:
    """Returns 0 in the middle and 1, 1 + q, 1 + q + q^2 ... outwards, spanning the target's distances.

    The ratio q is the last midpoint of a bisection on [1.01, 1.5], as in the reference; so a smaller target is
    nearly cropped, not shrunk.
    """
    low, high, ratio = 1.01, 1.5, 1.0
    while high - low > 1e-6:
        ratio = (low + high) / 2
        reach = (1 - ratio ** (source_size // 2)) / (1 - ratio)
        low, high = (low, ratio) if reach > target_size // 2 else (ratio, high)
    outwards = torch.cumsum(ratio ** torch.arange(source_size // 2, dtype=torch.float64), dim=0)
    return torch.cat([-outwards.flip(0), torch.zeros(1, dtype=torch.float64), outwards])


def _spline_matrix(source: Tensor, target: Tensor, degree: int) -> Tensor:
    """Returns the linear map from values at the source points to the interpolating spline at the target points.

    Degree 3 with the second and the second-last point not knots, which is SciPy's interpolating spline.
    """
    inner = source[1:-1] if degree < 3 else source[2:-2]
    if degree == 2:
        inner = inner[:0]  # three points: one parabola
    knots = torch.cat([source[:1].expand(degree + 1), inner, source[-1:].expand(degree + 1)])
    coefficients: Tensor = torch.linalg.inv(_b_splines(knots, source, degree))
    return _b_splines(knots, target, degree) @ coefficients


def _b_splines(knots: Tensor, points: Tensor, degree: int) -> Tensor:
    """Returns (points, splines): every B-spline of the knots at every point, by the Cox-de Boor recursion."""
    last_interval = int((knots < knots[-1]).sum()) - 1
    interval = (torch.searchsorted(knots, points.contiguous(), right=True) - 1).clamp(max=last_interval)
    basis = (interval[:, None] == torch.arange(len(knots) - 1)[None, :]).double()
    for order in range(1, degree + 1):
        left, right = knots[: -order - 1], knots[order + 1 :]
        rise = _ratio(points[:, None] - left, knots[order:-1] - left)
        fall = _ratio(right - points[:, None], right - knots[1:-order])
        basis = rise * basis[:, :-1] + fall * basis[:, 1:]
    return basis


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Returns the quotient, and 0 where knots coincide, as the recursion wants it."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1e-300), 0.0)
