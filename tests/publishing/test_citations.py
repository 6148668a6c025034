"""Whose paper is cited."""

import dataclasses

from modelscope_beit.publishing.citations import citations, is_beit
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.model import ModelSettings


def test_citations__of_beit_both_papers(tiny_settings: ModelSettings) -> None:
    text = citations(tiny_settings)
    assert text.count("@") == 2 and "2208.06366" in text
    assert text.count("{") == text.count("}")


def test_citations__of_others_none(tiny_settings: ModelSettings) -> None:
    vit = dataclasses.replace(tiny_settings.backbone, qkv_bias="full", relative_position="none", absolute_position=True)
    assert not is_beit(dataclasses.replace(tiny_settings, backbone=vit))
    assert citations(dataclasses.replace(tiny_settings, backbone=vit)) == ""
    assert citations(MmclsModelSettings({"type": "ImageClassifier"}, 5, ())) == ""
