"""What OpenAPI says of the server, beyond what FastAPI sees by itself."""

from typing import Any

from pydantic import BaseModel, Field


class PredictedClasses(BaseModel):
    """What the network says of one picture, best class first."""

    labels: list[str]
    scores: list[float] = Field(description="Probabilities, from 0 to 1; empty with an error.")
    unknown: bool | None = Field(None, description="Of a calibrated model: the picture is of none of the classes.")
    error: str | None = Field(None, description="Why this picture could not be classified.")


class Answer(BaseModel):
    """Rows in the order of the pictures; the digest of the model and the version of the package that answered."""

    predictions: list[PredictedClasses]
    model: str
    version: str


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str


DESCRIPTION = """Send pictures, get classes. Scores are those of `beit predict` and ModelScope's `pipeline`.

    curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' HOST:PORT/predict
    curl -F one=@cat.jpg -F two=@dog.jpg 'HOST:PORT/predict?topk=3'
"""

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {
                    "images": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "base64, data: URLs, or, where the server fetches them, URLs",
                    },
                    "topk": {"type": "integer", "minimum": 1},
                },
            }
        },
    },
}

_REFUSALS = {
    401: "The bearer token is missing or wrong.",
    403: "A URL was sent, but this server fetches none.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, pixels or pictures.",
    415: "The body is of no known type.",
    422: "No picture of the request could be read, or the request cannot be understood.",
    500: "The workers ended while they had the picture.",
    503: "Too much is waiting, or no worker is ready; Retry-After says when to try again.",
    504: "There was no answer in time.",
}

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer, "description": "A row for each picture; one that cannot be read has an error in its row."},
    **{code: {"model": Refusal, "description": text} for code, text in _REFUSALS.items()},
}
