"""Which model is served, and how it answers. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from modelscope_beit.settings.inference import InferenceSettings


@dataclass(frozen=True)
class ServedModel:
    """A folder, of a model or an export, and what open_answering has to know of it.

    device: of the network. fast_decode: pixels may be off a little; see images/fast_transform.py.
    """

    folder: Path
    inference: InferenceSettings = InferenceSettings()
    device: str = "cpu"
    fast_decode: bool = False
    trust_remote_code: bool = False
