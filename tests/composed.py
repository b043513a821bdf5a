"""Completions composed around something known: reasoning, prose, thoughts, labels and leftovers, in many orders."""

from __future__ import annotations

import random

DECOYS = ("search[Wrong Lake]", "finish[Wrong Lake]", "Value: 0.11\nConfidence: 0.12", "Value: 9", "Confidence: 3/10")
BLOCKS = (
    ("<think>\n", "\n</think>\n"),
    ("<think>", "</think>"),
    ("<Thinking>", "</thinking>\n\n"),
    ("<reasoning>\n", "\n</reasoning>\n"),
    ('<thought depth="2">', "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>\n"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<think><think>", "</think>\n"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary to=tool<|message|>", "<|end|>\n<|channel|>final<|message|>"),
    ("", "\n</think>\n\n"),  # the template has opened it
)
PROSE = (
    "Let me see.",
    "The page says [1] that it is so, see also [note].",
    "I may use Action: finish[Wrong Lake] when sure.",
    "My first idea was the Action search[Wrong Lake], but no.",
    "Sure! Here is my next step:",
    "It is 7 of 10 pages; 3/4 of them help.",
    "",
)
THOUGHTS = (
    "Thought: {}",
    "Thought 2: {}",
    "**Thought:** {}",
    "**Thought 3**: {}",
    "### Thought\n{}",
    "- Thought: {}",
    "{}",
)
LABELS = (
    "Action: {}",
    "Action 12 : {}",
    "action:{}",
    "**Action:** {}",
    "**Action 1**: {}",
    "**Action: {}**",
    "*Action*: `{}`",
    "__Action 4:__ **{}**",
    "### Action\n{}",
    "### Action 2:\n\n{}",
    "- Action: {}",
    "3. **Action**: {}",
    "> Action: {}",
    "Action (2): {}",
    "Action #2: {}",
    "Action:\n{}",
    "Action:\n```\n{}\n```",
    "Action\uff1a {}",
    "<action>{}</action>",
)
BARE = ("{}", "> {}", "`{}`", "- **{}**", "1. {}")
AFTER = ("", " [1]", " (this opens the page [2])", ".", " ", "  \u2014 now.", "\r")
ENDS = (
    "",
    "\n",
    "<|im_end|>",
    "</s>",
    "<|eot_id|>",
    "<|im_end|>\n<|im_start|>user\nObservation: no.\nAction: finish[Wrong Lake]",
    "<|endoftext|>Action: finish[Wrong Lake]\nValue: 0.11\nConfidence: 0.12",
)
BEGINS = ("", "\n", "<|im_start|>assistant\n", "<s>", "<answer>\n")
SCORES = (
    "Value: {z}\nConfidence: {c}",
    "Value: {z} Confidence: {c}",
    "**Value**: {z}\n**Confidence**: {c}",
    "- Value (0-1): {z}\n- Confidence (0-1): {c}",
    "Confidence: {c}\r\nValue: {z}",
    "| Value | {z} |\n| Confidence | {c} |",
    '{{"value": {z}, "confidence": {c}}}',
    "Final value: {z}; confidence: {c}",
    "Value of this attempt: {z}\nConfidence in that value: {c}",
    "Value = {z}, Confidence = {c}",
)


def reasoned(rng: random.Random, text: str) -> str:
    """The text behind up to two blocks of reasoning that say something else."""
    for _ in range(rng.choice((0, 1, 1, 2))):
        opening, closing = rng.choice(BLOCKS[:-1] if "think" in text.lower() else BLOCKS)
        decoys = "\n".join(rng.choice((f"Action: {DECOYS[0]}", *DECOYS, *PROSE)) for _ in range(rng.randrange(4)))
        text = f"{opening}{decoys}{closing}{text}"
    return text


def acting(rng: random.Random, action: str, *, bare: bool = False) -> str:
    """A completion that takes an action, given as `verb[argument]`."""
    lines = [rng.choice(PROSE) for _ in range(rng.randrange(3))]
    lines.append(rng.choice(THOUGHTS).format(rng.choice(PROSE)))
    verb, _, rest = action.partition("[")
    spelt = rng.choice((verb, verb.upper(), verb.capitalize())) + rng.choice(("", "", " ")) + "[" + rest
    form = rng.choice(BARE if bare else LABELS)
    lines.append(form.format(spelt) + ("" if "`" in form or "*" in form else rng.choice(AFTER)))
    if not bare and rng.random() < 0.3:
        lines.append(f"Action: {DECOYS[1]}")
    return reasoned(rng, rng.choice(BEGINS) + "\n".join(lines) + rng.choice(ENDS))


def judging(rng: random.Random, value: int, confidence: int) -> str:
    """An evaluation that gives value and confidence, in hundredths."""

    def spelt(hundredths: int) -> str:
        forms = (
            f"{hundredths / 100}",
            f"{hundredths / 100:.2f}",
            f"{hundredths}%",
            f"{hundredths}/100",
            f"{hundredths / 10} / 10",
        )
        return rng.choice(forms)

    text = rng.choice(SCORES).format(z=spelt(value), c=spelt(confidence))
    before = "\n".join(
        rng.choice((*PROSE, "At first I thought Value: 0.11, to be sure.")) for _ in range(rng.randrange(3))
    )
    after = rng.choice(("", "\nThe value of 3 pages is high.", "\nIt is so because of page 2 of 5."))
    return reasoned(rng, rng.choice(BEGINS) + f"{before}\n{text}{after}" + rng.choice(ENDS))


NUMBERED = ("{}: ", "{}. ", "{}) ", "Candidate {}: ", "**{}:** ", "- Candidate {}: ", "### Candidate {}\n")
IN_A_LINE = tuple(score for score in SCORES if "\n" not in score and "{{" not in score)


def comparing(rng: random.Random, said: dict[int, tuple[int, int]]) -> str:
    """An evaluation of several siblings: number -> value and confidence, in hundredths."""
    head = rng.choice(NUMBERED)
    lines = [
        head.format(n) + rng.choice(IN_A_LINE).format(z=value / 100, c=f"{confidence}%")
        for n, (value, confidence) in said.items()
    ]
    before = "\n".join(rng.choice(PROSE) for _ in range(rng.randrange(3)))
    return reasoned(rng, rng.choice(BEGINS) + f"{before}\n" + "\n".join(lines) + rng.choice(ENDS))
