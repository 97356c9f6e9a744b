"""WordPiece: from text to the words and pieces of a vocabulary, as uncased BERT reads it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

START, END, PADDING, UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
LONGEST = 100  # letters of a word that is looked up

_CHINESE = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


class WordPiece:
    """A tokenizer.

    Args:
      vocabulary: words, and pieces inside of words with "##" before them; the place of each is
        its number.

    Example:
      >>> from jsmpc.examples.sentences.wordpiece import WordPiece
      >>> read = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##seen", "!"])
      >>> read("Unseen! Naïve")
      [2, 4, 5, 6, 1, 3]
    """

    def __init__(self, vocabulary: Sequence[str]):
        self.numbers = {word: i for i, word in enumerate(vocabulary)}

    def __call__(self, text: str) -> list[int]:
        """The numbers of a text's tokens, with those that mark its start and end."""
        pieces = [piece for word in words(text) for piece in self._pieces(word)]
        return [self.numbers[piece] for piece in (START, *pieces, END)]

    def _pieces(self, word: str) -> list[str]:
        """The longest piece that begins a word, the longest that goes on, and so forth."""
        pieces: list[str] = []
        start = 0
        while start < len(word):
            before = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if before + word[start:e] in self.numbers), None)
            if end is None or len(word) > LONGEST:
                return [UNKNOWN]
            pieces.append(before + word[start:end])
            start = end
        return pieces


def words(text: str) -> Iterator[str]:
    """Lower-case words without accents; each mark of punctuation is one of its own."""
    plain = unicodedata.normalize("NFD", text.lower())
    word = ""
    for letter in plain:
        kind = unicodedata.category(letter)
        apart = _is_punctuation(letter, kind) or _is_chinese(letter)
        if letter.isspace() or apart:
            yield from filter(None, (word, letter if apart else ""))
            word = ""
        elif kind != "Mn" and kind[0] != "C":
            word += letter
    if word:
        yield word


def _is_punctuation(letter: str, kind: str) -> bool:
    return kind[0] == "P" or (letter.isascii() and kind[0] == "S")


def _is_chinese(letter: str) -> bool:
    return any(first <= ord(letter) <= last for first, last in _CHINESE)
