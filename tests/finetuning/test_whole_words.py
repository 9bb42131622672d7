"""Label words that begin alike: trace, training and scores are those of a plain loop over the whole words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from small import plain_text, tiny_llama
from tokenizer_kinds import SMOLLM2, tokenizer
from transformers import AutoModelForCausalLM

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.common.token_text import decode
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import evaluate
from semviz.finetuning.finetune import zero_shot
from semviz.finetuning.suffix_model import Suffix
from semviz.tasks.tokenizing import encode

QUIET = {"progress": False}
WORDS = {
    "two": {"a": "very good", "b": "very bad"},
    "three lengths": {"a": "very good", "b": "very very bad", "c": "bad"},
    "trie": {"a": "not good", "b": "not bad at all", "c": "not bad, very good", "d": "great"},
}
TEXTS = ["the film was great", "a bad thing!", "a negative bad film\n", "stars", "the mood was very good", "awful."]


@pytest.fixture(scope="module", params=["byte-level", "bos and eos", "metaspace, bos"])
def model(request):
    return small_model(request.param)


def small_model(kind):
    tok = tokenizer(kind)
    return sv.load_model((tiny_llama(vocab_size=len(tok)), tok), general_text=plain_text())


def made_task(words, scoring="sum", prompt="{text}\nLabel:"):
    texts = [text if i < len(TEXTS) else f"{text} {'so ' * (i % 4)}!" for i, text in enumerate(TEXTS * 6)]
    labels = [list(words)[i % len(words)] for i in range(len(texts))]
    held_out = (TEXTS * 2, [list(words)[i * 5 // 3 % len(words)] for i in range(2 * len(TEXTS))])
    return sv.Task.from_texts(
        texts, labels, prompt=prompt, words=words, scoring=scoring, test=held_out, validation=held_out
    )


def read_alone(model, task, text, word, *, join=" "):
    """Ids of prompt and word, without what the tokenizer puts behind."""
    tok, prompt = model.tokenizer, task.prompt.replace("{text}", text)
    plain = tok(prompt, add_special_tokens=False)["input_ids"]
    full = tok(prompt + join + word, add_special_tokens=False)["input_ids"]
    assert full[: len(plain)] == plain
    start = [tok.bos_token_id] if tok("a")["input_ids"][0] == tok.bos_token_id else []
    return [*start, *plain], full[len(plain) :]


@torch.no_grad()
def token_scores(network, prompt, word):
    """Log-probability of each token of a word behind a prompt."""
    logits = network(torch.tensor([[*prompt, *word]])).logits[0].float().log_softmax(-1)
    return [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(word)]


def plain_scores(model, network, task, split, join=" "):
    """Scores of every word in every row, shape (n, C), one pass each."""
    reduce = np.sum if task.scoring == "sum" else np.mean
    return np.array(
        [
            [reduce(token_scores(network, *read_alone(model, task, text, word, join=join))) for word in task.words]
            for text in task.split(split).texts
        ]
    )


def assert_same_scores(found, scores, labels):
    labels = np.asarray(labels)
    chosen = scores.argmax(1)
    assert found.accuracy == pytest.approx((chosen == labels).mean())
    np.testing.assert_array_equal(found.rows, chosen == labels)
    assert found.loss == pytest.approx(-scores[np.arange(len(labels)), labels].mean(), rel=1e-4)
    assert found.f1 == pytest.approx(f1_score(labels, chosen, average="macro"))
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    auroc = roc_auc_score(labels, shares[:, 1] if shares.shape[1] == 2 else shares, multi_class="ovr")
    assert found.auroc == pytest.approx(auroc, abs=1e-6)


def check_scores(model, task):
    expected, labels = plain_scores(model, model.model, task, "test"), task.split("test").labels
    bench = EncodedTask(model, task, **QUIET)
    assert_same_scores(zero_shot(bench, "test"), expected, labels)
    cached = evaluate(Suffix(model, sv.Scope.above(model, 1), cached=True), bench, bench.part("test", 1))
    assert_same_scores(cached, expected, labels)


def check_trace(model, task):
    trace = sv.trace(model, task, split="test", metrics=("lens", "rank"), **QUIET)
    counted, final = trace.positions[trace.counted], trace.values["lens"][:, -1]
    assert (counted["role"] == "answer").all()
    part = task.split("test")
    for sample, (text, label) in enumerate(zip(part.texts, part.labels, strict=True)):
        words = [read_alone(model, task, text, word)[1] for word in task.words]
        (prompt, word), rows = read_alone(model, task, text, task.words[label]), counted[counted["sample"] == sample]
        assert rows["position"].tolist() == list(range(len(prompt) - 1, len(prompt) + len(word) - 1))
        assert rows["target_id"].tolist() == word
        expected = token_scores(model.model, prompt, word)
        np.testing.assert_allclose(-final[rows.index], expected, rtol=1e-3, atol=1e-3)
        assert trace.sample_means("lens").loc[sample].iloc[-1] == pytest.approx(-np.mean(expected), rel=1e-3, abs=1e-3)
        # What is predicted goes on with one of the words.
        for i, predicted in enumerate(rows["predicted"]):
            options = {other[i] for other in words if other[:i] == word[:i] and len(other) > i}
            scores = {option: token_scores(model.model, [*prompt, *word[:i]], [option])[0] for option in options}
            assert predicted == decode(model.tokenizer, [max(scores, key=scores.__getitem__)])[0]
    # The other words are not read, so which word is the most probable one is not known.
    assert counted["correct"].isna().all()
    assert np.isnan(trace.accuracy)
    assert "nan" not in repr(trace)
    with pytest.raises(SemvizError, match="No counted position has a correct"):
        trace.by("correct")
    with pytest.raises(SemvizError, match="order='correct' needs"):
        trace.sample_heatmap(order="correct")


def check_training(model, task, boundary):
    bench = EncodedTask(model, task, **QUIET)
    part, rows = bench.part("train", boundary), [0, 3, 5, 8]
    suffix = Suffix(model, sv.Scope.above(model, boundary), cached=boundary > 0)
    loss = float(suffix(**bench.collator(part)(rows))["loss"].detach())
    split, tokens = task.split("train"), []
    for row in rows:
        word = task.words[split.labels[row]]
        tokens += token_scores(model.model, *read_alone(model, task, split.texts[row], word))
    assert loss == pytest.approx(-np.mean(tokens), rel=1e-4)


@pytest.mark.parametrize("scoring", ["sum", "mean"])
@pytest.mark.parametrize("words", WORDS)
def test_scores_are_those_of_a_plain_loop_from_the_text_and_from_the_cache(model, words, scoring):
    check_scores(model, made_task(WORDS[words], scoring))


@pytest.mark.parametrize("words", WORDS)
def test_a_trace_reads_every_token_of_the_word(model, words):
    check_trace(model, made_task(WORDS[words]))


@pytest.mark.parametrize("boundary", [0, 1])
def test_training_asks_for_every_token_of_the_word(model, boundary):
    check_training(model, made_task(WORDS["trie"]), boundary)


def test_the_same_on_a_real_model():
    if not SMOLLM2.exists():
        pytest.skip("SmolLM2 is not at hand: ../shared/real/get_smollm2.py makes its folder")
    network = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32).eval()
    network.model.layers, network.config.num_hidden_layers = network.model.layers[:3], 3
    network.config.layer_types = None
    model = sv.load_model((network, tokenizer("SmolLM2")), general_text=plain_text())
    task = made_task(WORDS["trie"])
    check_scores(model, task)
    check_trace(model, task)
    check_training(model, task, 1)


def test_a_training_split_can_be_scored_too(model):
    task = made_task(WORDS["three lengths"])
    bench = EncodedTask(model, task, **QUIET)
    expected, labels = plain_scores(model, model.model, task, "train"), task.split("train").labels
    for k in (0, 2):
        suffix = Suffix(model, sv.Scope.above(model, k), cached=k > 0)
        assert_same_scores(evaluate(suffix, bench, bench.part("train", k)), expected, labels)


def test_labels_alone_cannot_be_compared_token_by_token(model):
    with pytest.raises(SemvizError, match='vocab="full"'):
        sv.trace(model, made_task(WORDS["two"]), vocab="labels", **QUIET)


@pytest.mark.parametrize("boundary", [0, 2])
def test_a_finetune_is_scored_by_the_words_of_the_trained_model(boundary):
    model, task = small_model("byte-level"), made_task(WORDS["three lengths"])
    run = sv.finetune(model, task, sv.Scope.above(model, boundary), lr=3e-3, epochs=2, batch_size=8, **QUIET)
    assert run.cached == (boundary > 0)
    tuned = sv.load_run(model, run).model
    scores, labels = plain_scores(model, tuned, task, "test"), np.asarray(task.split("test").labels)
    np.testing.assert_array_equal(run.rows, scores.argmax(1) == labels)
    assert run.loss == pytest.approx(-scores[np.arange(len(labels)), labels].mean(), rel=1e-3)
    assert run.loss < -plain_scores(model, model.model, task, "test")[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("prompt", ["{text}", "Review: {text}"])
def test_rows_that_read_the_words_differently_are_each_scored_by_their_own(prompt):
    """A text that ends in a line break takes words without a blank, the others with one."""
    model = small_model("byte-level")
    task = made_task({"a": "positive", "b": "negative"}, prompt=prompt)
    encoded = encode(model, task, "test")
    assert len(encoded.readings) == 2
    assert not encoded.whole_words
    scores = np.zeros((len(encoded), 2))
    trace = sv.trace(model, task, split="test", detail=0, **QUIET)
    labels_only = sv.trace(model, task, split="test", vocab="labels", detail=0, **QUIET)
    for row, text in enumerate(task.split("test").texts):
        for label, word in enumerate(task.words):
            prompt_ids, ids = read_alone(model, task, text, word, join="" if text.endswith("\n") else " ")
            scores[row, label] = token_scores(model.model, prompt_ids, ids[:1])[0]
        true = scores[row, task.split("test").labels[row]]
        assert trace.values["lens"][row, -1] == pytest.approx(-true, rel=1e-3, abs=1e-4)
        share = true - np.logaddexp(*scores[row])
        assert labels_only.values["lens"][row, -1] == pytest.approx(-share, rel=1e-3, abs=1e-4)
    assert_same_scores(zero_shot(EncodedTask(model, task, **QUIET), "test"), scores, task.split("test").labels)
    chosen = scores.argmax(1) == np.asarray(task.split("test").labels)
    assert trace.positions["correct"].tolist() == chosen.tolist()


def test_words_whose_first_tokens_differ_are_scored_by_these_as_before(tiny, mood):
    encoded = encode(tiny, mood, "train")
    assert not encoded.whole_words
    assert (encoded.counted.take(range(len(encoded))).flat.sum()) == len(encoded)
    assert [len(word) for reading in encoded.readings for word in reading.words] == [1, 1]


def test_the_way_of_scoring_is_part_of_the_task():
    by_sum, by_mean = (made_task(WORDS["two"], scoring) for scoring in ("sum", "mean"))
    assert by_sum.hash != by_mean.hash
    with pytest.raises(SemvizError, match="scoring"):
        made_task(WORDS["two"], "product")


def test_the_explorer_offers_no_share_of_right_answers_where_a_trace_knows_none(tmp_path):
    study = sv.Study(small_model("byte-level"), made_task(WORDS["two"]), store=tmp_path)
    assert set(study.orders) == {"label", "deviation", "cluster", "index"}
    app = sv.Explorer(study.model, study.task, store=tmp_path)
    assert "answers right" not in app.data.header.value
    assert "traced" in app.data.header.value


def test_a_trace_of_whole_words_is_saved_and_read(tmp_path):
    trace = sv.trace(small_model("byte-level"), made_task(WORDS["two"]), detail=0, **QUIET)
    trace.save(tmp_path / "t.parquet")
    assert sv.Trace.load(tmp_path / "t.parquet").positions["correct"].isna().all()
