"""The tokenizer of the shipped models: known words whole, names by syllables, numbers by digits."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from symphony.tasks.mini.generated import LEXICONS, SYLLABLES

ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
SPLIT = r"B\d|\d\.\d|//|==|[A-Za-z]+[:\[]?|\d+|[^\sA-Za-z\d]"
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """Builds a tokenizer with the words of `texts` (except names), greedy longest match, lossless up to spaces.

    Args:
        texts: Training texts, enough to contain every word of the tasks.
        max_length: The models' context in tokens.
    """
    syllables = [syllable.capitalize() for syllable in SYLLABLES] + [f"##{syllable}" for syllable in SYLLABLES]
    characters = [*string.printable[:94], *(f"##{char}" for char in string.printable[:94])]
    words = {word for text in texts for word in re.findall(SPLIT, text) if not _is_name(word) and not word.isdigit()}
    words |= {word for pairs in LEXICONS.values() for ask in pairs.items() for word in re.findall(SPLIT, " ".join(ask))}
    words |= {f"{tenths / 10:.1f}" for tenths in range(11)}
    vocabulary = [UNKNOWN, PAD, END, *ROLES, *sorted(dict.fromkeys([*characters, *syllables, *words]))]
    model = Tokenizer(
        WordPiece(
            {token: number for number, token in enumerate(dict.fromkeys(vocabulary))},
            unk_token=UNKNOWN,
            continuing_subword_prefix="##",
        )
    )
    model.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True)
    model.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" (?=[\]\).,;:?])"), ""),
            decoders.Replace(Regex(r"(?<=[\[\(]) "), ""),
            decoders.Replace(Regex(r"(?<=abs|ted) (?=\()"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _is_name(word: str) -> bool:
    pieces = [word[i : i + 2].lower() for i in range(0, 6, 2)]
    return len(word) == 6 and word[0].isupper() and all(piece in SYLLABLES for piece in pieces)
