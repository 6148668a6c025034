"""README.md of a published model: front matter, both languages, citations, and what the source's author has written."""

from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.card_parts import in_language
from modelscope_beit.publishing.card_words import WORDS, Language
from modelscope_beit.publishing.citations import citations
from modelscope_beit.publishing.front_matter import write_front_matter
from modelscope_beit.publishing.source import CARD_MARK
from modelscope_beit.training.markdown import code_block, escaped


def write_card(facts: CardFacts) -> str:
    """Returns the text of the card; nothing in it depends on the time or the machine, so the same model gets the same.

    The language that comes first is the one of most readers of the hub.
    """
    order: tuple[Language, Language] = ("zh", "en") if facts.destination.hub == "modelscope" else ("en", "zh")
    links = " | ".join(f"[{WORDS[language]['language']}](#{language})" for language in order)
    parts = [
        write_front_matter(facts.front_matter, facts.destination.hub) + CARD_MARK,
        f"# {escaped(facts.title)}",
        links,
        *(in_language(facts, language) for language in order),
    ]
    if entries := citations(facts.model.settings.model):
        parts.append(f"## {_both('citation', order)}\n\n{code_block(entries, 'bibtex')}")
    if facts.source.own_words:
        # As it was written: a path or a secret in it is found by the checks, not changed behind the author's back.
        parts.append(f"## {_both('own_words', order)}\n\n{facts.source.own_words}")
    return "\n\n".join(parts) + "\n"


def _both(name: str, order: tuple[Language, Language]) -> str:
    return " / ".join(WORDS[language][name] for language in order)
