"""Training of the demo model: `python -m lmqlc.backends.demo.train [--steps N] [--seed S] [--out DIR]`.

Writes a checkpoint directory that `from_pretrained` loads like any other: tokenizer, configuration, weights, and
`training.json` with what was done. On one machine the same seed and steps give the same weights; one thread is used.
Needs the `hf` extra. The default settings take about half an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from lmqlc.backends.demo.batches import CHAT_TEMPLATE, CONTEXT_LENGTH, END_OF_TEXT, SPECIAL_TOKENS, TURN_END, batches, train_tokenizer

_HELD_OUT_BATCHES = 12
_SMOOTHING = 0.98  # of the training loss that is shown and recorded
_REPORT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the outcome depends on. `tokenizer_documents`: how many documents the tokenizer learns from;
    `batch_tokens`: tokens a step; `matrix_rate`, `vector_rate`: peak learning rates of Muon (the layers' matrices) and of
    AdamW (embeddings, biases, norms)."""

    steps: int = 7500
    seed: int = 7
    vocabulary_size: int = 1280
    tokenizer_documents: int = 30_000
    layers: int = 5
    width: int = 160
    heads: int = 5
    batch_tokens: int = 2048
    matrix_rate: float = 5e-3
    vector_rate: float = 3e-3
    warmup: int = 100
    weight_decay: float = 0.05
    precision: str = "bfloat16"


def wrap_tokenizer(tokenizer: Any) -> Any:
    """The trained tokenizer as a transformers tokenizer, with its special tokens and chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def sinusoids(width: int) -> Any:
    """Sines and cosines of each position, `float32[CONTEXT_LENGTH, width]`, of wavelengths from 6 up to 10,000."""
    import torch

    rates = torch.logspace(0, -math.log10(10_000), width // 2)
    angles = torch.arange(CONTEXT_LENGTH)[:, None] * rates
    return 0.05 * torch.cat([angles.sin(), angles.cos()], dim=1)


def build_model(settings: Settings, tokenizer: Any) -> Any:
    """A GPT-2 model with fresh weights, its positions started as sinusoids: so relative places are linear from the outset,
    and copying from earlier text is learnt within minutes."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    end = tokenizer.token_to_id(END_OF_TEXT)
    config = GPT2Config(
        vocab_size=settings.vocabulary_size,
        n_positions=CONTEXT_LENGTH,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
    )
    model = GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")  # the fused kernel is several times slower backwards on a CPU
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(sinusoids(settings.width))
    model.generation_config.pad_token_id = end
    model.generation_config.eos_token_id = [end, tokenizer.token_to_id(TURN_END)]
    return model


def rate_share(settings: Settings, step: int) -> float:
    """The share of the peak learning rates at a step: linear warm-up, then a cosine down to a fiftieth."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def optimizers(model: Any, settings: Settings) -> list[Any]:
    """Muon for the layers' weight matrices, AdamW for everything else. On few tokens Muon learns far more per step."""
    import torch

    matrices = [parameter for name, parameter in model.named_parameters() if ".h." in name and parameter.ndim == 2]
    others = [parameter for name, parameter in model.named_parameters() if not (".h." in name and parameter.ndim == 2)]
    decay = settings.weight_decay
    return [
        torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=settings.vector_rate, betas=(0.9, 0.98), weight_decay=decay, fused=True),
    ]


def loss_of(model: Any, rows: Any) -> Any:
    """Mean natural-log loss of the next token over `rows`, an `int64[n, length]` array."""
    import torch

    ids = torch.from_numpy(rows)
    logits = model(ids).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _report(settings: Settings, step: int, loss: float, started: float) -> None:
    spent = time.monotonic() - started
    left = spent / step * (settings.steps - step)
    print(f"step {step}/{settings.steps}  loss {loss:.4f}  {spent:.0f} s spent, about {left:.0f} s left", file=sys.stderr, flush=True)


def fit(model: Any, tokenizer: Any, settings: Settings) -> tuple[float, int]:
    """Train in place; returns the smoothed training loss and the number of tokens seen."""
    import torch

    steppers = optimizers(model, settings)
    schedules = [torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: rate_share(settings, step)) for stepper in steppers]
    half = settings.precision == "bfloat16"
    smooth, tokens, started = math.nan, 0, time.monotonic()
    for step, rows in enumerate(islice(batches(tokenizer, settings.seed, settings.batch_tokens), settings.steps)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = loss_of(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, schedule in zip(steppers, schedules, strict=True):
            stepper.step()
            schedule.step()
            stepper.zero_grad()
        tokens += rows.size
        smooth = loss.item() if math.isnan(smooth) else _SMOOTHING * smooth + (1 - _SMOOTHING) * loss.item()
        if (step + 1) % _REPORT_EVERY == 0:
            _report(settings, step + 1, smooth, started)
    return smooth, tokens


def held_out_loss(model: Any, tokenizer: Any, settings: Settings) -> float:
    """Mean loss over documents that the training never saw, at float32."""
    import torch

    rows = batches(tokenizer, settings.seed, settings.batch_tokens, held_out_part=True)
    with torch.no_grad():
        losses = [float(loss_of(model, batch)) for batch in islice(rows, _HELD_OUT_BATCHES)]
    return sum(losses) / len(losses)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the checkpoint. Weights are stored as float16 to halve the file; the configuration says float32, which is
    what they are loaded as, because that is the fast and exact type on a CPU."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the input embedding
    model.save_pretrained(folder, state_dict=weights)
    (folder / "model.safetensors").chmod(0o644)  # written as 0o600, which a shared installation could not read
    wrap_tokenizer(tokenizer).save_pretrained(folder, save_jinja_files=False)


def train(settings: Settings, folder: Path) -> dict[str, object]:
    """Train and save; returns what `training.json` records. Losses are natural-log means per token."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    started = time.monotonic()
    tokenizer = train_tokenizer(settings.seed, settings.vocabulary_size, settings.tokenizer_documents)
    model = build_model(settings, tokenizer)
    train_loss, tokens = fit(model, tokenizer, settings)
    save(model, tokenizer, folder)
    record = {
        **asdict(settings),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": tokens,
        "train_loss": round(train_loss, 4),
        "held_out_loss": round(held_out_loss(model, tokenizer, settings), 4),
        "wall_seconds": round(time.monotonic() - started, 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m lmqlc.backends.demo.train", description="Train the demo model.")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of text, weights and order (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model", help="checkpoint directory to write")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default=defaults.precision, help="of the forward pass")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    record = train(Settings(steps=options.steps, seed=options.seed, precision=options.precision), options.out)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
