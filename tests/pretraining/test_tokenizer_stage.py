"""The tokenizer's stage: crops, teacher, codebook, and a run of the loop from start to file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.pretraining.feature_cache import FeatureCache
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.pretraining.tokenizer_files import open_tokenizer
from modelscope_beit.pretraining.tokenizer_stage import TokenizerStage
from modelscope_beit.settings.tokenizer import CropSettings
from tiny_tokenizer import tiny_teacher, tiny_tokenizer
from toy_run import make_job


def stage(**changes: Any) -> TokenizerStage:
    codebook = changes.pop("codebook", {})
    return TokenizerStage(tiny_tokenizer(**codebook), tiny_teacher(), **changes)


def batch(count: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"pixels": torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)}


@pytest.fixture
def picture(photographs: tuple[Image.Image, ...]) -> Image.Image:
    return photographs[0].resize((96, 64))


def test_sample__cuts_repeatably_and_flips(picture: Image.Image) -> None:
    crops = [stage().sample(picture, np.random.default_rng(seed))["pixels"] for seed in (1, 1, 2)]
    assert crops[0].shape == (3, 32, 32) and crops[0].dtype == torch.uint8
    assert torch.equal(crops[0], crops[1]) and not torch.equal(crops[0], crops[2])
    one, mirrored = (
        stage(crops=CropSettings(flip=flip)).sample(picture, np.random.default_rng(3))["pixels"] for flip in (0, 1)
    )
    assert torch.equal(one.flip(2), mirrored) and not torch.equal(one, mirrored)


def test_sample__takes_shares_of_the_area_as_published() -> None:
    # A picture whose red and green tell where a pixel is, so that the crop's area can be read off.
    rows, columns = np.mgrid[0:256, 0:256]
    where = Image.fromarray(np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8))
    made, shares = stage(), []
    for seed in range(300):
        pixels = made.sample(where, np.random.default_rng(seed))["pixels"].float()
        heights, widths = (float(pixels[c].max() - pixels[c].min()) * 32 / 31 / 256 for c in (0, 1))
        shares.append(heights * widths)
    assert 0.07 < min(shares) < 0.13 and 0.85 < max(shares) < 1.05
    assert float(np.mean(shares)) == pytest.approx(0.54, abs=0.06)


def test_sample__fixed_crops_are_the_middle_of_the_picture(picture: Image.Image) -> None:
    fixed = stage(crops=CropSettings(fixed=True))
    pixels = fixed.sample(picture, np.random.default_rng(0))["pixels"]
    assert torch.equal(pixels, fixed.sample(picture, np.random.default_rng(1))["pixels"])
    side = int(32 / 0.875)
    resized = np.asarray(picture.resize((side * 96 // 64, side), Image.Resampling.BICUBIC))
    top, left = (side - 32) // 2, (side * 96 // 64 - 32) // 2
    assert np.array_equal(pixels.numpy().transpose(1, 2, 0), resized[top : top + 32, left : left + 32])
    viewed = (fixed.view(picture) + 1) * 127.5
    assert torch.allclose(viewed, pixels.float(), atol=1e-3)


def test_sample__refuses_pictures_that_are_not_rgb() -> None:
    with pytest.raises(ImageError, match="not one of mode L"):
        stage().sample(Image.new("L", (40, 40)), np.random.default_rng(0))


def test_complete__gives_images_from_0_to_1_and_what_the_teacher_says_of_them() -> None:
    made = stage()
    found = made.complete(batch())
    assert float(found["images"].min()) >= 0 and float(found["images"].max()) == 1.0
    expected = F.conv2d((found["images"] - 0.5) / 0.5, made.teacher.network.weight, made.teacher.network.bias, 8)
    torch.testing.assert_close(found["targets"], expected.flatten(2).transpose(1, 2))


def test_complete__with_a_cache_the_teacher_is_asked_once(tmp_path: Path) -> None:
    teacher = tiny_teacher()
    made = TokenizerStage(
        tiny_tokenizer(), teacher, crops=CropSettings(fixed=True), cache=FeatureCache(tmp_path, teacher)
    )
    first = made.complete(batch())["targets"]
    teacher.network.register_forward_pre_hook(lambda module, inputs: pytest.fail("the teacher was asked again"))
    assert torch.equal(made.complete(batch())["targets"], first)


def test_stage__refuses_a_cache_of_random_crops(tmp_path: Path) -> None:
    teacher = tiny_teacher()
    with pytest.raises(SettingsError, match="for fixed crops only"):
        TokenizerStage(tiny_tokenizer(), teacher, cache=FeatureCache(tmp_path, teacher))


def test_before_first_step__takes_as_many_batches_as_codes_need_to_differ() -> None:
    made = stage(codebook={"start": "kmeans", "num_codes": 24})
    batches = [made.complete({"pixels": batch(6)["pixels"][number : number + 1]}) for number in range(6)]
    taken = iter(batches)
    made.before_first_step(taken)
    # Two pictures have 32 patches for 24 codes.
    assert len(list(taken)) == 4
    codes = made.tokenizer.codebook.codes
    assert torch.allclose(codes.norm(dim=1), torch.ones(24)) and len(codes.unique(dim=0)) == 24


def test_after_step__learns_once_from_all_batches_of_the_step() -> None:
    made, whole = stage(), stage()
    pieces = batch(4)["pixels"].split(2)
    for piece in pieces:
        made.network(made.complete({"pixels": piece}))
    made.after_step(2)
    whole.network(whole.complete(batch(4)))
    whole.after_step(1)
    torch.testing.assert_close(made.tokenizer.codebook.codes, whole.tokenizer.codebook.codes)
    assert int(made.tokenizer.codebook.steps) == 1 and made.network.learned_from == []


def test_network__in_evaluation_leaves_nothing_to_learn_from() -> None:
    made = stage()
    made.network.eval()
    made.network(made.complete(batch()))
    made.gauges([made.complete(batch())])
    assert made.network.learned_from == []


def test_gauges__without_pictures_set_aside_tell_how_codes_were_used_in_training() -> None:
    made = stage()
    loss, measured = made.network(made.complete(batch()))
    targets = F.normalize(made.complete(batch())["targets"].double(), dim=-1).flatten(0, 1)
    best = F.normalize(targets.mean(dim=0), dim=0)
    assert measured["constant_cosine"].item() == pytest.approx(float((targets @ best).mean()), rel=1e-5)
    chosen = {int(number) for found in made.network.learned_from for number in found.numbers.flatten()}
    made.after_step(1)
    found = made.gauges([])
    assert found["codes_used"] == len(chosen) and found["patches_measured"] == pytest.approx(64, rel=1e-5)
    history = [{"iteration": 1.0, "train_cosine": 0.9, "train_constant_cosine": 0.5} | found]
    assert "Nothing was measured" not in made.gate(history).reasons[0]


def test_no_decay__names_tokens_and_positions_of_both_transformers() -> None:
    made = stage()
    exempt = {name for name, _ in made.network.named_parameters() if any(key in name for key in made.no_decay)}
    assert exempt == {
        f"tokenizer.{part}.{name}" for part in ("encoder", "decoder") for name in ("cls_token", "pos_embed")
    }


def test_features__are_the_mean_of_the_encoders_patches(picture: Image.Image) -> None:
    made = stage()
    found = made.features(made.view(picture)[None])
    assert found.keys() == {"mean"} and found["mean"].shape == (1, 32)


def test_pretrain__a_run_ends_with_a_tokenizer_its_gate_and_its_pictures(
    tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        left, top = 60 * (number % 10), 100 * (number // 10)
        photographs[number % 2].crop((left, top, left + 64, top + 64)).save(folder / f"{number}.png")
    made = stage(codebook={"start": "kmeans"})
    result = pretrain(make_job(folder, tmp_path / "run", made))  # type: ignore[arg-type]
    assert result.verdict is not None and not result.was_interrupted
    for name in ("aside_cosine", "constant_cosine", "codes_used", "code_perplexity", "train_cosine"):
        assert np.isfinite(result.gauges[name]), name
    tokenizer = open_tokenizer(tmp_path / "run")
    assert tokenizer.settings == made.tokenizer.settings
    images = batch()["pixels"].float() / 255
    assert torch.equal(tokenizer.tokenize(images), made.tokenizer.tokenize(images))
    assert torch.allclose(tokenizer.codebook.codes.norm(dim=1), torch.ones(24), atol=1e-5)
    drawn = sorted(file.name for file in (tmp_path / "run").rglob("*.png"))
    assert {"token_maps.png", "nearest_patches.png", "reconstruction.png"} <= set(drawn)


def test_pretrain__goes_on_bit_for_bit(tmp_path: Path, photographs: tuple[Image.Image, ...]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        photographs[0].crop((20 * number, 0, 20 * number + 48, 48)).save(folder / f"{number}.png")

    def run(name: str, length: int, *, resume: bool = False) -> dict[str, torch.Tensor]:
        changes = {"epochs": None, "iterations": length, "warm_up_iterations": 1, "lr": 1e-3, "min_lr": 1e-3}
        changes |= {"gauge_pictures": 0}
        made = stage(codebook={"start": "kmeans", "revive_after": 2})
        pretrain(make_job(folder, tmp_path / name, made, resume=resume, **changes))  # type: ignore[arg-type]
        return made.network.state_dict()

    run("parted", 5)
    parted, whole = run("parted", 8, resume=True), run("whole", 8)
    assert all(torch.equal(parted[name], whole[name]) for name in whole)
    assert int(whole["tokenizer.codebook.steps"]) == 8


def test_network__compiled_is_the_same_in_one_graph() -> None:
    plain, compiled = stage(), stage()
    # Without a compiler of C++; what matters is that nothing breaks the graph, and that the codebook still learns.
    compiled.network.compile(backend="aot_eager", fullgraph=True)
    for step in range(2):
        losses = [made.network(made.complete(batch()))[0] for made in (plain, compiled)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
        for made in (plain, compiled):
            made.after_step(step)
    torch.testing.assert_close(plain.tokenizer.codebook.codes, compiled.tokenizer.codebook.codes)
