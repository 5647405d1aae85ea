"""Loading a causal language model and its tokenizer through transformers, with errors that say what to do.

Options are those of `from_pretrained`, and: `cuda=True` (spread over all visible GPUs), `load_in_4bit` / `load_in_8bit`
(bitsandbytes), `dtype` or `torch_dtype` by name (`"fp16"`, `"bfloat16"` …), `tokenizer` (its directory or name, where it is not the
model's), `cache_bytes` (memory for the prefix cache).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from lmqlc.backends.base import Progress
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, ModelNotFound

_DTYPES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32", "float": "float32", "fp64": "float64"}
_TOKENIZER_OPTIONS = ("trust_remote_code", "revision", "token", "cache_dir", "subfolder")
_DAMAGED = ("SafetensorError", "UnpicklingError", "BadZipFile", "EOFError", "JSONDecodeError", "UnicodeDecodeError")
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class OutOfMemory(BackendUnavailable):
    """A model took more memory than there is; a smaller call may fit."""


def load_pretrained(source: str, name: str, options: dict[str, Any], progress: Progress | None) -> tuple[Any, Any]:
    """A model and its transformers tokenizer. source: a directory or cached name; name: as the user wrote it.

    Raises ModelNotFound (no causal model, no tokenizer, incomplete), BackendUnavailable (no GPU, no memory, missing packages,
    damaged files), LmqlError (options that `from_pretrained` does not take).
    """
    if progress:
        progress(f"loading {name}", None)
    try:
        import torch  # noqa: F401
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise BackendUnavailable(f"models in process need torch and transformers ({error}): pip install 'lmqlc[hf]'") from None
    arguments = from_pretrained_arguments(options)
    arguments.setdefault("trust_remote_code", False)  # unset, transformers would ask on the terminal
    place = options.get("tokenizer") or source
    shared = {key: arguments[key] for key in _TOKENIZER_OPTIONS if key in arguments}
    with quiet(), load_errors(name):
        AutoConfig.from_pretrained(source, local_files_only=True, **shared)  # its faults would be blamed on the tokenizer
        with tokenizer_errors(name):
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, **shared)
        model, report = AutoModelForCausalLM.from_pretrained(source, local_files_only=True, output_loading_info=True, **arguments)
    check_complete(name, report)
    model.eval()
    return model, tokenizer


def from_pretrained_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Our options as those of `from_pretrained`."""
    left = {key: value for key, value in options.items() if key not in ("tokenizer", "cache_bytes", "local_files_only", "force_download")}
    for key in ("dtype", "torch_dtype"):
        if isinstance(left.get(key), str):
            left["dtype"] = _DTYPES.get(left[key], left[key])
            _check_dtype(left["dtype"])
            if key == "torch_dtype":
                del left[key]
    if left.pop("cuda", False):
        _need_gpu()
        left.setdefault("device_map", "auto")
    bits = [key for key in ("load_in_4bit", "load_in_8bit") if left.pop(key, False)]
    if bits:
        left["quantization_config"] = _quantization(bits)
    return left


def _check_dtype(name: str) -> None:
    import torch

    if name != "auto" and not isinstance(getattr(torch, name, None), torch.dtype):
        raise LmqlError(f"unknown dtype {name!r}: use 'float16', 'bfloat16', 'float32' or 'auto'")


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        built = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees none"
        raise BackendUnavailable(f"cuda=True, but there is no usable GPU ({built}); leave cuda out to run on the CPU")
    _need_package("accelerate", "cuda=True", "lmqlc[hf]")


def _need_package(package: str, option: str, requirement: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise BackendUnavailable(f"{option} needs the package {package!r}: pip install '{requirement}'")


def _quantization(bits: list[str]) -> Any:
    if len(bits) > 1:
        raise LmqlError("load_in_4bit and load_in_8bit exclude each other")
    _need_package("bitsandbytes", bits[0], "bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**{bits[0]: True})


def check_complete(name: str, report: dict[str, Any]) -> None:
    """Raises where a checkpoint lacks weights: transformers would make them up."""
    missing = sorted(report.get("missing_keys") or ())
    wrong = [str(entry) for entry in report.get("mismatched_keys") or ()]
    if not missing and not wrong:
        return
    if missing and all("lm_head" in key or "embed_out" in key for key in missing):
        raise ModelNotFound(f"{name!r} has no language-model head ({missing[0]}): it is the base of a model, not one that can write text")
    faults = missing + wrong
    shown = ", ".join(faults[:3]) + (" …" if len(faults) > 3 else "")
    raise BackendUnavailable(f"the checkpoint of {name!r} is incomplete: {len(faults)} weights are missing or of another shape ({shown})")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the loaders' bars and log lines; what matters comes back as an error."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as hf_logging

    levels = hf_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = hf_logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        hf_logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])
        if bars[0]:
            hf_logging.enable_progress_bar()
        if bars[1]:
            enable_progress_bars()


@contextlib.contextmanager
def tokenizer_errors(name: str) -> Iterator[None]:
    """Tokenizer files that are not there or cannot be read."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # tokenizer classes raise whatever their files make them
        if "trust_remote_code" in str(error):
            raise
        message = f"no tokenizer can be read from {name!r} ({first_line(error)}); name another one's place with tokenizer='…'"
        raise ModelNotFound(message) from None


@contextlib.contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Turns what transformers and torch raise while loading into errors that say what to do."""
    try:
        yield
    except LmqlError:
        raise
    except Exception as error:  # noqa: BLE001 - a boundary: remote code, kernels and readers raise errors of every type
        raise explain(name, error) from None


def explain(name: str, error: BaseException) -> LmqlError:
    """The error to show for one raised while loading or running a model."""
    text = str(error)
    if is_out_of_memory(error):
        hint = "use a smaller model, dtype='bfloat16', load_in_4bit=True, or more GPUs"
        return OutOfMemory(f"not enough memory for the model {name!r}; {hint}")
    if isinstance(error, ImportError):
        return BackendUnavailable(f"the model {name!r} needs a package that is not installed: {first_line(error)}")
    if "trust_remote_code" in text:
        return BackendUnavailable(f"the model {name!r} runs code of its own; if you trust it, pass trust_remote_code=True")
    if "Unrecognized configuration class" in text:
        return ModelNotFound(f"{name!r} is no causal language model: transformers has no text-generating class for it")
    if "model type" in text or "Unrecognized model" in text:
        return ModelNotFound(f"this version of transformers does not know the architecture of {name!r}: {first_line(error)}")
    if any(cls.__name__ in _DAMAGED for cls in type(error).__mro__) or "not a valid JSON file" in text:
        return BackendUnavailable(f"the files of {name!r} are damaged or cut short: {first_line(error)}")
    if "ignore_mismatched_sizes" in text:
        return BackendUnavailable(f"the weights of {name!r} have other shapes than its config.json says")
    if isinstance(error, OSError):
        return ModelNotFound(f"files of the model {name!r} are missing: {first_line(error)}")
    if isinstance(error, TypeError) and "unexpected keyword argument" in text:
        return LmqlError(f"an option of the model {name!r} is not known to its class: {first_line(error)}")
    return BackendUnavailable(f"the model {name!r} cannot be loaded: {type(error).__name__}: {first_line(error)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or here."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _NO_MEMORY))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
