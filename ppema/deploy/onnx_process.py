"""Converts an exported program to ONNX, in a process of its own: paddle2onnx prints, and aborts at operators that it lacks.

`python onnx_process.py PROGRAM PARAMETERS TO OUTPUT...` converts. With PROGRAM and PARAMETERS alone, it prints
the first operator that is lacking.
"""

from __future__ import annotations

import bisect
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

OPSET = 17  # the first with LayerNormalization


def convert(program: Path, parameters: Path, to: Path, outputs: Sequence[str]) -> None:
    """Write the program in `program`, with the weights in `parameters`, as ONNX to `to`. outputs: the names of its outputs."""
    import onnx  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        made = exported(with_float32_lists(program, Path(folder)), parameters)
    model = onnx.load_model_from_string(made)
    name_outputs(model.graph, outputs)
    name_batch(model.graph)
    drop_unused(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(to))


def exported(program: Path, parameters: Path) -> bytes:
    """The model that paddle2onnx makes. Without a file to write, it optimizes nothing: its tools would install packages."""
    import paddle2onnx  # pyright: ignore[reportMissingImports]

    return paddle2onnx.export(str(program), str(parameters), opset_version=OPSET, verbose=False)


def lacking(program: Path, parameters: Path) -> str:
    """The kind of the first operator of `program`, in Paddle 3's JSON, that paddle2onnx lacks; it must lack one.

    paddle2onnx 2.1.0 prints no names. It searches for operators that it lacks before it converts any, so that it aborts at the
    operators up to some position exactly if it lacks one of them.
    """
    described = json.loads(program.read_text(encoding="utf-8"))
    block = described["program"]["regions"][0]["blocks"][0]
    operators = block["ops"]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / program.name

        def aborts(count: int) -> bool:
            block["ops"] = operators[:count]
            part.write_text(json.dumps(described), encoding="utf-8")
            return is_aborted(lambda: exported(part, parameters))

        first = bisect.bisect_left(range(len(operators)), True, key=aborts)
    return operators[first - 1]["#"].partition(".")[2]


def is_aborted(work: Callable[[], object]) -> bool:
    """Whether `work` aborts the process, tried in a silent copy of it, for a minute at most."""
    copy = os.fork()
    if copy == 0:
        try:
            signal.alarm(60)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(copy, 0)[1]) == signal.SIGABRT


def with_float32_lists(program: Path, folder: Path) -> Path:
    """A copy of `program` in `folder` whose lists of float64 attributes are float32, or `program` if it has no such list.

    paddle2onnx 2.1.0 refuses the scales of an interpolation, which Paddle 3.3 writes as float64.
    """
    if program.suffix != ".json" or '"0.a_f64"' not in (text := program.read_text(encoding="utf-8")):
        return program
    described = json.loads(text)
    for values in _lists(described):
        for value in values:
            if value.get("#") == "0.a_f64":
                value["#"] = "0.a_f32"
    copy = folder / program.name
    copy.write_text(json.dumps(described), encoding="utf-8")
    return copy


def _lists(node: Any) -> Iterator[list[dict[str, Any]]]:
    """The values of each list attribute below `node`, in Paddle's JSON of a program."""
    if isinstance(node, list):
        for each in node:
            yield from _lists(each)
    elif isinstance(node, dict):
        if node.get("#") == "0.a_array":
            yield node["D"]
        for each in node.values():
            yield from _lists(each)


def name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Give the outputs of `graph` their `names`, in order. One whose name another value has keeps the converter's."""
    assert len(graph.output) == len(names), "the program has the outputs of its description"
    taken = {each.name for each in (*graph.input, *graph.initializer)}
    taken.update(name for node in _nodes(graph) for name in node.output)
    new = {each.name: name for each, name in zip(graph.output, names, strict=True) if name not in taken}
    for each in (*graph.output, *graph.value_info):
        each.name = new.get(each.name, each.name)
    for node in _nodes(graph):
        for values in (node.input, node.output):
            values[:] = [new.get(name, name) for name in values]


def name_batch(graph: Any) -> None:
    """Give the first axis of inputs and outputs the name "batch" where its size is dynamic."""
    for each in (*graph.input, *graph.output):
        shape = each.type.tensor_type.shape.dim
        if shape and shape[0].dim_param:
            shape[0].dim_param = "batch"


def drop_unused(graph: Any) -> None:
    """Remove constants that no node reads: onnxruntime prints a warning for each."""
    read = {name for node in _nodes(graph) for name in node.input} | {each.name for each in graph.output}
    kept = [each for each in graph.initializer if each.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node of `graph` and of the graphs in its nodes' attributes: branches and bodies of loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, in which modules of other packages could have the same names
    read, names = (Path(sys.argv[1]), Path(sys.argv[2])), sys.argv[4:]
    if names:
        convert(*read, Path(sys.argv[3]), names)
    else:
        print(lacking(*read))
