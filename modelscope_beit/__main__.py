"""The command line: ``beit VERB ...``, or ``python -m modelscope_beit VERB ...``."""

import argparse
import difflib
import importlib
import io
import os
import sys

from modelscope_beit import __version__
from modelscope_beit.errors import BeitError
from modelscope_beit.names import COMMAND
from modelscope_beit.training.telling import has_to_tell

# Verb -> module and what it does. A module has a docstring that is its help, add_arguments and run.
VERBS = {
    "predict": ("modelscope_beit.commands.predict", "classify pictures, folders and URLs"),
    "train": ("modelscope_beit.commands.train", "fine-tune a model on pictures"),
    "tokenizer": ("modelscope_beit.commands.tokenizer", "train BEiT v2's tokenizer on pictures without labels"),
    "pretrain": ("modelscope_beit.commands.pretrain", "teach BEiT v2 to guess hidden patches, without labels"),
    "resume": ("modelscope_beit.commands.resume", "go on with a run that was interrupted"),
    "evaluate": ("modelscope_beit.commands.evaluate", "measure a model on labelled pictures, with a report"),
    "calibrate": ("modelscope_beit.commands.calibrate", "make scores mean what they say, and let it say unknown"),
    "embed": ("modelscope_beit.commands.embed", "turn pictures into features, or find the nearest pictures"),
    "probe": ("modelscope_beit.commands.probe", "measure a model's features without training the network"),
    "convert": ("modelscope_beit.commands.convert", "turn weights of other libraries into a model folder, or back"),
    "export": ("modelscope_beit.commands.export", "write a model for ONNX, OpenVINO or torch, with a certificate"),
    "verify": ("modelscope_beit.commands.verify", "check an exported model against its certificate"),
    "publish": ("modelscope_beit.commands.publish", "check a model and bring it to a hub, with a card"),
    "bench": ("modelscope_beit.commands.bench", "measure speed, memory and exactness of a model's forms here"),
    "describe": ("modelscope_beit.commands.describe", "say what is in a model folder or a weight file"),
    "serve": ("modelscope_beit.commands.serve", "answer pictures over HTTP"),
    "run": ("modelscope_beit.commands.run", "run a ModelScope script with this package loaded"),
    "demo": ("modelscope_beit.commands.demo", "classify a few pictures that come with the package"),
}

WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count.
BROKEN_PIPE = 141  # 128 + SIGPIPE.


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or what the command's help says, or 2 for a user's error.

    argv: what follows the program's name; None: the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A class name must not break an ASCII terminal.
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except BeitError as error:
        text = f"{COMMAND}: {error}"
        if has_to_tell(text):
            print(text, file=sys.stderr, flush=True)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as `head` does. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(argv: list[str]) -> int:
    verb, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if verb in VERBS:
        command = importlib.import_module(VERBS[verb][0])
        text, _, examples = (command.__doc__ or "").partition("\nExamples:")
        parser = _parser(f"{COMMAND} {verb}", text, f"Examples:{examples}" if examples else None)
        command.add_arguments(parser)
        arguments = parser.parse_args(rest)
        return int(command.run(arguments))
    parser = _parser(COMMAND, "BEiT v2 image classification for ModelScope.", _overview())
    parser.add_argument("--version", action="version", version=f"{COMMAND} {__version__}")
    parser.add_argument("verb", metavar="VERB", help="one of the verbs below")
    parser.parse_args([verb])
    nearest = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(VERBS)}."
    parser.error(f"there is no verb {verb}{hint}")


def _parser(program: str, description: str, epilog: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _overview() -> str:
    verbs = "\n".join(f"  {verb:<10}{purpose}" for verb, (_, purpose) in VERBS.items())
    examples = f"  {COMMAND} demo\n  {COMMAND} predict embedded photos/ --out photos.csv\n  {COMMAND} predict --help"
    return f"verbs:\n{verbs}\n\nexamples:\n{examples}"


if __name__ == "__main__":
    sys.exit(main())
