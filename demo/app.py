"""A page on which people classify pictures, and see where the model looked; in English and Chinese.

python demo/app.py                            the small model that comes with the package; needs no network
python demo/app.py my_model damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k

As a ModelScope Studio (SDK: Gradio): copy app.py, the files app_* beside it and requirements.txt to the Studio's
repository, and name your models in MODELS. GRADIO_SERVER_NAME and GRADIO_SERVER_PORT choose another address.
"""

import argparse
import os
import sys

# Before gradio is imported: it would ask its maker's server for news.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from app_answers import Models  # noqa: E402 - after the line above
from app_page import Page, launch  # noqa: E402

from modelscope_beit.errors import BeitError  # noqa: E402
from modelscope_beit.prediction.answering import shipped_pictures  # noqa: E402

MODELS = ["embedded"]


def main() -> int:
    """Serves the page until it is stopped; returns 1 if a model cannot be opened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="*", default=MODELS, help="folders, exported ones, or hub ids")
    try:
        models = Models(parser.parse_args().models)
    except BeitError as error:
        print(error, file=sys.stderr)
        return 1
    launch(Page(models, shipped_pictures()[::2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
