"""What a card says about limits and biases: only what follows from what is known, told in any language."""

from collections.abc import Iterator, Mapping

from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.front_matter import OTHER_LICENSE
from modelscope_beit.training.markdown import escaped

# Fewer measured pictures than this are worth a word.
_FEW_MEASURED = 200
_RARE = 20
_MOST_NAMED = 5
# The most frequent class has so many times the pictures of the rarest.
_UNEVEN = 1.5

# A sentence of card_words.py, and what fills its braces.
Sentence = tuple[str, Mapping[str, str]]


def limits(facts: CardFacts, words: Mapping[str, str]) -> list[str]:
    """Returns the sentences, in the language of `words`."""
    return [words[name].format(**values) for name, values in _sentences(facts, words)]


def _sentences(facts: CardFacts, words: Mapping[str, str]) -> Iterator[Sentence]:
    model = facts.model
    if not facts.is_multi_label:
        yield "closed", {"classes": f"{len(model.class_names):,}"}
    yield from _scores(facts)
    yield from _measurement(facts, words)
    yield from _classes(facts.class_counts)
    for difference in model.differences:
        yield "resized", {"difference": escaped(difference)}
    yield "groups", {}
    if facts.front_matter.license == OTHER_LICENSE:
        yield "license", {}


def _scores(facts: CardFacts) -> Iterator[Sentence]:
    confidence = facts.model.settings.confidence
    if confidence is None or confidence.weights != facts.model.source_digest:
        yield "uncalibrated", {}
        return
    values = {
        "pictures": f"{confidence.pictures:,}",
        "data": escaped(facts.shortened(confidence.data)),
        "temperature": f"{confidence.temperature:.4g}",
        "unknown": f"{confidence.unknown_below:.4g}",
    }
    yield "calibrated" if facts.destination.hub == "modelscope" else "without_temperature", values


def _measurement(facts: CardFacts, words: Mapping[str, str]) -> Iterator[Sentence]:
    measured = facts.measured
    if measured is None:
        yield "unmeasured", {}
        return
    if measured.pictures < _FEW_MEASURED:
        yield "few", {"pictures": f"{measured.pictures:,}"}
    if measured.chose_epoch:
        yield "chosen", {}
    if measured.unreadable:
        yield "unreadable", {"pictures": f"{measured.unreadable:,}"}
    if measured.weakest:
        told = [
            words["class_recall"].format(
                name=escaped(one.name), recall=f"{one.recall:.0%}", pictures=f"{one.pictures:,}"
            )
            for one in measured.weakest
        ]
        yield "weakest", {"classes": ", ".join(told)}
    if measured.pairs:
        told = [
            words["pair"].format(truth=escaped(truth), said=escaped(said), count=f"{count:,}")
            for truth, said, count in measured.pairs
        ]
        yield "pairs", {"pairs": ", ".join(told)}


def _classes(counts: Mapping[str, int]) -> Iterator[Sentence]:
    if len(counts) < 2:
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    values = {"most_count": f"{counts[most]:,}", "least_count": f"{counts[least]:,}"}
    if counts[most] > _UNEVEN * counts[least]:
        yield "imbalance", {"most": escaped(most), "least": escaped(least), **values}
    else:
        yield "equal" if counts[most] == counts[least] else "balance", values
    rare = [name for name, count in sorted(counts.items(), key=lambda item: item[1]) if count < _RARE]
    if rare:
        dots = ", ..." if len(rare) > _MOST_NAMED else ""
        told = ", ".join(escaped(name) for name in rare[:_MOST_NAMED])
        yield "rare", {"limit": str(_RARE), "classes": f"{told}{dots} ({len(rare):,})"}
