"""The exporter that ModelScope's Exporter.from_model(model) gives for our models; the stock classes have none."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelscope.exporters.base import Exporter
from modelscope.exporters.builder import EXPORTERS

from modelscope_beit import names
from modelscope_beit.errors import SettingsError
from modelscope_beit.export.golden import packaged_pictures, transformed
from modelscope_beit.export.targets import LOWEST_OPSET, TARGETS, ExportRequest
from modelscope_beit.export.writing import export_model
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.prediction.classifying import class_probabilities

# What another device, or another form of the same network, may change of a probability.
_SAME_PROBABILITY = 1e-2


class BeitExporter(Exporter):
    """Writes exported folders, each with its certificate; see export.writing."""

    def export_onnx(self, output_dir: str, opset: int = LOWEST_OPSET, **kwargs: Any) -> dict[str, str]:
        """Writes a new folder with an ONNX file and returns {"model": its path}.

        kwargs: precision, dynamic_size, calibration and tolerance of export.targets.ExportRequest.
        Raises BeitError, with nothing written, if that cannot be done or the file answers otherwise.
        """
        return self._export(output_dir, ExportRequest("onnx", opset=opset, **kwargs))

    def export_torch_script(self, output_dir: str, **kwargs: Any) -> dict[str, str]:
        """Writes a new folder with a TorchScript file and returns {"model": its path}; kwargs as for export_onnx."""
        return self._export(output_dir, ExportRequest("torchscript", **kwargs))

    def _export(self, output_dir: str, request: ExportRequest) -> dict[str, str]:
        opened = open_model(self.model.model_dir, trust_remote_code=getattr(self.model, "trust_remote_code", False))
        self._check_unchanged(opened)
        export_model(opened, Path(output_dir), request)
        return {"model": str(Path(output_dir) / TARGETS[request.to].file)}

    def _check_unchanged(self, opened: OpenedModel) -> None:
        """Raises SettingsError if the model was trained since it was opened: its folder's weights are exported."""
        images = torch.from_numpy(transformed(opened.transform, packaged_pictures()))
        of_model, of_folder = (class_probabilities(one, images) for one in (self.model.cls_model, opened.network))
        if not np.abs(of_model - of_folder).max() <= _SAME_PROBABILITY:
            raise SettingsError(
                f"The model no longer answers as its folder {opened.folder} does, whose weights are exported. Save it "
                "to a folder first, and export that."
            )


EXPORTERS.register_module(names.TASK, module_name=names.MODEL, module_cls=BeitExporter)
