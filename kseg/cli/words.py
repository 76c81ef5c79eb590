"""Words of the shell: those that options had before, and flags in errors that name arguments."""

import argparse
import re
import shlex
import sys
from typing import Any

# whose flag is another word
_FLAGS = {
    "root": "--data",
    "data_root": "--data",
    "class_names": "--classes",
    "class_weights": "--class-weights",
}


def add_option(parser: Any, word: str, *beginnings: str, **keywords: Any) -> argparse.Action:
    """Add an option of which some beginnings are beginnings of another option too, and stay its own.

    Args:
        parser: or a group of one.
        word: what the help shows.
        beginnings: of two words argparse would take neither.
        **keywords: as for `add_argument`.
    """
    action = parser.add_argument(word, *beginnings, **keywords)
    action.option_strings = [word]  # the help shows the whole word
    return action


def keep_old_word(
    parser: argparse.ArgumentParser, action: argparse.Action, old: str, *abbreviations: str
) -> None:
    """Let an option be given by its older word too, with a hint on stderr; the help does not show it.

    Args:
        parser: it has the option.
        action: what `add_argument` returned for it.
        old: the older word.
        abbreviations: beginnings of the older word that are beginnings of the new one as well, and of no
            other option: of two words argparse would take neither.
    """
    for word in (old, *abbreviations):
        parser.add_argument(
            word,
            action=_OldWord,
            dest=action.dest,
            type=action.type or str,  # what argparse takes `None` for
            choices=action.choices,
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
            const=action.option_strings[0] if word == old else None,
        )


class _OldWord(argparse.Action):
    """Store the value; say the new word, `const`."""

    def __call__(self, parser, namespace, values, option_string=None):
        if self.const is not None:
            print(f"{option_string} is now {self.const}", file=sys.stderr)
        setattr(namespace, self.dest, values)


def in_words_of_shell(text: str, arguments: argparse.Namespace) -> str:
    """Return a message with flags for arguments.

    `output=` becomes `--output`, `resume=True` `--resume`, `quantize='int8'` `--quantize int8`,
    `input_range=(0, 1)` `--input-range 0 1`, `label_map={255: 1}` `--label-map 255:1`.
    """
    flags = {name: f"--{name.replace('_', '-')}" for name in vars(arguments)} | _FLAGS
    if "format" in flags:
        flags["format"] = "--from"

    def flag(found):
        if found["name"] not in flags:
            return found[0]
        value = f" {shlex.quote(found['value'])}" if found["value"] else ""
        return flags[found["name"]] + value

    if "label_map" in flags:
        text = re.sub(
            r"label_map=\{([-\d:, ]+)\}", lambda found: "--label-map " + found[1].replace(" ", ""), text
        )
    if "input_range" in flags:
        text = re.sub(r"input_range=\((-?[\d.]+), (-?[\d.]+)\)", r"--input-range \1 \2", text)
    if "value_range" in flags:
        text = re.sub(r"\bvalue_range=\((-?[\d.e+-]+), (-?[\d.e+-]+)\)", r"--value-range=\1,\2", text)
    return re.sub(r"(?<!\S)(?P<name>[a-z_]+)=(?:True|'(?P<value>[^'\s]+)')?(?=[\s,;:]|$)", flag, text)
