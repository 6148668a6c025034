"""Everything that a card tells, before it is put into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelscope_beit.publishing.answers import Answer
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.front_matter import FrontMatter
from modelscope_beit.publishing.local_paths import without_local_paths
from modelscope_beit.publishing.measured import Measured
from modelscope_beit.publishing.model_files import ModelFiles
from modelscope_beit.publishing.source import Source
from modelscope_beit.publishing.usage_code import Usage


@dataclass(frozen=True)
class CardFacts:
    """What is known of a model that is to be published.

    digest: of the published weights. answers: the golden ones. pictures: names of those that exist under resources/.
    known_paths: local paths that must not be told.
    """

    destination: Destination
    title: str
    front_matter: FrontMatter
    source: Source
    model: ModelFiles
    digest: str
    answers: Sequence[Answer]
    usage: Usage
    measured: Measured | None
    pictures: Sequence[str]
    is_multi_label: bool
    self_contained: bool
    known_paths: Sequence[str] = ()

    @property
    def class_counts(self) -> Mapping[str, int]:
        """Class name -> pictures in training, as the run has told them; empty where nobody did."""
        rows = self.source.tables.get("Data", [])
        header = next((row for row in rows if row[:2] == ["Class", "Training"]), None)
        if header is None:
            return {}
        counted = rows[rows.index(header) + 1 :]
        return {row[0]: int(row[1].replace(",", "")) for row in counted if row[1].replace(",", "").isdecimal()}

    def shortened(self, text: str) -> str:
        """Returns a text without local paths, only their last parts."""
        return without_local_paths(text, self.known_paths)
