"""Trains the small network that comes with the package, and writes its model folder with pictures and card.

Data: Fashion-MNIST (Zalando SE, MIT licence), 28 x 28 grey pictures of garments in ten classes, as Debian's package
dataset-fashion-mnist installs it. From the root of the repository:

    apt-get install dataset-fashion-mnist
    python demo/train_embedded_model.py --out work_dir/embedded

The last 5,000 training pictures are kept aside for choosing settings; the test set is used once, at the end.
"""

import argparse
import gzip
import json
import math
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest, write_weights
from modelscope_beit.commands.demo import picture_stem
from modelscope_beit.model_folder.finding import EMBEDDED, find_model_folder
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.model_folder.writing import write_model_folder
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from modelscope_beit.settings.preprocessing import evaluation_steps

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIDE = 28
MEAN = STD = 90.0  # of pixels from 0 to 255
SETTINGS = ModelSettings(
    BackboneSettings(
        image_size=(SIDE, SIDE),
        patch_size=4,
        width=128,
        depth=4,
        num_heads=8,
        mlp_hidden=512,
        layer_scale_init=1.0,
        drop_path=0.05,
    ),
    num_classes=len(CLASSES),
    head_init_scale=1.0,
)
SEED, BATCH, WARM_UP, WEIGHT_DECAY, LABEL_SMOOTHING = 0, 64, 0.05, 0.05, 0.1
MATRIX_RATE, OTHER_RATE = 0.02, 0.0015
NUM_VALIDATION, PICTURES_PER_CLASS = 5000, 2


