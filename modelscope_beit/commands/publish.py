"""Publish a model on the ModelScope or the Hugging Face hub, after checking what would leave this machine.

SOURCE is a model folder, or the folder of a run, whose result, recipe, data and curves then go into the card.
DESTINATION is modelscope:NAMESPACE/NAME, or huggingface:NAMESPACE/NAME for a model in the format of transformers.
A folder is staged first: configuration, weights, class names, a card in Chinese and English whose code was just run,
golden answers. It is checked: pipeline() opens it in a new interpreter and repeats the answers; it holds no secret, no
local path, no code. If a check fails, nothing is sent and the exit status is 1. The token comes from the environment
(MODELSCOPE_API_TOKEN, HF_TOKEN) or from the hub's stored login.

Examples:
  beit publish runs/pets modelscope:me/pets --dry-run                    stage, check, show, and stop
  beit publish runs/pets modelscope:me/pets --tag v1.0
  beit publish runs/pets modelscope:me/pets --self-contained             opens without importing this package
  beit publish my_model huggingface:me/pets --license apache-2.0 --evaluation evaluation/pets --no-private
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.model_argument import local_path

if TYPE_CHECKING:
    from modelscope_beit.publishing.staged_folder import StagedFolder
    from modelscope_beit.publishing.uploading import Uploaded

CHECK_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE, DESTINATION, what only the person who publishes knows, and how far to go."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a model folder, the folder of a run, a hub id, or the word embedded")
    add("destination", metavar="DESTINATION", help="modelscope:NAMESPACE/NAME or huggingface:NAMESPACE/NAME")
    add("--stage", type=Path, metavar="DIR", help="the folder to stage (default: staged/HUB/NAMESPACE/NAME)")
    add("--dry-run", action="store_true", help="stage and check, and stop there")
    add("--self-contained", action="store_true",
        help="add what ModelScope needs to open it, with trust_remote_code=True, without our import")  # fmt: skip
    add("--private", action=argparse.BooleanOptionalAction, default=True, help="of a new repository (private)")
    add("--revision", metavar="BRANCH", help="the branch to write to (default: the hub's own)")
    add("--tag", metavar="NAME", help="name this state, e.g. v1.0")
    add("--message", metavar="TEXT", help="of the commit")
    add("--title", metavar="TEXT", help="of the card (default: NAME)")
    add("--license", metavar="NAME", help="of the weights, e.g. apache-2.0 (default: what the source's card says)")
    add("--base-model", metavar="ID", help="the hub's id of the model that this was fine-tuned from")
    add("--datasets", nargs="+", default=[], metavar="ID", help="the hub's ids of the data it was trained on")
    add("--evaluation", type=Path, metavar="DIR", help="what `beit evaluate --out DIR` wrote of this model")
    add("--example", type=Path, metavar="PICTURE", help="one that may be published, for the code in the card")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add("--trust-remote-code", action="store_true", help="allow SOURCE to run code of its own; it is not published")


def run(arguments: argparse.Namespace) -> int:
    """Stages, shows what was found, uploads, and returns 0, or 1 if a check failed and nothing was sent.

    Raises BeitError if SOURCE cannot be opened, an option cannot be used, or the hub refuses.
    """
    # Deferred, so that help is told at once: these bring torch and rich.
    from modelscope_beit.commands.publish_view import UploadProgress, show_staged, show_uploaded
    from modelscope_beit.publishing.destination import read_destination
    from modelscope_beit.publishing.publishing import publish
    from modelscope_beit.publishing.staging import Wishes, stage

    destination = read_destination(arguments.destination, revision=arguments.revision)
    folder = arguments.stage or Path("staged", destination.hub, destination.repo_id)
    wishes = Wishes(
        title=arguments.title,
        license=arguments.license,
        base_model=arguments.base_model,
        datasets=arguments.datasets,
        evaluation=arguments.evaluation,
        example=arguments.example,
    )
    staged = stage(
        local_path(arguments.source),
        destination,
        folder,
        self_contained=arguments.self_contained,
        wishes=wishes,
        trust_remote_code=arguments.trust_remote_code,
        on_step=lambda step: print(f"{step} ...", file=sys.stderr, flush=True),
    )
    if not arguments.json:
        show_staged(staged)
    uploaded = None
    if staged.is_right and not arguments.dry_run:
        with UploadProgress() as progress:
            uploaded = publish(
                staged,
                private=arguments.private,
                tag=arguments.tag,
                message=arguments.message,
                progress=progress.advance,
            )
    if arguments.json:
        print(json.dumps(_as_json(staged, uploaded), indent=2, ensure_ascii=False))
    elif uploaded is not None:
        show_uploaded(uploaded)
    return 0 if staged.is_right else CHECK_FAILED


def _as_json(staged: "StagedFolder", uploaded: "Uploaded | None") -> dict[str, object]:
    return {
        "folder": str(staged.folder),
        "destination": str(staged.destination),
        "files": staged.files,
        "bytes": staged.size,
        "checks": [vars(check) for check in staged.checks],
        "is_right": staged.is_right,
        "uploaded": None if uploaded is None else vars(uploaded),
    }
