"""Load a model from files or the hub, running its own code only where that is allowed.

Errors of transformers and the hub are long and seldom begin with the cause; here each becomes one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.load_options import OF_FILES, resolve_device, resolve_dtype
from semviz.lm.model_files import check_headers, has_tokenizer
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.sources import DEMO, Source

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CAUSES = {
    # Gated comes before not found, which is its base class.
    "GatedRepoError": "it is gated: accept its terms on its page and log in (hf auth login).",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private: look for a misspelling, or log in.",
    "RevisionNotFoundError": "the repository has no such revision=.",
    "OfflineModeIsEnabled": "it is not among the files on this machine, and HF_HUB_OFFLINE forbids asking the hub.",
    "LocalEntryNotFoundError": "it is not among the files on this machine, and the hub cannot be reached.",
}
_OTHER_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM")
_TOKENIZER = "tokenizer=AutoTokenizer.from_pretrained(…), or the folder or hub id of the model it was trained from"


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded; fields as in `load_model`, and those of transformers' that are handed on."""

    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    dtype: str | torch.dtype = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    handed_on: tuple[tuple[str, Any], ...] = ()

    @property
    def place(self) -> dict[str, Any]:
        """Options that say where files lie."""
        revision = {"revision": self.revision} if self.revision else {}
        return revision | {name: value for name, value in self.handed_on if name in OF_FILES}

    @property
    def files(self) -> dict[str, Any]:
        """Options of everything that is read: where it lies, and whether its code may run."""
        return {"trust_remote_code": self.trust_remote_code, **self.place}

    @property
    def weights(self) -> dict[str, Any]:
        """Options of the weights alone."""
        placement = {} if self.device_map is None else {"device_map": self.device_map}
        return {name: value for name, value in self.handed_on if name not in OF_FILES} | placement


