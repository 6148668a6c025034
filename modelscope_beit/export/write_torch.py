"""The formats that torch itself runs: TorchScript, torch.export's program, AOTInductor's package of machine code."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from modelscope_beit.errors import SettingsError


def write_torchscript(module: nn.Module, file: Path, images: Tensor) -> None:
    """Writes one recorded pass through a module; torch takes it for any number of pictures.

    images: (N, 3, H, W), at least two. Raises SettingsError if the pass cannot be recorded.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # That the module looks at sizes is known, and what comes out is compared; torch would also rather be asked
        # for torch.export.
        warnings.simplefilter("ignore")
        try:
            torch.jit.save(torch.jit.trace(module, images, check_trace=False), file)
        except (RuntimeError, TypeError, ValueError) as error:
            raise SettingsError(f"torch {torch.__version__} cannot record this network: {error}") from error


def write_program(program: ExportedProgram, file: Path) -> None:
    """Writes torch.export's archive."""
    torch.export.save(program, file)


def write_compiled(program: ExportedProgram, file: Path) -> None:
    """Writes machine code for this kind of machine, which AOTInductor's C++ compiler makes; it takes a minute.

    Raises SettingsError if there is no compiler, or it fails.
    """
    # torch documents it under this name.
    from torch._inductor import aoti_compile_and_package

    try:
        aoti_compile_and_package(program, package_path=str(file))
    # The compiler's own kinds, and those of every pass before it.
    except Exception as error:
        raise SettingsError(
            f"torch {torch.__version__} cannot compile this network ({type(error).__name__}: {error}). AOTInductor "
            "needs a C++ compiler such as g++; --to torch-export does without one."
        ) from error
