"""A classifier -> a module that can be turned into a graph -> torch's exported program. torch only."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.network.inference_form import Arithmetic, InferenceForm, fold_norms, inference_form

_LONGEST_REASON = 400


def graph_module(network: Classifier, *, half: bool = False, for_openvino: bool = False) -> nn.Module:
    """Returns a module in eval mode: images (N, 3, H, W), float32, normalised -> logits (N, K), float32.

    half: it computes in float16 in between, with weights of its own.
    for_openvino: in fewer steps than the other runtimes want: these have attention and layer norm as one operator each.
        OpenVINO answers 1.02 to 1.04 times as fast with it (base, batches of 1 and 8, float32 and bfloat16).
    """
    module = inference_form(network, arithmetic=Arithmetic(in_steps=for_openvino))
    if for_openvino and isinstance(module, InferenceForm):
        fold_norms(module)
    return _HalfPrecision(module) if half else module


def check_dynamic_size(network: Classifier) -> None:
    """Raises SettingsError for a network whose graph has one size."""
    if isinstance(network, BeitClassifier):
        height, width = network.settings.backbone.image_size
        raise SettingsError(
            f"The graph of this network takes pictures of {height}x{width} pixels only: its positions belong to that "
            "grid of patches, and interpolating them for another one is no step that a graph can hold. Make a model "
            "folder of the other size first (beit convert MODEL FOLDER --size 384), then export that."
        )


def exported_program(module: nn.Module, images: Tensor, *, dynamic_size: bool) -> ExportedProgram:
    """Returns the program of a module, for any number of pictures.

    images: (N, 3, H, W), at least two. dynamic_size: for any H and W, too.
    Raises SettingsError, with torch's reason, if it cannot be captured as a graph.
    """
    try:
        with torch.no_grad():
            # Which sizes the network takes, at least 3 for instance, torch finds out; none may be fixed.
            axes = dict.fromkeys(axis_names(dynamic_size=dynamic_size), Dim.DYNAMIC)
            return torch.export.export(module, (images,), dynamic_shapes=(axes,))
    # Whatever the code of timm and mmcls makes of torch's symbols.
    except Exception as error:
        what = "pictures of any size" if dynamic_size else "any number of pictures"
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise SettingsError(
            f"torch {torch.__version__} cannot turn this network into a graph for {what} ({type(error).__name__}: "
            f"{reason}). Another way may be --to torchscript, which records one pass through the network."
        ) from error


def axis_names(*, dynamic_size: bool) -> dict[int, str]:
    """Returns axis -> name of what is not fixed in the input of a graph."""
    return {0: "batch"} | ({2: "height", 3: "width"} if dynamic_size else {})


class _HalfPrecision(nn.Module):
    """Float32 outside, float16 inside; so every runtime is fed and read alike."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(module).half()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.half())
        return logits.float()
