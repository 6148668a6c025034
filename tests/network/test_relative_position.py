"""Oracles: golden matrices of unilm's code, SciPy's interpolating spline, timm, torch's own interpolation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.interpolate import RectBivariateSpline

from modelscope_beit.network.relative_position import gather_bias, relative_position_index, resize_table


def smooth_table() -> torch.Tensor:
    offset = torch.arange(-13.0, 14.0, dtype=torch.float64)
    a, b = torch.meshgrid(offset, offset, indexing="ij")
    z = torch.exp(-(a**2) / 50) + 0.3 * torch.sin(b / 4) + 0.05 * a * b / 13
    return torch.cat([z.reshape(-1, 1), torch.tensor([[7.0], [8.0], [9.0]])])


def unilm_distances(source: int, target: int) -> np.ndarray:
    left, right, q = 1.01, 1.5, 0.0
    while right - left > 1e-6:
        q = (left + right) / 2
        if (1 - q ** (source // 2)) / (1 - q) > target // 2:
            right = q
        else:
            left = q
    outwards = [sum(q**i for i in range(n)) for n in range(1, source // 2 + 1)]
    return np.array([-d for d in reversed(outwards)] + [0.0] + outwards)


def test_relative_position_index__equals_the_golden_matrix_of_two_by_two() -> None:
    golden = [[11, 9, 9, 9, 9], [10, 4, 3, 1, 0], [10, 5, 4, 2, 1], [10, 7, 6, 4, 3], [10, 8, 7, 5, 4]]
    assert relative_position_index(2, 2).tolist() == golden


def test_relative_position_index__keeps_rows_and_columns_apart() -> None:
    index = relative_position_index(2, 3)
    assert index[1].tolist() == [16, 7, 6, 5, 2, 1, 0]
    assert index[-1].tolist() == [16, 14, 13, 12, 9, 8, 7]


@pytest.mark.parametrize(
    ("side", "total"), [(14, 14_270_119), (16, 31_950_531), (24, 368_828_259), (32, 2_088_508_291)]
)
def test_relative_position_index__sums_to_the_golden_value(side: int, total: int) -> None:
    assert int(relative_position_index(side, side).sum()) == total


def test_gather_bias__puts_the_query_first() -> None:
    table = torch.arange(12.0)[:, None]
    bias = gather_bias(table, relative_position_index(2, 2))
    assert bias.shape == (1, 5, 5)
    assert bias[0, 1, 2] == 3.0 and bias[0, 2, 1] == 5.0


def test_resize_table__equals_the_golden_values_of_the_reference() -> None:
    resized = resize_table(smooth_table(), (14, 14), (24, 24))
    picture = resized[:-3].view(47, 47)
    golden = {(0, 0): 0.716506, (0, 23): 0.034047, (23, 0): 1.032459, (23, 23): 1.0, (10, 40): -0.041567}
    for place, value in golden.items():
        assert float(picture[place]) == pytest.approx(value, abs=2e-6)
    assert float(picture.sum()) == pytest.approx(809.184035, abs=1e-4)
    assert resized[-3:, 0].tolist() == [7.0, 8.0, 9.0]


@pytest.mark.parametrize("target", [(24, 24), (16, 16), (32, 32), (12, 12), (7, 7)])
def test_resize_table__equals_scipys_spline_on_a_random_table(target: tuple[int, int]) -> None:
    table = torch.randn(732, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    source = unilm_distances(27, 2 * target[0] - 1)
    wanted = np.arange(-(target[0] - 1), target[0], dtype=float)
    resized = resize_table(table, (14, 14), target)[:-3].view(len(wanted), len(wanted), 2)
    for head in range(2):
        spline = RectBivariateSpline(source, source, table[:-3, head].view(27, 27).numpy(), kx=3, ky=3, s=0)
        np.testing.assert_allclose(resized[..., head].numpy(), spline(wanted, wanted), atol=1e-9)


def test_resize_table__rectangles_use_each_axis_rule() -> None:
    table = torch.randn(732, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows, columns = np.arange(-15, 16.0), np.arange(-19, 20.0)
    spline = RectBivariateSpline(
        unilm_distances(27, 31), unilm_distances(27, 39), table[:-3, 0].view(27, 27).numpy(), kx=3, ky=3, s=0
    )
    resized = resize_table(table, (14, 14), (16, 20))[:-3, 0].view(31, 39)
    np.testing.assert_allclose(resized.numpy(), spline(rows, columns), atol=1e-9)


def test_resize_table__linear_equals_timm() -> None:
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    table = torch.randn(732, 3, generator=torch.Generator().manual_seed(2))
    wanted = resize_rel_pos_bias_table(table, new_window_size=(24, 24), new_bias_shape=(2212, 3))
    torch.testing.assert_close(resize_table(table, (14, 14), (24, 24), "linear"), wanted, atol=1e-4, rtol=0)


def test_resize_table__bilinear_equals_torch() -> None:
    table = torch.randn(732, 3, generator=torch.Generator().manual_seed(3))
    picture = table[:-3].T.reshape(1, 3, 27, 27)
    wanted = F.interpolate(picture, size=(31, 39), mode="bilinear").flatten(2)[0].T
    torch.testing.assert_close(resize_table(table, (14, 14), (16, 20), "bilinear")[:-3], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("source", [1, 2, 3])
def test_resize_table__tiny_tables_stay_finite_and_keep_a_constant(source: int) -> None:
    table = torch.full(((2 * source - 1) ** 2 + 3, 1), 2.5)
    torch.testing.assert_close(resize_table(table, (source, source), (5, 5)), torch.full((84, 1), 2.5))


def test_resize_table__gradients_reach_the_table() -> None:
    table = torch.randn(28, 2, requires_grad=True)  # grid of 3 x 3
    resize_table(table, (3, 3), (5, 4)).sum().backward()
    assert table.grad is not None and bool((table.grad != 0).any())
