from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from semviz.common import token_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("the  ", "the␣␣"),
        ("a b", "a b"),
        ("   ", "␣␣␣"),
        ("\n\t\r", "↵⇥␍"),
        ("a\nb", "a↵b"),
        ("", ""),
        ("<0xE4>", "<0xE4>"),
        ("\x00", "\\u0000"),
        ("\u202eabc", "\\u202eabc"),
        ("\u200b", "\\u200b"),
        ("\ufeffa", "\\ufeffa"),
        ("\u2028", "\\u2028"),
        ("\xa0a", "\\u00a0a"),
        ("\ud800", "\\ud800"),
        ("\U0001f468\u200d\U0001f4bb", "\U0001f468\u200d\U0001f4bb"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("e\u0301", "e\u0301"),
        ("\u0301", "◌\u0301"),
        ("�", "�"),
    ],
)
def test_show_makes_everything_visible(text: str, shown: str) -> None:
    assert token_text.short_label(text) == shown


def test_show_cuts_by_graphemes() -> None:
    assert token_text.short_label("internationalisation", width=8) == "interna…"
    assert token_text.short_label("e\u0301" * 5, width=5) == "e\u0301" * 5
    assert token_text.short_label("e\u0301" * 6, width=5) == "e\u0301" * 4 + "…"
    assert token_text.short_label(" " * 40, width=5) == "␣␣␣␣…"
    assert token_text.short_label("ab", width=1) == "…"


def test_show_bounds_hostile_input() -> None:
    assert len(token_text.short_label("a" + "\u0301" * 100_000)) < 40
    assert len(token_text.short_label("x" * 1_000_000)) == 12


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("$$x$$", "&#36;&#36;x&#36;&#36;"),
        ("&lt;", "&amp;lt;"),
        ('"quoted"', '"quoted"'),
    ],
)
def test_html_leaves_nothing_for_plotly_to_read(text: str, safe: str) -> None:
    assert token_text.html_label(text) == safe


def _tokenizer(vocabulary: list[str], decoder: object | None, **options: object) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(vocabulary)}, unk_token=vocabulary[0]))
    if decoder is not None:
        made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, **options)


def test_decode_byte_level() -> None:
    tokenizer = _tokenizer(["<unk>", "Ġthe", "Ċ", "ä", "ä¸", "ÃŃ", "cat"], decoders.ByteLevel())
    assert token_text.decode(tokenizer, [1, 2, 3, 4, 5, 6]) == [" the", "\n", "<0xE4>", "<0xE4><0xB8>", "í", "cat"]


def test_decode_sentencepiece_keeps_the_leading_space() -> None:
    decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])  # fmt: skip
    tokenizer = _tokenizer(["<unk>", "▁the", "s", "<0xE4>", "<0x0A>", "▁▁", "</s>"], decoder, eos_token="</s>")
    assert token_text.decode(tokenizer, [1, 2, 3, 4, 5, 6]) == [" the", "s", "<0xE4>", "\n", "  ", "</s>"]


def test_decode_wordpiece_and_suffix_markers() -> None:
    assert token_text.decode(_tokenizer(["[UNK]", "play", "##ing"], decoders.WordPiece()), [1, 2]) == [" play", "ing"]
    assert token_text.decode(_tokenizer(["<unk>", "play</w>", "ing"], decoders.BPEDecoder()), [1, 2]) == [
        "play ",
        "ing",
    ]


def test_decode_odd_ids_repeats_and_order() -> None:
    tokenizer = _tokenizer(["<unk>", "Ġa", "b"], decoders.ByteLevel())
    assert token_text.decode(tokenizer, [2, -1, 1, 2, 50_000]) == ["b", "", " a", "b", "<id 50000>"]
    assert token_text.decode(tokenizer, []) == []


def test_decode_added_tokens_are_not_read_as_bytes() -> None:
    tokenizer = _tokenizer(["<unk>", "Ġa"], decoders.ByteLevel())
    tokenizer.add_tokens(["Ġraw"])
    tokenizer.add_special_tokens({"eos_token": "<|ende|>"})
    assert token_text.decode(tokenizer, [2, 3]) == ["Ġraw", "<|ende|>"]


def test_decode_slow_tokenizers() -> None:
    class Slow:
        all_special_tokens = ("<s>",)
        pieces = ("<s>", "▁the", "<0xE4>")

        def __len__(self) -> int:
            return len(self.pieces)

        def get_added_vocab(self) -> dict[str, int]:
            return {}

        def convert_ids_to_tokens(self, i: int) -> str:
            return self.pieces[i]

    class Sentencepiece(Slow):
        sp_model = object()

    class OwnMarkers(Slow):
        pieces = ("<s>", "the@@", "x")

        def convert_tokens_to_string(self, pieces: list[str]) -> str:
            return " ".join(pieces).replace("@@", "")

    assert token_text.decode(Sentencepiece(), [0, 1, 2]) == ["<s>", " the", "<0xE4>"]
    assert token_text.decode(OwnMarkers(), [0, 1, 2]) == ["<s>", "the", "x"]
