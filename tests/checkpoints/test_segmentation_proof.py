import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelscope_beit.checkpoints.segmentation import SegmentationSource, open_segmentation_source
from modelscope_beit.checkpoints.segmentation_proof import prove_segmentation
from segmentation_models import transformers_segmentation, write_transformers_folder


@pytest.fixture
def source(tmp_path: Path) -> SegmentationSource:
    return open_segmentation_source(write_transformers_folder(tmp_path, transformers_segmentation()))


def test_prove_segmentation__compares_with_transformers(source: SegmentationSource) -> None:
    proof = prove_segmentation(source)
    assert proof.library == "transformers"
    assert proof.largest_difference is not None and proof.largest_difference < 1e-4
    assert (proof.num_mapped, proof.num_dropped, proof.digest) == (len(source.mapped), 8, source.digest)


@pytest.mark.parametrize(
    "key", ["backbone.blocks.1.attn.relative_position_bias_table", "head.lateral.2.norm.running_var"]
)
def test_prove_segmentation__sees_a_single_wrong_weight(source: SegmentationSource, key: str) -> None:
    broken = source.tensors | {key: source.tensors[key].roll(1, dims=0)}
    proof = prove_segmentation(replace(source, tensors=broken))
    assert proof.largest_difference is not None and proof.largest_difference > 1e-3


def test_prove_segmentation__without_transformers_says_so(
    source: SegmentationSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    proof = prove_segmentation(source)
    assert (proof.library, proof.largest_difference) == ("", None) and "transformers is needed" in proof.reason
