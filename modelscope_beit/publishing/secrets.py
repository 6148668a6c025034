"""Finds what must not be published: tokens, keys and passwords, by how they look and where they stand."""

import json
import os
import re
from collections.abc import Iterator, Mapping

# What it is -> how it looks.
_PATTERNS = {
    "a ModelScope token": r"\bms-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an Alibaba Cloud key": r"\bLTAI[A-Za-z0-9]{12,26}\b",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a Weights & Biases key": r"(?i)\bwandb\w*[\"']?\s*[:=]\s*[\"']?[0-9a-f]{40}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    # Not a name in a program, which a dot, a bracket or a word that is no secret would follow.
    "a secret in an assignment": r"(?i)\b\w*(?:token|password|secret|api_?key)=[\"']?[\w-]{6,}(?![\w.(\[-])",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/:@]+@",
}
# The last words of keys whose value is a secret, wherever they stand in a configuration; not those of a tokenizer.
_SECRET_KEY = re.compile(
    r"(?i)(?!(?:cls|mask|pad|bos|eos|unk|sep)_token$)(?:.*[_-])?"
    r"(?:token|api_?key|access_?key|secret(?:_?key)?|password|passwd|credentials?)"
)
_SECRET_VARIABLE = re.compile(r"(?i)(?:TOKEN|SECRET|API_?KEY|ACCESS_?KEY|PASSWORD)$")
# A shorter value of a variable may be a word like any other.
_SHORTEST_VALUE = 12


def is_secret_variable(name: str) -> bool:
    """Tells whether an environment variable of that name holds a secret, as names go."""
    return _SECRET_VARIABLE.search(name) is not None


def secrets_in_text(text: str) -> list[str]:
    """Returns what was found, in words, with the first characters of each; the secret itself is never told."""
    found = [f"{what} ({_shown(match[0])})" for what, look in _PATTERNS.items() for match in re.finditer(look, text)]
    for name, value in os.environ.items():
        if is_secret_variable(name) and len(value) >= _SHORTEST_VALUE and value in text:
            found.append(f"the value of the environment variable {name}")
    return list(dict.fromkeys(found))


def secrets_in_json(text: str) -> list[str]:
    """Returns the paths of keys of a JSON text that hold a token, key or password, in words; none if it is no JSON."""
    try:
        content = json.loads(text)
    except ValueError:
        return []
    return [f"{path} (a value of {len(value)} characters)" for path, value in _secret_values(content, "")]


def _secret_values(content: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, Mapping):
        for name, child in content.items():
            where = f"{path}.{name}" if path else str(name)
            if isinstance(child, str) and child and _SECRET_KEY.fullmatch(str(name)):
                yield where, child
            else:
                yield from _secret_values(child, where)
    elif isinstance(content, list):
        for number, child in enumerate(content):
            yield from _secret_values(child, f"{path}[{number}]")


def _shown(secret: str) -> str:
    return f"{secret[:4]}..., {len(secret)} characters"
