"""What a script says about pushing the trained model to the hub, under the names that ModelScope's own hooks have.

`push_to_hub`, `hub_repo_id`, `hub_token`, `private_hub`, `hub_revision` and `upload_strategy` stand in
`train.checkpoint.period` or `train.checkpoint.best` (where TrainingArgs writes them), or in a hook of `train.hooks`;
see modelscope/trainers/hooks/checkpoint/checkpoint_hook.py. They are taken out of a configuration before anything is
written, because one of them is a secret. Standard library only.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import shown

PUSH_KEYS = ("push_to_hub", "hub_repo_id", "hub_token", "private_hub", "hub_revision", "upload_strategy")
_HIDDEN = "***"


@dataclass(frozen=True)
class HubPush:
    """One place to push to. revision: the branch; None: the hub's own. token: None: from environment or login."""

    repo_id: str
    private: bool = True
    revision: str | None = None
    token: str | None = field(default=None, repr=False)


def take_push_settings(configuration: Any) -> dict[str, dict[str, Any]]:
    """Removes everything about pushing from a configuration, in place, and returns it: key path -> what stood there.

    configuration: a mapping, or ModelScope's Config. What becomes empty by that goes too.
    """
    taken: dict[str, dict[str, Any]] = {}
    train = configuration.get("train")
    if not isinstance(train, MutableMapping):
        return taken
    checkpoint = train.get("checkpoint")
    if isinstance(checkpoint, MutableMapping):
        for kind in ("period", "best"):
            section = checkpoint.get(kind)
            if _take(section, f"train.checkpoint.{kind}", taken) and not section:
                del checkpoint[kind]
        if taken and not checkpoint:
            del train["checkpoint"]
    hooks = train.get("hooks")
    if isinstance(hooks, list):
        kept = [
            hook
            for place, hook in enumerate(hooks)
            if not (_take(hook, f"train.hooks[{place}]", taken) and hook.keys() <= {"type"})
        ]
        if kept:
            train["hooks"] = kept
        elif hooks:
            del train["hooks"]
    return taken


def read_pushes(taken: Mapping[str, Mapping[str, Any]]) -> list[HubPush]:
    """Returns where to push to, each place once; a later one that names the same place counts.

    taken: key path -> the settings there, as take_push_settings gives them; "" for a trainer's own arguments.
    Raises SettingsError that lists every value that cannot be used; tokens are never quoted.
    """
    pushes: dict[tuple[str, str | None], HubPush] = {}
    problems: list[str] = []
    for path, settings in taken.items():
        if not settings.get("push_to_hub"):
            continue
        before, at = len(problems), f"{path}." if path else ""
        repo_id, revision = settings.get("hub_repo_id"), settings.get("hub_revision")
        token, private = settings.get("hub_token"), settings.get("private_hub", True)
        if not isinstance(repo_id, str) or repo_id.count("/") != 1:
            problems.append(f"{at}hub_repo_id is {shown(repo_id)}: 'namespace/name' is expected, to push to")
        if private is not None and not isinstance(private, bool):
            problems.append(f"{at}private_hub is {shown(private)}: True or False is expected")
        if revision is not None and not isinstance(revision, str):
            problems.append(f"{at}hub_revision is {shown(revision)}: the name of a branch is expected")
        if token is not None and not isinstance(token, str):
            problems.append(f"{at}hub_token is a {type(token).__name__}: a text is expected, or leave it out")
        if len(problems) == before:
            push = HubPush(str(repo_id), private is not False, revision or None, token or None)
            pushes[push.repo_id, push.revision] = push
    if problems:
        raise SettingsError("\n- ".join(["The settings for pushing to the hub cannot be used:", *problems]))
    return list(pushes.values())


def without_tokens(words: Sequence[str]) -> list[str]:
    """Returns a command line without the values of options whose name ends in "token" or "token_best"."""
    kept: list[str] = []
    hides_next = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_token = name.lower().replace("-", "_").endswith(("token", "token_best"))
        if hides_next:
            kept.append(_HIDDEN)
        else:
            kept.append(f"{name}={_HIDDEN}" if is_token and equals else word)
        hides_next = is_token and not equals and word.startswith("-") and not hides_next
    return kept


def _take(section: Any, path: str, taken: dict[str, dict[str, Any]]) -> bool:
    """Moves the keys about pushing; tells whether there were any."""
    if not isinstance(section, MutableMapping):
        return False
    found = {name: section.pop(name) for name in PUSH_KEYS if name in section}
    if found:
        taken[path] = found
    return bool(found)
