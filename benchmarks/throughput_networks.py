"""Writes the network that throughput.py measures, with the same random weights in the format of each contestant.

python benchmarks/throughput_networks.py SIZE FOLDER
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from modelscope_beit.checkpoints.targets import write_timm, write_transformers
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.any_model import write_any_model
from modelscope_beit.settings.model import BackboneSettings, ModelSettings, model_settings

CONFIGURATION = Path(__file__).resolve().parent.parent / "configs" / "beitv2-base-p16-224_imagenet.json"
# The first ones give the ranges for int8, on the others answers are compared.
CALIBRATION_PICTURES = 16
PICTURES = 24
# To try the benchmark itself.
TINY = ModelSettings(BackboneSettings(width=64, depth=2, num_heads=2, mlp_hidden=128), num_classes=10)


def main(size: str, folder: Path) -> None:
    """Writes network.json, pictures.npy and a folder or file for each contestant whose package is installed."""
    torch.manual_seed(0)
    settings = TINY if size == "tiny" else model_settings("beitv2", size)
    network = with_random_weights(build_classifier(settings)).eval()
    pictures = structured_pictures(settings.image_size)
    np.save(folder / "pictures.npy", pictures)
    (folder / "network.json").write_text(json.dumps(facts(settings)), encoding="utf-8")
    write_stock(folder / "stock", settings, network)
    of_folder = read_folder_settings(folder / "stock")
    write_timm(folder / "timm", of_folder, network.state_dict())
    write_transformers(folder / "transformers", of_folder, network.state_dict())
    if find_spec("timm") and find_spec("onnx") and find_spec("onnxruntime"):
        write_timm_graphs(folder, pictures[:1])


@torch.no_grad()
def with_random_weights(network: BeitClassifier) -> BeitClassifier:
    """Returns the network with no weight at its neutral value and logits that spread by about 3."""
    for name, weight in network.named_parameters():
        if "relative_position" in name:
            weight.normal_(std=0.5)
        elif name.endswith("fc.weight") or name.endswith("head.weight"):
            weight.normal_(std=3 * weight.shape[1] ** -0.5)
        else:
            weight.add_(torch.randn_like(weight) * 0.02)
    return network


def structured_pictures(size: tuple[int, int]) -> np.ndarray:
    """Returns pictures (N, 3, H, W), normalised: smooth areas, edges and noise, as photographs have."""
    coarse, fine = (
        F.interpolate(torch.randn(PICTURES, 3, cells, cells), size, mode="bicubic", align_corners=False)
        for cells in (4, 24)
    )
    pictures: np.ndarray = (coarse + 0.5 * fine + 0.1 * torch.randn_like(coarse)).numpy()
    return pictures


def facts(settings: ModelSettings) -> dict[str, object]:
    """Returns the shapes (in, out, times per pass) of the linear layers, rows per picture, and work per picture."""
    backbone = settings.backbone
    width, hidden, depth = backbone.width, backbone.mlp_hidden, backbone.depth
    patches = backbone.grid[0] * backbone.grid[1]
    tokens = patches + backbone.num_prefix_tokens
    shapes = [(width, 3 * width, depth), (width, width, depth), (width, hidden, depth), (hidden, width, depth)]
    in_linears = 2 * tokens * sum(inside * outside * times for inside, outside, times in shapes)
    attention = 4 * tokens**2 * width * depth
    ends = 2 * patches * backbone.in_channels * backbone.patch_size**2 * width + 2 * width * settings.num_classes
    return {"shapes": shapes, "tokens": tokens, "flop_in_linears": in_linears, "flop": in_linears + attention + ends}


def write_stock(folder: Path, settings: ModelSettings, network: BeitClassifier) -> None:
    """Writes a folder in the stock layout, which ours is, too."""
    folder.mkdir()
    configuration = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
    configuration.pop("_about", None)
    configuration["model"]["mm_model"] = write_any_model(settings)
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    names = [f"class {number}" for number in range(settings.num_classes)]
    torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": names}}, folder / "pytorch_model.pt")


def write_timm_graphs(folder: Path, example: np.ndarray) -> None:
    """Writes timm's network for ONNX Runtime and OpenVINO by their own documented ways, without anything of ours.

    8 bits as ONNX Runtime advises for transformers: weights are fixed, activations are measured in each pass.
    """
    import timm
    from onnxruntime.quantization import quantize_dynamic

    network = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
    # As timm's own onnx_export.py does; torch's newer exporter cannot trace this network for any number of pictures.
    torch.onnx.export(
        network,
        (torch.from_numpy(example),),
        folder / "timm_fp32.onnx",
        dynamo=False,
        input_names=["images"],
        dynamic_axes={"images": {0: "batch"}},
    )
    quantize_dynamic(folder / "timm_fp32.onnx", folder / "timm_int8.onnx")
    if find_spec("openvino"):
        import openvino

        openvino.save_model(
            openvino.convert_model(folder / "timm_fp32.onnx"), folder / "timm_fp32.xml", compress_to_fp16=False
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
