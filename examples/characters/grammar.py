"""Text of a small grammar, in windows of characters: data for a language model without a download."""

from __future__ import annotations

import numpy as np

NOUNS, VERBS = ("cat", "dog", "bird", "queen", "old man"), ("sees", "follows", "likes", "finds")
ADJECTIVES = ("small", "red", "quiet", "very large")
CHARACTERS = " .abcdefghijklmnopqrstuvwxyz"


def sentence(rng: np.random.Generator) -> str:
    """One sentence, such as "the red bird follows a cat. "."""

    def thing() -> str:
        words = [("the", "a")[rng.integers(2)], *([rng.choice(ADJECTIVES)] if rng.random() < 0.5 else []), rng.choice(NOUNS)]
        return " ".join(words)

    return f"{thing()} {rng.choice(VERBS)} {thing()}. "


class Windows:
    """`count` windows of `length` characters of a text.

    A sample is (characters, following): int64 [length] each, numbers of CHARACTERS. `following` is one character later.
    """

    def __init__(self, count: int, split: str, length: int = 48):
        rng, text = np.random.default_rng({"train": 0, "test": 1}[split]), ""
        while len(text) <= count * length:
            text += sentence(rng)
        numbers = np.array([CHARACTERS.index(each) for each in text[: count * length + 1]], np.int64)
        self.characters, self.following = numbers[:-1].reshape(count, length), numbers[1:].reshape(count, length)

    def __len__(self) -> int:
        return len(self.characters)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.characters[index], self.following[index]
