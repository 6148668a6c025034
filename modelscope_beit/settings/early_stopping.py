"""`train.early_stopping`: when training ends before its length because validation brings nothing better.

mmcv 1.7.2 has no hook for it; the words are those of Keras's EarlyStopping and of transformers' callback.
Standard library only.
"""

from dataclasses import dataclass

from modelscope_beit.settings.evaluation import EvaluationSettings, is_better
from modelscope_beit.settings.intervals import NOT_NEGATIVE, is_count, number_in
from modelscope_beit.settings.problems import Section


@dataclass(frozen=True)
class EarlyStopping:
    """After how many evaluations without improvement training ends.

    What counts is the result that train.evaluation.save_best names, by its rule. An improvement is a result that beats
    the last improvement by more than min_delta (in the metric's unit: percent for accuracy), as in Keras.
    """

    patience: int
    min_delta: float = 0.0


def read_early_stopping(train: Section, evaluation: EvaluationSettings, *, validates: bool) -> EarlyStopping | None:
    """Returns what `train.early_stopping` says; None where there is none, or its patience is null.

    evaluation, validates: of the same training. Notes as wrong a run in which there would be nothing to wait for.
    """
    if train.get("early_stopping") is None:
        return None
    section = train.section("early_stopping")
    if section is None or section.mapping.get("patience", 0) is None:
        return None
    patience = section.get("patience")
    if not is_count(patience, 1):
        section.wrong("patience", "a whole number of evaluations from 1 on is expected")
        patience = 1
    min_delta = number_in(section, "min_delta", 0.0, NOT_NEGATIVE)
    section.note_unknown_keys()
    if not validates:
        train.wrong("early_stopping", "it watches the validation, but no_validate is true; remove one of the two")
    elif evaluation.save_best is None:
        train.wrong(
            "early_stopping",
            "it watches the result that train.evaluation.save_best names, but that is null; set it to 'auto' or to "
            "a key such as 'accuracy_top-1'",
        )
    return EarlyStopping(patience, min_delta)


def is_improvement(stopping: EarlyStopping, rule: str | None, key: str, new: float, last: float | None) -> bool:
    """Tells whether a result improves on the last improvement, None if there is none, by more than min_delta.

    rule, key: as for evaluation.is_better.
    """
    if not is_better(rule, key, new, last):
        return False
    return last is None or not abs(new - last) <= stopping.min_delta
