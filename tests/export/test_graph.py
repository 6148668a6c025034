import pytest
import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.graph import check_dynamic_size, exported_program, graph_module


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images).mean(dim=(2, 3))


@pytest.mark.parametrize("for_openvino", [False, True])
def test_exported_program__takes_any_number_of_pictures(tiny_model, for_openvino: bool) -> None:
    module = graph_module(tiny_model.network, for_openvino=for_openvino)
    program = exported_program(module, torch.randn(2, 3, 32, 32), dynamic_size=False).module()
    for count in (1, 2, 7):
        images = torch.randn(count, 3, 32, 32)
        torch.testing.assert_close(program(images), tiny_model.network(images), rtol=0, atol=1e-5)


def test_exported_program__takes_any_size_where_the_network_does() -> None:
    network = Convolution()
    program = exported_program(network, torch.randn(2, 3, 16, 16), dynamic_size=True).module()
    images = torch.randn(5, 3, 24, 40)
    torch.testing.assert_close(program(images), network(images))


def test_exported_program__says_why_a_network_is_no_graph() -> None:
    class Branching(Convolution):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) if images.sum() > 0 else images.mean(dim=(2, 3))

    with pytest.raises(SettingsError, match=r"cannot turn this network into a graph for any number.*--to torchscript"):
        exported_program(Branching(), torch.randn(2, 3, 16, 16), dynamic_size=False)


def test_graph_module__half_computes_in_float16_with_weights_of_its_own(tiny_model) -> None:
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        logits, exact = graph_module(tiny_model.network, half=True)(images), tiny_model.network(images)
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).abs().max() < 0.05
    assert next(tiny_model.network.parameters()).dtype == torch.float32


def test_check_dynamic_size__says_how_to_get_another_size(tiny_model) -> None:
    with pytest.raises(SettingsError, match=r"32x32 pixels only.*beit convert MODEL FOLDER --size"):
        check_dynamic_size(tiny_model.network)