def main() -> None:
    """Trains, writes the folder, and then measures what was written on the test set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--epochs", type=float, default=10)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    classifier = build_classifier(SETTINGS)
    initialise_for_small_data(classifier)
    start = time.perf_counter()
    train(classifier, *read_part(arguments.data, "train"), arguments.epochs)
    minutes = (time.perf_counter() - start) / 60
    write_folder(arguments.out, classifier)
    pictures, classes = read_part(arguments.data, "t10k")
    write_pictures(arguments.out / "pictures", pictures, classes)
    facts = measure(open_model(arguments.out), pictures, classes)
    template = Path(__file__).with_name("embedded_model_card.md").read_text(encoding="utf-8")
    facts["epochs"], facts["minutes"] = f"{arguments.epochs:g}", f"{minutes:.0f}"
    facts["processor"] = f"{torch.get_num_threads()} threads ({platform.machine()}, PyTorch {torch.__version__})"
    card = template.format(seed=SEED, **facts)
    (arguments.out / names.CARD_FILE).write_text(card, encoding="utf-8")
    print(card)


def read_part(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """Returns pictures (N, 1, 28, 28), uint8, light on black, and classes (N,) of "train" or "t10k"."""
    pictures = gzip.decompress((data / f"{part}-images-idx3-ubyte.gz").read_bytes())
    classes = gzip.decompress((data / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 1, SIDE, SIDE)
    return torch.from_numpy(pixels.copy()), torch.from_numpy(np.frombuffer(classes, np.uint8, offset=8).astype(int))


@torch.no_grad()
def initialise_for_small_data(classifier: BeitClassifier) -> None:
    """Lets each head look at one neighbour of a patch first, as a convolution does: it learns from fewer pictures.

    The bias of an offset falls with its squared distance from the head's neighbour (ConViT, arXiv 2103.10697,
    section 3). Linear layers start wider than for a large network: deviation 0.08.
    """
    for module in classifier.backbone.modules():
        if isinstance(module, nn.Linear):
            module.weight.mul_(0.08 / 0.02)
    neighbours = [(0, -1), (0, 1), (-1, 0), (1, 0), (0, 0)]
    rows, columns = SETTINGS.backbone.grid
    down, right = torch.meshgrid(torch.arange(1 - rows, rows), torch.arange(1 - columns, columns), indexing="ij")
    for block in classifier.backbone.blocks:
        table = block.attn.relative_position_bias_table
        for head, (row, column) in enumerate(neighbours):
            distance = (down - row) ** 2 + (right - column) ** 2
            table[:-3, head] = (-distance.flatten().float()).clamp(min=-6)
            table[-3:, head] = -1  # The class token, which mean pooling does not use.


def train(classifier: BeitClassifier, pictures: Tensor, classes: Tensor, epochs: float) -> None:
    """Fits the classifier: warm-up and cosine for both optimisers, accuracy on the validation part now and then."""
    fitted, kept_aside = slice(None, -NUM_VALIDATION), slice(-NUM_VALIDATION, None)
    num_fitted = len(pictures[fitted])
    steps = int(epochs * num_fitted / BATCH)
    matrices = [weight for name, weight in classifier.backbone.blocks.named_parameters() if is_matrix(name)]
    others = [weight for weight in classifier.parameters() if not any(weight is matrix for matrix in matrices)]
    optimizers = [Muon(matrices, MATRIX_RATE), torch.optim.AdamW(others, OTHER_RATE, (0.9, 0.98), weight_decay=0.0)]
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(steps)) for optimizer in optimizers]
    classifier.train()
    for step in range(steps):
        if step % (num_fitted // BATCH) == 0:
            order = torch.randperm(num_fitted)
        chosen = order[step % (num_fitted // BATCH) * BATCH :][:BATCH]
        logits = classifier(augmented(pictures[chosen]))
        loss = F.cross_entropy(logits, classes[chosen], label_smoothing=LABEL_SMOOTHING)
        classifier.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        if (step + 1) % 2000 == 0 or step + 1 == steps:
            right = (predict(classifier, pictures[kept_aside]) == classes[kept_aside]).float().mean()
            print(f"step {step + 1}/{steps}: loss {loss:.3f}, validation {right:.2%}", flush=True)


def is_matrix(name: str) -> bool:
    """Tells whether a weight of a block is a matrix of a linear layer; position tables are lists of numbers."""
    return name.endswith("weight") and "norm" not in name


def schedule(steps: int) -> Callable[[int], float]:
    """Returns the share of the full learning rate at each step: linear warm-up, then a cosine down to 0."""
    warm_up = WARM_UP * steps
    return lambda step: min((step + 1) / warm_up, 1.0) * (1 + math.cos(math.pi * step / steps)) / 2


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is made orthogonal: fewer steps than AdamW for small transformers.

    torch.optim.Muon computes in bfloat16, which is slow on many processors. Source: Jordan et al., 2024,
    kellerjordan.github.io/posts/muon, with its coefficients of the Newton-Schulz iteration.
    """

    def __init__(self, weights: list[Tensor], lr: float) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Takes one step with the gradients that are there."""
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 0.05)
                update = weight.grad.lerp(momentum, 0.95)
                tall = update.shape[0] > update.shape[1]
                matrix = F.normalize(update.T if tall else update, dim=(0, 1))
                for _ in range(5):
                    square = matrix @ matrix.T
                    matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
                size = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * WEIGHT_DECAY).sub_(matrix.T if tall else matrix, alpha=group["lr"] * size)


def augmented(pictures: Tensor) -> Tensor:
    """Returns normalised training pictures (N, 3, 28, 28): moved, scaled, mirrored; some tinted, some dark on light."""
    count = len(pictures)

    def chance(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1) < share

    def between(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *size)

    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = between(0.9, 1.1) * torch.where(torch.rand(count) < 0.5, -1, 1)
    affine[:, 1, 1] = between(0.9, 1.1)
    affine[:, :, 2] = between(-0.075, 0.075, 2)
    grid = F.affine_grid(affine, [count, 1, SIDE, SIDE], align_corners=False)
    moved = F.grid_sample(pictures / 255, grid, align_corners=False)
    tinted = moved * torch.where(chance(0.3), between(0.3, 1.0, 3, 1, 1), 1.0)
    return (torch.where(chance(0.2), 1 - tinted, tinted) * 255 - MEAN) / STD


def predict(classifier: BeitClassifier, pictures: Tensor) -> Tensor:
    """Returns the class numbers (N,) of pictures (N, 1, 28, 28), uint8."""
    classifier.eval()
    with torch.inference_mode():
        batches = [classifier((batch.expand(-1, 3, -1, -1) - MEAN) / STD) for batch in pictures.split(500)]
    classifier.train()
    return torch.cat(batches).argmax(dim=1)


def write_folder(folder: Path, classifier: BeitClassifier) -> None:
    """Writes a model folder with its weights as safetensors, which nobody has to trust."""
    steps = evaluation_steps(SIDE, mean=[MEAN] * 3, std=[STD] * 3, squash=True)
    write_model_folder(folder, FolderSettings(SETTINGS, steps, CLASSES), classifier.state_dict(), card="")
    configuration = json.loads((folder / names.CONFIGURATION_FILE).read_text(encoding="utf-8"))
    # What is filled in is for networks of a hundred times the size: with it 4 epochs of digits end at 17 %, not 89 %.
    configuration["train"]["optimizer"]["lr"] = 1e-3
    text = json.dumps(configuration, indent=2, ensure_ascii=False) + "\n"
    (folder / names.CONFIGURATION_FILE).write_text(text, encoding="utf-8")
    (folder / names.WRITTEN_WEIGHT_FILE).unlink()
    write_weights(folder / "model.safetensors", classifier.state_dict(), {"CLASSES": list(CLASSES)})


def write_pictures(folder: Path, pictures: Tensor, classes: Tensor) -> None:
    """Writes the first pictures of each class as PNG files, whatever the network says of them."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(CLASSES):
        for index in (classes == number).nonzero().flatten().tolist()[:PICTURES_PER_CLASS]:
            picture = Image.fromarray(pictures[index, 0].numpy())
            picture.save(folder / f"{picture_stem(name)}_{index:05}.png", optimize=True)
    shutil.copy(find_model_folder(EMBEDDED) / "pictures" / "LICENSE", folder)


