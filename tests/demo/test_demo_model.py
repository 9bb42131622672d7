"""The packaged LM: it loads, it knows its world, and it does not know the tasks yet."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from semviz.demo.corpus import documents, general_text
from semviz.demo.tasks import MODEL_DIR, SPECS, rows

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lm() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)


def test_files_are_small_and_load_in_single_precision(lm: tuple[Any, Any]) -> None:
    model, _ = lm
    assert sum(path.stat().st_size for path in MODEL_DIR.iterdir()) <= 6_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.num_hidden_layers == 8
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def test_tokenizer_keeps_words_whole_and_begins_with_bos(lm: tuple[Any, Any]) -> None:
    _, tokenizer = lm
    ids = tokenizer("Anna took the lamp.")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "anna", "took", "the", "lamp", "."]
    assert tokenizer.pad_token == "<pad>"
    assert tokenizer.eos_token == "<eos>"
    assert len(tokenizer) == lm[0].config.vocab_size


@pytest.mark.parametrize("task", SPECS)
def test_no_unknown_word_in_a_task_and_labels_are_single_tokens(task: str, lm: tuple[Any, Any]) -> None:
    _, tokenizer = lm
    prompts = [SPECS[task].prompt.format(text=row["text"]) for s in ("train", "test") for row in rows(task, s)]
    assert not any(tokenizer.unk_token_id in ids for ids in tokenizer(prompts)["input_ids"])
    assert tokenizer("zebra")["input_ids"][1] == tokenizer.unk_token_id  # so that the line above can fail
    for label in SPECS[task].labels:
        assert len(tokenizer(label, add_special_tokens=False)["input_ids"]) == 1


@torch.no_grad()
def test_held_out_loss_is_far_below_the_unigram_model(lm: tuple[Any, Any]) -> None:
    model, tokenizer = lm
    texts = general_text()[:50]
    total, tokens = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    counts = Counter(word for _, text in islice(documents(seed=1), 10_000) for word in text.split())
    every = counts.total() + len(counts)
    words = [word for text in texts for word in text.split()]
    unigram = -sum(math.log((counts[word] + 1) / every) for word in words) / len(words)
    assert total / tokens < 1.4
    assert total / tokens < unigram - 3


@torch.no_grad()
@pytest.mark.parametrize("task", [name for name, spec in SPECS.items() if spec.labels])
def test_zero_shot_is_above_chance_and_leaves_room(task: str, lm: tuple[Any, Any]) -> None:
    model, tokenizer = lm
    spec = SPECS[task]
    test = rows(task, "test")[:300]
    batch = tokenizer([spec.prompt.format(text=row["text"]) for row in test], return_tensors="pt", padding=True)
    last = batch["attention_mask"].sum(1) - 1
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = torch.tensor(tokenizer.convert_tokens_to_ids(list(spec.labels)))
    choice = logits[torch.arange(len(test)), last][:, labels].argmax(1)
    accuracy = sum(spec.labels[i] == row["label"] for i, row in zip(choice.tolist(), test, strict=True)) / len(test)
    assert 1 / len(spec.labels) + 0.07 <= accuracy <= 0.88  # 300 rows: 3 points of slack around +10 points and 85 %


def test_pretraining_windows_begin_with_a_document_and_skip_the_held_out_ones(
    lm: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from semviz.demo import pretrain

    _, tokenizer = lm
    first, second = (text for _, text in islice(documents(pretrain.SEED), 2))

    def beginning() -> str:
        window = next(pretrain.windows(tokenizer))
        assert len(window) == pretrain.WINDOW
        assert tokenizer.unk_token_id not in window
        return tokenizer.decode(window)

    assert beginning().startswith(f"<bos> {first} <eos>")
    monkeypatch.setattr(pretrain, "general_text", lambda: [first])
    assert beginning().startswith(f"<bos> {second} <eos>")


def test_the_program_builds_the_packaged_architecture(lm: tuple[Any, Any]) -> None:
    from semviz.demo.pretrain import new_model

    model, tokenizer = lm
    shapes = {name: p.shape for name, p in new_model(len(tokenizer)).named_parameters()}
    assert shapes == {name: p.shape for name, p in model.named_parameters()}
    assert 1.5e6 < sum(shape.numel() for shape in shapes.values()) < 2.5e6


def test_the_packaged_tokenizer_is_what_the_corpus_gives_today(tmp_path: Any) -> None:
    """Its words are ordered by their frequency in 60,000 documents, so any change of the corpus shows here."""
    from semviz.demo.pretrain import SEED
    from semviz.demo.tokenizer import build_tokenizer

    build_tokenizer((text for _, text in islice(documents(SEED), 60_000)), tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (MODEL_DIR / "tokenizer.json").read_text()
