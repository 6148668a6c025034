import torch

from modelscope_beit.network.head import LinearHead


def test_linear_head__is_one_linear_layer_named_fc() -> None:
    head = LinearHead(4, 3)
    features = torch.randn(2, 4)
    assert sorted(head.state_dict()) == ["fc.bias", "fc.weight"]
    torch.testing.assert_close(head(features), features @ head.fc.weight.T + head.fc.bias)
