"""The sections of a card, each in the language of its words."""

import re
import shlex
from collections.abc import Mapping

from modelscope_beit import __version__, names
from modelscope_beit.model_folder.card import architecture_in_words, some_names, steps_in_words
from modelscope_beit.publishing.answers import ANSWERS_FILE, RESOURCES
from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.card_words import ROWS_ZH, WORDS, Language
from modelscope_beit.publishing.limits import limits
from modelscope_beit.publishing.measured import Measured
from modelscope_beit.publishing.self_contained import extra_for, package
from modelscope_beit.publishing.usage_code import EXAMPLE
from modelscope_beit.training.markdown import code_block, escaped, table, two_columns

CURVES, CONFUSION = "curves.png", "confusion.png"
_PICTURES = re.compile(r"([\d,]+) pictures")


def in_language(facts: CardFacts, language: Language) -> str:
    """Returns everything of the card that is told in both languages."""
    words = WORDS[language]
    parts = {
        "what": _what(facts, language),
        "use": _use(facts, words),
        "result": _result(facts, words),
        "recipe": _recipe(facts, language),
        "data": _data(facts, language),
        "limits": "\n".join(f"- {sentence}" for sentence in limits(facts, words)),
    }
    sections = [f"### {words[name]}\n\n{text}" for name, text in parts.items()]
    return "\n\n".join([f'<a id="{language}"></a>\n\n## {words["language"]}', *sections])


def _what(facts: CardFacts, language: Language) -> str:
    words, model, settings = WORDS[language], facts.model, facts.model.settings
    rows = {
        _row("Network", language): architecture_in_words(settings.model),
        words["parameters"]: f"{model.num_parameters:,}",
        words["classes"]: f"{len(model.class_names):,}: {some_names(model.class_names)} ({names.CLASS_NAMES_FILE})",
        _row("Input", language): "; ".join(steps_in_words(settings.preprocessing)),
        words["weights"]: f"{model.weights}, {facts.digest}",
        words["license_row"]: facts.front_matter.license,
    }
    if base := facts.source.rows("Model").get("Fine-tuned from") or facts.front_matter.base_model:
        rows[words["base_model"]] = facts.shortened(base)
    rows[words["written_by"]] = f"{names.DISTRIBUTION} {__version__}"
    return two_columns(rows)


def _use(facts: CardFacts, words: Mapping[str, str]) -> str:
    usage = facts.usage
    ours = shlex.quote(package(extra_for(facts.model.settings)))
    packages = "transformers torchvision" if facts.destination.hub == "huggingface" else ours
    parts = [code_block(f"pip install {packages}", "bash"), code_block(usage.code.strip(), "python")]
    if usage.error:
        # A traceback tells where the packages of this machine lie; the check names what failed.
        return "\n\n".join([*parts, words["use_failed"], code_block(facts.shortened(usage.error.splitlines()[-1]))])
    parts += [words["use_intro"].format(example=EXAMPLE, picture=usage.picture), code_block(usage.output)]
    if facts.self_contained:
        parts.append(words["use_trust"])
    parts.append(words["answers"].format(file=ANSWERS_FILE, pictures=len(facts.answers)))
    return "\n\n".join(parts)


def _result(facts: CardFacts, words: Mapping[str, str]) -> str:
    measured = facts.measured
    if measured is None:
        parts = [_unknown("result_none", facts, words)]
    else:
        data = escaped(facts.shortened(measured.data))
        intro = words["result_intro"].format(pictures=f"{measured.pictures:,}", data=data)
        parts = [intro, _metrics(measured, words)]
    for name, key in ((CURVES, "curves"), (CONFUSION, "confusion")):
        if name in facts.pictures:
            parts.append(f"![{words[key]}]({RESOURCES}/{name})")
    return "\n\n".join(parts)


def _metrics(measured: Measured, words: Mapping[str, str]) -> str:
    rows = []
    for name, value in measured.metrics.items():
        bounds = measured.intervals.get(name)
        interval = "" if bounds is None else f"{bounds[0]:.2f} – {bounds[1]:.2f} %"
        rows.append((name, f"{value:.2f} %", interval))
    return table([words["metric"], words["value"], words["interval"]], rows)


def _recipe(facts: CardFacts, language: Language) -> str:
    words = WORDS[language]
    rows = facts.source.rows("Recipe")
    if not rows:
        return _unknown("recipe_none", facts, words)
    # The start and the machine belong to it, the digests of packages do not.
    rows |= {name: value for name, value in facts.source.rows("Made with").items() if name != "Python"}
    told = {_row(name, language): facts.shortened(value) for name, value in rows.items()}
    parts = [two_columns(told)]
    if command := facts.source.record.get("command"):
        parts += [words["command"], code_block(facts.shortened(str(command)), "bash")]
    return "\n\n".join(parts)


def _data(facts: CardFacts, language: Language) -> str:
    found = facts.source.tables.get("Data", [])
    if not found:
        return _unknown("data_none", facts, WORDS[language])
    is_header = [row[0] == "Class" for row in found]
    place = is_header.index(True) if any(is_header) else len(found)
    about = {_row(row[0], language): facts.shortened(_counted(row[1], language)) for row in found[:place] if row[0]}
    parts = [two_columns(about)]
    if place < len(found):
        parts.append(table([_row(name, language) for name in found[place]], found[place + 1 :]))
    return "\n\n".join(parts)


def _unknown(name: str, facts: CardFacts, words: Mapping[str, str]) -> str:
    return f"{words[name]} {words['see_own_words']}" if facts.source.own_words else words[name]


def _row(name: str, language: Language) -> str:
    return ROWS_ZH.get(name, name) if language == "zh" else name


def _counted(text: str, language: Language) -> str:
    return _PICTURES.sub(r"\1 张图片", text) if language == "zh" else text
