"""Turns chats into tokens with a model's own template and tokenizer, shortened to its context."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.chat.reasoning import opened
from symphony.models.folder import CONFIG, TOKENIZER, check_folder
from symphony.models.hf.loading import explained, load_config, load_tokenizer
from symphony.models.sampler import Row
from symphony.models.sizes import Size
from symphony.types import Completion, Message, Request, SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chat:
    """A chat as tokens; `refused` is why the template rejects it, else ""; `opened` as in `Row`."""

    tokens: tuple[int, ...]
    refused: str = ""
    opened: str = ""


NO_LIMIT = 2**30
"""Context of a model whose config does not state one."""


def context_of(config: Any) -> int:
    """Returns how many tokens a model can take, by its config as transformers loads it.

    Raises:
        SymphonyError: The config states no number of tokens.
    """
    text_config = config.get_text_config(decoder=True)
    positions = getattr(text_config, "max_position_embeddings", None)
    context = NO_LIMIT if positions is None else positions
    if type(context) is not int or context < 2:
        message = f"max_position_embeddings: found {context!r}, allowed: a number of tokens >= 2"
        raise SymphonyError(f"{Path(config.name_or_path) / CONFIG}: {message}")
    return context


def load_chats(folder: Path, *, counter: str | None = None, context: int | None = None) -> ChatTokenizer:
    """Loads the tokenizer and chat template of a folder, without reading its weights.

    Args:
        context: Tokens that the model can take; None takes it from the folder's config.

    Raises:
        SymphonyError: The folder holds no tokenizer, or no config although one is needed.
    """
    check_folder(folder, tokenizer_alone=True)
    tokenizer = load_tokenizer(folder)
    return ChatTokenizer(tokenizer, context_of(load_config(folder)) if context is None else context, counter)


def prompt_tokens(folder: Path, messages: tuple[Message, ...]) -> int:
    """Counts the tokens of a chat by a folder's own tokenizer and chat template.

    Raises:
        SymphonyError: The folder holds no tokenizer with a chat template that takes the messages.
    """
    return load_chats(folder, context=NO_LIMIT).count(messages)


class ChatTokenizer:
    """Turns requests into rows, and gives their sizes (`Sizing`).

    Args:
        tokenizer: A tokenizer as transformers loads it, with a chat template.
        context: Tokens that the model can take, prompt and completion.
        counter: As in `Sizing`.
        vocabulary: Number of tokens that the model knows, if known; a tokenizer may have more.
    """

    def __init__(
        self, tokenizer: Any, context: int, counter: str | None = None, *, vocabulary: int = sys.maxsize
    ) -> None:
        self.counter = counter
        self._tokenizer, self._context, self._vocabulary = tokenizer, context, vocabulary
        self._alone = threading.Lock()  # sizes are asked in the event loop's thread, rows possibly in another

    def check(self, folder: Path) -> None:
        """Checks the template on the simplest chats, and the tokens against the model's vocabulary.

        Raises:
            SymphonyError: The template fails, turns two chats into the same prompt, or a token is unknown to the model.
        """
        with explained(folder / TOKENIZER, "a tokenizer that fits the model"):
            chat, longer = self._encode([(Message(role="user", content=content),) for content in ("go", "go go go")])
            plain = self._tokenizer.get_vocab().keys() - self._tokenizer.get_added_vocab().keys()
            most = max([*chat.tokens, *self._tokenizer.convert_tokens_to_ids(list(plain))], default=0)
        if chat.refused or not chat.tokens:
            allowed = "one that turns a chat into a prompt"
            raise SymphonyError(f"{folder}: found {chat.refused or 'an empty chat template'}, allowed: {allowed}")
        if chat.tokens == longer.tokens:
            finding = "a chat template or a vocabulary that drops the text of messages"
            raise SymphonyError(f"{folder}: found {finding}, allowed: one that keeps it")
        if most >= self._vocabulary:
            allowed = f"those of the model, 0 to {self._vocabulary - 1}"
            raise SymphonyError(f"{folder / TOKENIZER}: found token {most}, allowed: {allowed}")

    def count(self, messages: tuple[Message, ...]) -> int:
        """Counts the tokens of a chat.

        Raises:
            SymphonyError: The chat template rejects the messages.
        """
        (chat,) = self._encode([messages])
        if chat.refused:
            folder = self._tokenizer.name_or_path
            raise SymphonyError(f"{folder}: found {chat.refused}, allowed: a tokenizer with a chat template")
        return len(chat.tokens)

    def size(self, request: Request) -> Size:
        """Returns the size of the request's row; its completion is 0 if the request will be refused."""
        chat, dropped = self._fit(request, {})
        room = 0 if self._refusal(chat) else min(request.sampling.max_tokens, self._context - len(chat.tokens))
        return Size(prompt=len(chat.tokens), completion=room, dropped=dropped)

    def rows(self, requests: Sequence[Request], answers: dict[int, Completion], *, first: int = 0) -> list[Row]:
        """Makes rows of the requests that can be answered, numbered from `first`; the others get an error in `answers`.

        Equal prompts are tokenised once. A prompt that leaves no room for the completion is tokenised again without its
        lessons, oldest first, and then without its worked examples. When nothing is left to drop, the completion gets
        the room that remains.
        """
        unique = list(dict.fromkeys(request.messages for request in requests))
        chats = dict(zip(unique, self._encode(unique), strict=True))
        rows = []
        for index, request in enumerate(requests, first):
            chat, dropped = self._fit(request, chats)
            length = len(chat.tokens)
            if refused := self._refusal(chat):
                answers[index] = Completion(
                    text="", finish_reason="error", prompt_tokens=length, error=refused, dropped=dropped
                )
                continue
            rows.append(
                Row(
                    index=index,
                    prompt=chat.tokens,
                    sampling=request.sampling,
                    limit=min(request.sampling.max_tokens, self._context - length),
                    seed=request.draw.rng_seed(),
                    dropped=dropped,
                    opened=chat.opened,
                )
            )
        return rows

    def _fit(self, request: Request, chats: dict[tuple[Message, ...], _Chat]) -> tuple[_Chat, int]:
        """Drops as few parts as needed for the chat to fit; returns the chat and their number. `chats` is a cache."""

        def fits(messages: tuple[Message, ...]) -> bool:
            if messages not in chats:
                (chats[messages],) = self._encode([messages])
            return len(chats[messages].tokens) + request.sampling.max_tokens <= self._context

        messages, dropped = request.fitted(fits)
        return chats[messages], dropped

    def _refusal(self, chat: _Chat) -> str:
        """Returns why a chat gets no answer; "" if it gets one."""
        length, most = len(chat.tokens), max(chat.tokens, default=0)
        if chat.refused:
            return chat.refused
        if not 0 < length < self._context:
            return f"prompt: found {length} tokens, allowed: 1 to {self._context - 1}"
        if most >= self._vocabulary:
            return f"prompt: found token {most}, allowed: 0 to {self._vocabulary - 1}"
        return ""

    def _encode(self, chats: Sequence[tuple[Message, ...]]) -> list[_Chat]:
        with self._alone:
            return _encode(self._tokenizer, chats)


def _encode(tokenizer: Any, chats: Sequence[tuple[Message, ...]]) -> list[_Chat]:
    texts: list[str] = []
    refused: list[str] = []
    for messages in chats:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            texts.append(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
            refused.append("")
        except Exception as error:  # a template is the model's own program and may raise anything
            texts.append("")
            refused.append(f"chat template: {error}")
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    return [
        _Chat(tokens=tuple(ids), refused=why, opened=opened(text))
        for ids, why, text in zip(encoded, refused, texts, strict=True)
    ]