def measure(model: OpenedModel, pictures: Tensor, classes: Tensor) -> dict[str, str]:
    """Returns what the card says of the written model, on the test set, read and prepared as any user's picture."""
    as_they_are = [Image.fromarray(picture.numpy()) for picture in pictures[:, 0]]
    inverted = [ImageOps.invert(picture) for picture in as_they_are]
    enlarged = [picture.resize((280, 280), Image.Resampling.BICUBIC) for picture in as_they_are]
    right = answers(model, as_they_are) == classes
    of_classes = [f"| {name} | {right[classes == row].float().mean():.1%} |" for row, name in enumerate(CLASSES)]
    weights = model.folder / "model.safetensors"
    return {
        "accuracy": in_words(right),
        "inverted": in_words(answers(model, inverted) == classes),
        "enlarged": in_words(answers(model, enlarged) == classes),
        "per_class": "\n".join(of_classes),
        "parameters": f"{sum(weight.numel() for weight in model.network.parameters()):,}",
        "bytes": f"{weights.stat().st_size:,}",
        "digest": file_digest(weights),
    }


def answers(model: OpenedModel, pictures: list[Image.Image]) -> Tensor:
    """Returns the class numbers (N,) that the opened model gives."""
    tensors = torch.stack([model.transform(picture.convert("RGB")) for picture in pictures])
    with torch.inference_mode():
        return torch.cat([model.network(batch) for batch in tensors.split(500)]).argmax(dim=1)


def in_words(right: Tensor) -> str:
    """Returns an accuracy with its 95 % Wilson interval (Wilson 1927)."""
    count, share, z = len(right), right.float().mean().item(), 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return f"{share:.2%} (95 % Wilson interval {middle - reach:.2%} to {middle + reach:.2%}, {count:,} pictures)"


if __name__ == "__main__":
    main()
