"""What is said to be answered is what is answered."""

from modelscope_beit.serving.documentation import ANSWERS, REQUEST_BODY, Answer, Refusal


def test_answers__fit_what_the_server_sends() -> None:
    Answer.model_validate({"predictions": [{"labels": ["a"], "scores": [1.0]}], "model": "sha256:0", "version": "1"})
    Answer.model_validate(
        {"predictions": [{"labels": [], "scores": [], "error": "x"}], "model": "", "version": "", "detail": "x"}
    )
    Refusal.model_validate({"detail": "x"})
    assert ANSWERS[200]["model"] is Answer
    assert all(ANSWERS[code]["model"] is Refusal for code in (401, 413, 422, 503, 504))


def test_request_body__names_the_key_of_json() -> None:
    schema = REQUEST_BODY["content"]["application/json"]["schema"]
    assert schema["required"] == ["images"]