def load_from_files(
    source: Source, tokenizer: Any, options: LoadOptions
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """Load model and tokenizer through transformers' Auto classes, safetensors or GGUF only.

    Args:
        source: Where it lies; no adapter.
        tokenizer: A tokenizer, or where one lies; None for the model's own.
        options: How it is loaded.

    Returns:
        Model, tokenizer, and a note on what was done to the weights, if anything was.

    Raises:
        ModelError: If it cannot be loaded; the message says what to pass.
    """
    from transformers import AutoConfig

    target = resolve_device(options.device)
    files = options.files | ({"gguf_file": source.gguf_file} if source.gguf_file else {})
    with explained(source.name):
        if source.gguf_file:
            _check_gguf_package(source)
        config = AutoConfig.from_pretrained(source.path, **files)
        check_config(source.name, config, options.trust_remote_code)
        check_headers(source.weights)
        found = load_tokenizer(source, tokenizer, options)
        dtype = resolve_dtype(options.dtype, target)
        model = _load_weights(source, config, dtype, files, options.weights)
    placed = "device_map" in options.weights or hasattr(model, "hf_quantizer")
    note = _dequantised(_form(source, options.place), dtype) if source.gguf_file else ""
    return (model.eval() if placed else model.eval().to(target)), found, note


def _load_weights(
    source: Source, config: PreTrainedConfig, dtype: torch.dtype, files: dict[str, Any], options: dict[str, Any]
) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    form = {} if source.gguf_file else {"use_safetensors": True, "config": config}
    # Weights that the files lack are initialized at random first, which must not touch the random state.
    with _loading_bar(shown=source.name != DEMO), own_random_numbers():
        model, loading = AutoModelForCausalLM.from_pretrained(
            source.path, dtype=dtype, output_loading_info=True, **form, **files, **options
        )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(
            f"{source.name} has no weights for {len(missing)} of its tensors ({checks.short_repr(missing)}), which "
            "would be random; pass a complete model, such as save_pretrained() writes."
        )
    loaded: PreTrainedModel = model
    return loaded


def check_config(name: str, config: PreTrainedConfig, trust_remote_code: bool) -> None:
    """Refuse a checkpoint of something else than a causal LM, and code that nobody has allowed to run.

    Raises:
        ModelError: If it is one, or asks for such code.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} ({config.model_type}) is an encoder-decoder model; semviz traces causal LMs. "
            "Pass a decoder-only model."
        )
    made_for = getattr(config, "architectures", None) or []
    if made_for and all(any(head in str(cls) for head in _OTHER_HEADS) for cls in made_for):
        raise ModelError(
            f"{name} is a {made_for[0]} and no causal LM, whose head would be dropped or misread. Pass the causal LM "
            "that it was made from; a classifier's classes become label words: Task.from_texts(texts, labels)."
        )
    # transformers would ask for trust in some of these only, and fetch the others from the hub.
    if not trust_remote_code and (repository := _attention_repository(config)):
        raise ModelError(
            f"{name} asks for code from the repository {checks.short_repr(repository)} to compute its attention; "
            "pass trust_remote_code=True if you trust it, or a model that does not need it."
        )


def load_tokenizer(source: Source, given: Any, options: LoadOptions) -> PreTrainedTokenizerBase:
    """Load the tokenizer that was passed, or the one that lies with the model.

    Raises:
        ModelError: If there is none; the message says how to pass one.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    if isinstance(given, PreTrainedTokenizerBase):
        return given
    if given is not None:
        with explained(f"tokenizer={checks.short_repr(given)}"):
            return _as_tokenizer(AutoTokenizer.from_pretrained(checks.as_path("tokenizer", given), **options.files))
    gguf = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    local = Path(source.path).is_dir() and not gguf
    where = Path(source.path, str(dict(options.handed_on).get("subfolder", "")))
    if local and not has_tokenizer(where):
        raise ModelError(f"{source.name} has no tokenizer beside it; pass {_TOKENIZER}.")
    try:
        return _as_tokenizer(AutoTokenizer.from_pretrained(source.path, **options.files, **gguf))
    except (ValueError, OSError, KeyError, TypeError) as error:
        if "tokenizer" not in str(error):
            raise
        raise ModelError(
            f"The tokenizer of {source.name} cannot be loaded ({_explain(error).rstrip('.')}); pass {_TOKENIZER}."
        ) from error


def _as_tokenizer(loaded: Any) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = loaded
    return tokenizer


def _check_gguf_package(source: Source) -> None:
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError(f'{source.gguf_file} is read by the gguf package; run: pip install "semviz[gguf]".') from error


def _form(source: Source, place: dict[str, Any]) -> str:
    """Name the form that most weights of a GGUF file have, such as Q4_K."""
    from collections import Counter

    from gguf import GGUFReader
    from transformers.utils import cached_file

    path = Path(source.path, source.gguf_file)
    reader = GGUFReader(path if path.is_file() else cached_file(source.path, source.gguf_file, **place))
    counts: Counter[str] = Counter()
    for tensor in reader.tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return counts.most_common(1)[0][0]


def _dequantised(form: str, dtype: torch.dtype) -> str:
    done = "converted" if form in ("F64", "F32", "F16", "BF16") else "dequantised"
    return f"{done} from {form} to {str(dtype).removeprefix('torch.')}"


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what goes wrong while a model is loaded into one sentence."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # transformers and the hub raise many classes, which all mean that loading failed
        raise ModelError(
            f"Cannot load {checks.short_repr(name)}: {_explain(error)} Pass None for the packaged demo, a folder that "
            "save_pretrained() wrote, (model, tokenizer), or a hub id that this machine can reach (gated models need "
            "a login)."
        ) from error


def _attention_repository(config: PreTrainedConfig) -> str:
    """Return the repository whose code a model's config asks for to compute attention, or an empty string."""
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    implementations = [str(getattr(part, "_attn_implementation", None)) for part in parts]
    return next((name for name in implementations if "/" in name), "")


@contextmanager
def _loading_bar(*, shown: bool) -> Iterator[None]:
    """Hide transformers' progress bar where loading takes no time: for the packaged model."""
    from transformers.utils import logging

    hide = not shown and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _explain(error: BaseException) -> str:
    """Explain an error by its class or the class of one of its causes, or else in the library's own words."""
    class_names: set[str] = set()
    cause: BaseException | None = error
    while cause is not None and len(class_names) < 100:
        class_names |= {cls.__name__ for cls in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    if "trust_remote_code" in str(error):
        return "it needs Python code from its repository; trust_remote_code=True runs that code, if you trust it."
    for class_name, explanation in _CAUSES.items():
        if class_name in class_names:
            return explanation
    line = checks.first_line(error)
    return line if line.endswith(".") else line + "."
