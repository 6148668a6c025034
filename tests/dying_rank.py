"""A process of torchrun that predicts: dying_rank.py ROWS ARGUMENTS... The second one dies by SIGKILL after so many."""

import os
import signal
import sys

from modelscope_beit.__main__ import main
from modelscope_beit.prediction.growing_table import GrowingTable
from modelscope_beit.prediction.stream import Prediction

append = GrowingTable.append


def append_or_die(self: GrowingTable, prediction: Prediction) -> None:
    append(self, prediction)
    if os.environ["RANK"] == "1" and self.count.total == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    GrowingTable.append = append_or_die  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
