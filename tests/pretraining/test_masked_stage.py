"""The stage against the algorithm in float64, through the loop; in one process, in two, and after a pause."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

import helpers
import masked_runs
from masked_reference import adamw_step, reference_loss
from masked_runs import GreyTokenizer, masked_job, tiny_masked, tiny_stage, write_crops
from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.code_cache import CodeCache
from modelscope_beit.pretraining.masked_files import to_unilm
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.settings.masked_pretraining import MaskingSettings, ViewSettings
from tiny_tokenizer import tiny_tokenizer


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_crops(tmp_path / "pictures", 24)


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = torch.load(run / "output" / "pytorch_model.pt", weights_only=True)["model"]
    assert isinstance(found, dict)
    return found


def batch_of(stage, photographs, count=3):
    samples = [stage.sample(photographs[n % 2], np.random.default_rng(n)) for n in range(count)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def test_pretrain__a_step_is_that_of_the_algorithm_in_float64(pictures, tmp_path):
    """Loss by loops, clipping and AdamW by formula, from the very views, masks and codes of the step."""
    stage, seen = tiny_stage(), []
    helpers.with_random_weights(stage.model)
    leaves = {
        name: tensor.double().clone().requires_grad_()
        for name, tensor in to_unilm(stage.model).items()
        if tensor.is_floating_point()
    }
    complete = stage.complete

    def noted(batch):
        seen.append(complete(batch))
        return seen[-1]

    stage.complete = noted
    run = {"iterations": 1, "gauge_pictures": 0, "clip": 0.3, "weight_decay": 0.05}
    pretrain(masked_job(pictures, tmp_path / "run", stage, **run))
    batch = seen[-1]
    losses = [
        reference_loss(
            leaves,
            batch["images"][row].double(),
            batch["hidden"][row].tolist(),
            batch["codes"][row].tolist(),
            patch=8,
            num_heads=2,
            early_layer=2,
        )
        for row in range(4)
    ]
    torch.stack(losses).mean().backward()
    gradients = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    assert norm > 0.3, "so that it is clipped"
    after = weights(tmp_path / "run")
    for name, leaf in leaves.items():
        gradient = gradients[name] * 0.3 / norm
        # Decayed: matrices, the table and the mask token; not vectors and the class token.
        decay = 0.05 if leaf.ndim > 1 and name != "cls_token" else 0.0
        expected = adamw_step(leaf.detach().numpy(), gradient, lr=1e-3, decay=decay)
        # Where a gradient is next to nothing, its sign, and so the step, is rounding.
        counts = np.abs(gradient) > 1e-6
        assert counts.mean() > 0.2, name
        assert np.abs(after[name].numpy() - expected)[counts].max() < 2e-6, name


def test_loss__is_that_of_the_logits(photographs):
    stage = tiny_stage()
    batch = stage.complete(batch_of(stage, photographs))
    loss, measured = stage.network(batch)
    assert measured.keys() == {"loss_final", "loss_aggregated", "accuracy_final", "accuracy_aggregated"}
    assert loss.item() == pytest.approx((measured["loss_final"] + measured["loss_aggregated"]).item())
    assert not any(value.requires_grad or value.ndim for value in measured.values())
    logits = stage.model(batch["images"], batch["mask"])
    right = (logits.argmax(-1) == batch["codes"]).double().mean(dim=(1, 2)) * 100
    assert [measured["accuracy_final"].item(), measured["accuracy_aggregated"].item()] == pytest.approx(right.tolist())


def test_loss__counts_the_codes_of_training_only(photographs):
    stage = tiny_stage()
    batch = stage.complete(batch_of(stage, photographs))
    stage.network.eval()(batch)
    assert not stage.network.seen_codes.any() and stage.gauges([]) == {}
    for _ in range(2):
        stage.network.train()(batch)
    expected = np.bincount(batch["codes"].flatten().numpy(), minlength=24) * 2
    assert stage.network.seen_codes.tolist() == expected.tolist()
    assert "seen_codes" not in stage.network.state_dict()
    assert stage.gauges([])["train_commonest_accuracy"] == pytest.approx(100 * expected.max() / expected.sum())


def test_sample__and_complete__give_each_network_what_it_takes(photographs):
    """The tokenizer gets the crop from 0 to 1, the network the same one normalised (traps 29 and 30)."""
    stage, got = tiny_stage(tokenizer=GreyTokenizer()), []
    tokenize = stage.tokenizer.tokenize
    stage.tokenizer.tokenize = lambda images: got.append(images) or tokenize(images)
    raw = batch_of(stage, photographs)
    assert raw.keys() == {"pixels", "hidden"} and raw["pixels"].dtype == torch.uint8
    batch = stage.complete(raw)
    expected = torch.stack([functional.to_tensor(one.permute(1, 2, 0).numpy()) for one in raw["pixels"]])
    assert torch.equal(got[0], expected)
    views = stage.settings.views
    again = functional.normalize(expected, list(views.mean), list(views.std))
    assert torch.allclose(batch["images"], again, atol=1e-6)
    assert batch["mask"].sum(dim=1).tolist() == [6, 6, 6]
    for row in range(3):
        hidden = batch["hidden"][row]
        assert batch["mask"][row].nonzero().flatten().tolist() == hidden.tolist() == sorted(hidden.tolist())
        assert torch.equal(batch["codes"][row], batch["code_map"][row][hidden])


def test_sample__another_second_view(photographs):
    settings = replace(tiny_masked(), views=ViewSettings(code_size=(64, 48), code_interpolation="lanczos"))
    stage = tiny_stage(settings, GreyTokenizer())
    raw = batch_of(stage, photographs)
    assert raw["code_pixels"].shape == (3, 3, 64, 48) and raw["pixels"].shape == (3, 3, 32, 32)
    assert stage.complete(raw)["code_map"].shape == (3, 16)


def test_complete__a_tokenizer_with_another_grid(photographs):
    stage = tiny_stage(tiny_masked(image_size=(32, 48)), GreyTokenizer())
    with pytest.raises(SettingsError, match=r"makes 16 codes of a picture, but the network has 4x6 patches"):
        stage.complete(batch_of(stage, photographs))


def test_before_first_step__more_codes_than_the_network_has(photographs):
    settings = tiny_masked()
    stage = tiny_stage(replace(settings, model=replace(settings.model, num_visual_tokens=2)), GreyTokenizer())
    with pytest.raises(SettingsError, match=r"made the code \d+, but the network has 2 visual tokens"):
        stage.before_first_step(iter([stage.complete(batch_of(stage, photographs))]))


def test_codes__kept_on_disk_are_those_of_the_tokenizer(photographs, tmp_path):
    settings = replace(tiny_masked(), views=ViewSettings(num_crops=2))
    plain, calls = tiny_stage(settings), []
    cache = CodeCache(tmp_path, "sha256:ab", num_patches=16, num_codes=24)
    kept = masked_runs.MaskedStage(settings, plain.model, tiny_tokenizer(), cache=cache)
    tokenize = kept.tokenizer.tokenize
    kept.tokenizer.tokenize = lambda images: calls.append(len(images)) or tokenize(images)
    for _ in range(2):
        expected = plain.complete(batch_of(plain, photographs, 8))["code_map"]
        assert torch.equal(kept.complete(batch_of(kept, photographs, 8))["code_map"], expected)
    assert calls == [8] and len(cache) == 4, "two pictures, two crops of each; the second round needs no tokenizer"


def test_codes__of_crops_that_never_come_again_are_not_kept(tmp_path):
    cache = CodeCache(tmp_path, "ab", num_patches=16, num_codes=24)
    with pytest.raises(SettingsError, match=r"set masked.views.num_crops"):
        masked_runs.MaskedStage(tiny_masked(), tiny_stage().model, GreyTokenizer(), cache=cache)


def test_features__are_the_last_blocks_tokens_after_the_norm(photographs):
    stage = tiny_stage()
    helpers.with_random_weights(stage.model).eval()
    images = torch.stack([stage.view(picture) for picture in photographs])
    assert images.shape == (2, 3, 32, 32)
    features = stage.features(images)
    backbone = stage.model.backbone
    tokens = backbone.norm(backbone.run_blocks(*backbone.embed(images)))
    assert torch.allclose(features["class_token"], tokens[:, 0], atol=1e-6)
    assert torch.allclose(features["mean"], tokens[:, 1:].mean(dim=1), atol=1e-6)


def test_pretrain__learns_what_can_be_seen_and_the_gate_opens(tmp_path):
    pictures = write_crops(tmp_path / "crops", 160)
    settings = replace(tiny_masked(width=24, depth=2), views=ViewSettings(color_jitter=0.0))
    stage = tiny_stage(settings, GreyTokenizer(levels=3))
    run = {"iterations": 60, "batch_size": 8, "lr": 1e-2, "gauge_interval": 0, "checkpoint_interval": 0}
    result = pretrain(masked_job(pictures, tmp_path / "run", stage, **run, warm_up_iterations=6, gauge_pictures=16))
    assert result.verdict.goes_on, result.verdict.reasons
    gauges = result.gauges
    assert gauges["aside_accuracy_final"] > gauges["commonest_accuracy"] > 0
    assert gauges["gradient_norm"] > 0 and gauges["train_accuracy_aggregated"] > 0
    assert sorted(path.name for path in (tmp_path / "run" / "pictures").glob("*.png")) == [
        "accuracy_of_each_code.png",
        "codes_of_hidden_patches.png",
    ]


def test_pretrain__an_untaught_network_is_stopped_at_the_gate(pictures, tmp_path):
    result = pretrain(masked_job(pictures, tmp_path / "run", tiny_stage(), lr=1e-6, min_lr=1e-7, iterations=1))
    assert not result.verdict.goes_on
    assert any("does not look at the pictures" in reason for reason in result.verdict.reasons)


def test_pretrain__goes_on_bit_for_bit(pictures, tmp_path):
    """With dropped paths, random views and masks: all that is random comes again."""
    settings, run = tiny_masked(drop_path=0.3, width=16), tmp_path / "run"
    pretrain(masked_job(pictures, run, tiny_stage(settings), gauge_pictures=0))
    whole = weights(run)
    for name in ("iter_6.pth", "latest.pth"):
        (run / name).unlink()
    pretrain(masked_job(pictures, run, tiny_stage(settings, seed=5), resume=True, gauge_pictures=0))
    parts = weights(run)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    fresh = to_unilm(tiny_stage(settings).model)
    assert not torch.equal(parts["mask_token"], fresh["mask_token"])


def test_pretrain__two_nodes_with_a_process_each_equal_one_process(pictures, tmp_path):
    command = [sys.executable, masked_runs.__file__, str(pictures), str(tmp_path / "two"), "4", "2"]
    environment = os.environ | {"PYTHONPATH": f"{helpers.ROOT}:{helpers.ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    pretrain(masked_job(pictures, tmp_path / "one", tiny_stage(), iterations=4, batch_size=4, gauge_pictures=0))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=2e-5)


def test_stage__any_grid_and_size(photographs):
    """Pictures that are not square, masks by ratio, no extra blocks."""
    settings = replace(tiny_masked(image_size=(24, 48), depth=2), masking=MaskingSettings(ratio=0.5), head_layers=0)

    class Tokenizer:
        def tokenize(self, images):
            return torch.zeros(len(images), 18, dtype=torch.int64)

    stage = tiny_stage(settings, Tokenizer())
    batch = stage.complete(batch_of(stage, photographs))
    loss, measured = stage.network(batch)
    assert batch["hidden"].shape == (3, 9) and bool(loss.isfinite())
    assert measured.keys() == {"loss_final", "accuracy_final"}
