"""The model card of an exported program: README.md, made from its description, for people and for hubs of models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from ppema.deploy.description import DESCRIPTION, DescribedOutput, ModelDescription

_MOST_CLASSES = 20  # in the card; model.json has all
_VARYING = 8  # the size of a varying axis in the example


def card(description: ModelDescription, prefix: str) -> str:
    """The text of README.md in Markdown. prefix: of the files of the program.

    Everything comes from `description`. Names that a user chose are escaped, so that they are shown as they are.
    """
    about = description.weights
    parts = [
        _front_matter(description),
        f"# {_plain(description.name)}",
        f"A model of PaddlePaddle {_plain(description.versions['paddle'])}, trained with ppema "
        f"{_plain(description.versions['ppema'])}. Its weights: {_plain(about.what)}.{_average(description)}",
        "## What goes in and comes out?",
        _table(
            ("", "name", "shape", "type", "meaning"),
            (
                *(("input", each.name, _shape(each.shape), each.dtype, each.meaning) for each in description.inputs),
                *(("output", each.name, _shape(each.shape), each.dtype, _meaning(each)) for each in description.outputs),
            ),
        ),
        "N is the number of samples of a batch. Outputs are in this order.",
        *_preprocessing(description),
        *_classes(description),
        "## How good is it?",
        _figures(description),
        "## How do I run it?",
        "In this folder, with the version of PaddlePaddle below, on a batch of zeros:",
        f"```python\n{example(description, prefix)}```",
        "## What is in the folder?",
        _table(
            ("file", "bytes", "SHA-256"),
            ((name, f"{each.size:,}", each.sha256) for name, each in sorted(description.files.items())),
        ),
        f"{DESCRIPTION} has all of this for programs, and the whole configuration of the training.",
        _table(("written with", "version"), sorted(description.versions.items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def example(description: ModelDescription, prefix: str) -> str:
    """Lines of Python that run the program of `prefix` on a batch of zeros, by Paddle and numpy alone."""
    arrays = (
        f"{each.name!r}: np.zeros({[1, *(_VARYING if size == -1 else size for size in each.shape[1:])]}, {each.dtype!r})"
        for each in description.inputs
    )
    return (
        "import numpy as np, paddle\n"
        "paddle.enable_static()\n"
        "executor = paddle.static.Executor(paddle.CPUPlace())\n"
        f"program, _, fetched = paddle.static.load_inference_model({prefix!r}, executor)\n"
        f"outputs = executor.run(program, {{{', '.join(arrays)}}}, fetched)\n"
    )


def _front_matter(description: ModelDescription) -> str:
    """YAML that hubs of models read."""
    lines = ["---", "library_name: paddlepaddle", "tags:", "- ppema"]
    outputs = description.outputs
    if (
        description.preprocessing is not None
        and len(outputs) == 1
        and outputs[0].axis is not None
        and len(outputs[0].shape) == 2
    ):
        lines.append("pipeline_tag: image-classification")
    return "\n".join([*lines, "---"])


def _average(description: ModelDescription) -> str:
    """Sentences about the average that the weights are; "" for others."""
    about = description.weights
    schedule = f" Its settings: {_plain(json.dumps(about.schedule))}." if about.schedule else ""
    return schedule + ("" if about.window is None else f" It reaches over about {about.window:,.0f} steps.")


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(['N', *('varies' if size == -1 else str(size) for size in shape[1:])])}]"


def _meaning(output: DescribedOutput) -> str:
    return output.meaning if output.axis is None else f"{output.meaning}; the axis of classes is {output.axis}"


def _preprocessing(description: ModelDescription) -> list[str]:
    """How a picture becomes the input, in words, if the model takes pictures."""
    made = description.preprocessing
    if made is None:
        return []
    colours = "grey" if made["channels"] == 1 else "RGB"
    size = made["size"]
    resized = f", resized to {size[0]} x {size[1]} (height x width, bilinear, antialiased)" if size else ""
    steps = [f"Pictures are {colours}{resized}."]
    if description.inputs[0].dtype == "uint8":
        steps.append("The program takes their bytes, [N, height, width, channels], and does the rest.")
    else:
        steps.append("Pixels of 0 to 255 are multiplied by 1/255, and the axes are [N, channels, height, width].")
        names = [
            f"{each['name']} {json.dumps(each['args'])}" if each.get("args") else each["name"] for each in made["transforms"]
        ]
        steps += [f"Then, in this order: {_plain(', '.join(names))}."] if names else []
    return ["## How are pictures prepared?", " ".join(steps)]


def _classes(description: ModelDescription) -> list[str]:
    names = description.classes
    if not names:
        return []
    more = f" and {len(names) - _MOST_CLASSES:,} more, in {DESCRIPTION}" if len(names) > _MOST_CLASSES else ""
    shown = ", ".join(f"{number} {_plain(name)}" for number, name in enumerate(names[:_MOST_CLASSES]))
    return ["## What are the classes?", f"{shown}{more}."]


def _figures(description: ModelDescription) -> str:
    """The table of figures, a row for each weights: raw first."""
    found = description.metrics
    names = list(dict.fromkeys(name for each in found.weights.values() for name in each))
    rows = (
        (weights, *("" if (value := each.get(name)) is None else f"{value:.6g}" for name in names))
        for weights, each in sorted(found.weights.items(), key=lambda pair: pair[0] != "raw")
    )
    table = _table(("weights", *names), rows) if names else ""
    where = (
        ""
        if found.samples is None
        else f"On the {found.samples:,} sample{'s' * (found.samples != 1)} of {_plain(found.label)}:"
    )
    missing = f"Figures are missing: {_plain(found.missing)}." if found.missing else ""
    return "\n\n".join(part for part in (where if table else "", table, missing) if part)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells if number == 1 else map(_plain, cells))} |" for number, cells in enumerate(lines))


def _plain(text: str) -> str:
    """`text` in Markdown, shown as it is: on one line, with its punctuation escaped."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", line)
