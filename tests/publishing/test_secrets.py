"""What must not be published. The tokens are made up, and put together here so that no scanner finds them."""

import json

import pytest

from modelscope_beit.publishing.secrets import secrets_in_json, secrets_in_text

TOKENS = {
    "a ModelScope token": "ms-" + "0a1b2c3d-1111-2222-3333-0123456789ab",
    "a Hugging Face token": "hf_" + "a1B2" * 9,
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2" * 5,
    "an AWS key": "AKIA" + "A1B2" * 4,
    "an Alibaba Cloud key": "LTAI" + "a1B2" * 5,
    "an API key": "sk-" + "a1B2" * 8,
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a JSON web token": "eyJ" + "hbGciOiJIUzI1.eyJ" + "zdWIiOiIxMjM0.c2lnbmF0dXJl",
    "a secret in an assignment": "train.hub_" + "token=geheim-1234",
    "a password in an address": "https://ann:" + "geheim@example.org/x.git",
}


@pytest.mark.parametrize("what", TOKENS)
def test_secrets_in_text__names_the_kind_and_keeps_the_secret(what: str) -> None:
    token = TOKENS[what]
    (found,) = secrets_in_text(f"push with {token} now")
    assert found.startswith(what) and token not in found


def test_secrets_in_text__passes_what_only_looks_like_one() -> None:
    digest = "sha256:0c883a184db36f07ce1e7aa71363293482fe585c3b9395201278f9bc8aa26514"
    assert (
        secrets_in_text(f"{digest}, ms-cat, hf_hub, task-sk-learn, x@y.z, token=None, hub_token=os.environ['T']") == []
    )


def test_secrets_in_text__knows_the_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_API_KEY", "a-long-value-of-mine")
    monkeypatch.setenv("SHORT_TOKEN", "cat")
    (found,) = secrets_in_text("a cat with a-long-value-of-mine")
    assert "MY_SERVICE_API_KEY" in found and "a-long-value" not in found


def test_secrets_in_json__goes_by_the_key() -> None:
    content = {
        "train": {"hub_token": "abc", "hooks": [{"api_key": "def", "type": "x"}]},
        "model": {
            "cls_token": {"decay_mult": 0.0},
            "pad_token": "[PAD]",
            "token": "",
            "num_tokens": "5",
            "use_mask_token": True,
        },
    }
    found = secrets_in_json(json.dumps(content))
    assert [line.split(" ")[0] for line in found] == ["train.hub_token", "train.hooks[0].api_key"]
    assert secrets_in_json("no JSON") == []
