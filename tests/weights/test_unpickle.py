"""Pickles of arrays: those of numpy and Paddle are read, and every other pickle is refused without any call."""

from __future__ import annotations

import collections
import os
import pickle
import resource
import struct
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from ppema.weights.unpickle import RefusedError, read_pickle

ARRAYS = [
    np.array([[1.5, -2.0], [3.25, np.nan]], "float32"),
    np.array(3.5),
    np.array([], "float32"),
    np.zeros((3, 0, 2), "float16"),
    np.arange(6, dtype="int64").reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype="int32").reshape(2, 3)),
    np.arange(4, dtype=">f8"),
    np.array([True, False]),
    np.array([1, 255], "uint8"),
    np.array([16256], "uint16"),
    np.array([1 + 2j], "complex64"),
]


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype.newbyteorder("=") and a.tobytes() == b.astype(a.dtype).tobytes()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{list(array.shape)}")
def test_arrays_come_back(array, protocol):
    found = read_pickle(pickle.dumps({"a": array, "again": array}, protocol))
    assert same(found["a"], array) and found["again"] is found["a"]
    assert same(read_pickle(pickle.dumps(array, protocol)), array)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_data_comes_back(protocol):
    plain = {"s": "é", "i": [1, -5, 70000, 2**40], "f": 0.5, "t": (None, True, False), "d": {"x": {}}, "e": (), "b": b"\xff"}
    many = {**plain, "many": [str(index) for index in range(2000)], 7: (1, 2, 3, 4)}
    assert read_pickle(pickle.dumps(many, protocol)) == many
    assert read_pickle(pickle.dumps(collections.OrderedDict(a=1, b=2), protocol)) == {"a": 1, "b": 2}


def test_old_and_new_names_of_numpys_function_are_known():
    for ours, theirs in ((b"numpy._core.m", b"numpy.core.m"), (b"numpy.core.m", b"numpy._core.m")):
        assert same(read_pickle(pickle.dumps(ARRAYS[0], 2).replace(ours, theirs)), ARRAYS[0])


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def call(name: bytes, arguments: bytes) -> bytes:
    return pickle.GLOBAL + name.replace(b".", b"\n", 1) + b"\n" + arguments + pickle.REDUCE


SYSTEM = pickle.GLOBAL + b"os\nsystem\n" + text("touch owned") + pickle.TUPLE1 + pickle.REDUCE
NEW = pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n"
EMPTY = NEW + pickle.GLOBAL + b"numpy\nndarray\n" + b"K\x00\x85" + b"C\x01b" + pickle.TUPLE3 + pickle.REDUCE


def dtype(letters: str) -> bytes:
    return pickle.GLOBAL + b"numpy\ndtype\n" + text(letters) + b"\x89\x88\x87" + pickle.REDUCE


def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    return EMPTY + b"(K\x01" + shape + kind + b"\x89" + data + b"t" + pickle.BUILD


FOUR = b"C\x04\x00\x00\x80\x3f"
HUGE = b"\x8a\x08" + struct.pack("<Q", 2**62)

MISFIT = "damaged: its opcodes do not fit together"
BAD = {
    "it would call 'os.system', and only arrays are admitted": [
        SYSTEM,
        b"\x80\x04" + pickle.SHORT_BINUNICODE + b"\x02os" + pickle.SHORT_BINUNICODE + b"\x06system" + pickle.STACK_GLOBAL,
        pickle.EMPTY_DICT + text("weight") + SYSTEM + pickle.SETITEM,
    ],
    "it would call 'builtins.eval', and only arrays are admitted": [pickle.GLOBAL + b"builtins\neval\n"],
    "it would call 'numpy.core.multiarray.scalar', and only arrays are admitted": [
        pickle.GLOBAL + b"numpy.core.multiarray\nscalar\n"
    ],
    "it would call 'os.a?[31mb', and only arrays are admitted": [pickle.GLOBAL + b"os\na\x1b[31mb\n"],
    f"it would call 'x.{'y' * 78}...', and only arrays are admitted": [pickle.GLOBAL + b"x\n" + b"y" * 1000 + b"\n"],
    "it holds the opcode INST, and only arrays are admitted": [pickle.MARK + pickle.INST + b"os\nsystem\n"],
    "it holds the opcode OBJ, and only arrays are admitted": [pickle.MARK + pickle.GLOBAL + b"numpy\nndarray\n" + pickle.OBJ],
    "it holds the opcode NEWOBJ, and only arrays are admitted": [
        pickle.GLOBAL + b"numpy\nndarray\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    ],
    "it holds the opcode NEWOBJ_EX, and only arrays are admitted": [b"N" + pickle.NEWOBJ_EX],
    "it holds the opcode PERSID, and only arrays are admitted": [pickle.PERSID + b"x\n"],
    "it holds the opcode BINPERSID, and only arrays are admitted": [b"N" + pickle.BINPERSID],
    "it holds the opcode EXT1, and only arrays are admitted": [pickle.EXT1 + b"\x01"],
    "it holds the opcode EXT4, and only arrays are admitted": [pickle.EXT4 + b"\x01\x00\x00\x00"],
    "it holds the opcode NEXT_BUFFER, and only arrays are admitted": [pickle.NEXT_BUFFER],
    "it holds the opcode BYTEARRAY8, and only arrays are admitted": [pickle.BYTEARRAY8 + struct.pack("<Q", 0)],
    "it holds the opcode EMPTY_SET, and only arrays are admitted": [pickle.EMPTY_SET],
    "it holds an array of type 'O8', and only numbers are admitted": [array(b"K\x01\x85", dtype("O8"), pickle.EMPTY_LIST)],
    "it holds an array of type 'V4', and only numbers are admitted": [array(b"K\x01\x85", dtype("V4"), FOUR)],
    "damaged: an array of shape [4611686018427387904] with 4 bytes": [array(HUGE + b"\x85", dtype("f4"), FOUR)],
    "damaged: an array of shape [2] with 4 bytes": [array(b"K\x02\x85", dtype("f4"), FOUR)],
    MISFIT: [
        # calls of values that are not callable
        pickle.GLOBAL + b"numpy\nndarray\n" + HUGE + pickle.TUPLE1 + pickle.TUPLE1 + pickle.REDUCE,
        text("os.system") + pickle.EMPTY_TUPLE + pickle.REDUCE,
        # changes of values that are no new array
        text("x") + b"N" + pickle.BUILD,
        call(b"collections.OrderedDict", pickle.EMPTY_TUPLE) + pickle.EMPTY_DICT + pickle.BUILD,
        array(b"K\x01\x85", dtype("f4"), FOUR) + b"(K\x01K\x01\x85" + dtype("f4") + b"\x89" + FOUR + b"t" + pickle.BUILD,
        pickle.GLOBAL + b"numpy\ndtype\n" + b"N}" + text("__defaults__") + b"N" + pickle.SETITEM + b"\x86" + pickle.BUILD,
        # dtypes and arrays of other values than numbers
        pickle.GLOBAL + b"numpy\ndtype\n" + b"]\x89\x88\x87" + pickle.REDUCE,
        array(b"K\x01\x85", dtype("f4"), b"]"),
        array(b"]", dtype("f4"), FOUR),
        array(b"K\x01\x85", text("f4"), FOUR),
        array(b"K\x01\x85", EMPTY, FOUR),
        EMPTY + b"N" + pickle.BUILD,
        dtype("f4") + b"N" + pickle.BUILD,
        dtype("f4") + b"(K\x03" + text("<") + text("f4") + b"NNK\x00K\x00K\x00t" + pickle.BUILD,
        dtype("f4") + b"(K\x03" + text("x") + b"NNNK\x00K\x00K\x00t" + pickle.BUILD,
        # impossible shapes
        array(b"J\xff\xff\xff\xff\x85", dtype("f4"), FOUR),
        array(b"\x88\x85", dtype("f4"), FOUR),
        array(b"(" + b"K\x01" * 33 + b"t", dtype("f4"), FOUR),
        array(b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85", dtype("f4"), FOUR),
        # arrays with another constructor than numpy's, or without data
        NEW + b")R",
        NEW + pickle.GLOBAL + b"numpy\nndarray\n" + HUGE + b"\x85C\x01b\x87R",
        NEW + text("x") + b"K\x00\x85C\x01b\x87R",
        EMPTY,
        pickle.EMPTY_DICT + text("w") + EMPTY + pickle.SETITEM,
        # wrong arguments
        call(b"_codecs.encode", text("x") + text("rot13") + b"\x86"),
        call(b"_codecs.encode", b"C\x01x" + text("latin1") + b"\x86"),
        call(b"_codecs.encode", pickle.EMPTY_TUPLE),
        call(b"builtins.bytes", HUGE + b"\x85"),
        call(b"builtins.tuple", text("x") + b"\x85"),
        # items of values that hold none; tuples so deep that their hash would overflow the stack
        b"}]Ns",
        b"}" + b")" + b"\x85" * 600_000 + b"Ns",
        b"}(" + b")" + b"\x85" * 600_000 + b"Nu",
        call(b"numpy.dtype", b")" + b"\x85" * 600_000 + b"\x89\x88\x87"),
        call(b"_codecs.encode", text("x") + b")" + b"\x85" * 600_000 + b"\x86"),
        b"]NNs",
        b"}Na",
        # marks, stacks and memos that lack a value that is popped, or have one left over
        b"(",
        b"(\x85",
        b"((\x94",
        b"NN",
        b"(N",
        b"",
        b"R",
        b"u",
        b"t",
        b"\x87",
        b"NN\x93",
        b"j" + struct.pack("<I", 4_000_000_000),
    ],
}
CASES = [(message, content) for message, contents in BAD.items() for content in contents]


@pytest.mark.parametrize(("message", "content"), CASES, ids=[f"{m[:40]}-{i}" for i, (m, _) in enumerate(CASES)])
def test_everything_else_is_refused(message, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError) as caught:
        read_pickle(content + pickle.STOP)
    assert str(caught.value) == message
    assert os.listdir(tmp_path) == []


def test_a_huge_index_of_the_memo_allocates_nothing():
    """`pickle.Unpickler`, written in C, allocates a table of 32 GB for this pickle."""
    content = b"N" + pickle.LONG_BINPUT + struct.pack("<I", 2**31 - 1) + pickle.STOP
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_pickle(content) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14


@pytest.mark.parametrize("opcode", [pickle.BINBYTES8, pickle.BINUNICODE8])
def test_a_length_beyond_the_end_allocates_nothing(opcode):
    content = opcode + struct.pack("<Q", 2**62) + b"x" + pickle.STOP
    with pytest.raises(RefusedError, match="damaged: expected 4611686018427387904 bytes in a .*, but only 2 remain"):
        read_pickle(content)


def test_every_beginning_of_a_file_is_refused():
    content = pickle.dumps({"a": ARRAYS[0], "b": ARRAYS[1]}, 4)
    for length in range(len(content)):
        with pytest.raises(RefusedError, match="^damaged: "):
            read_pickle(content[:length])


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_are_changed_are_read_or_refused(seed):
    """Changed bytes never raise another exception, which would be a traceback in front of a user."""
    rng = np.random.default_rng(seed)
    original = pickle.dumps({"a": ARRAYS[0], "b": [ARRAYS[4], "x"]}, int(rng.integers(2, 5)))
    for _ in range(500):
        content = bytearray(original)
        for position in rng.integers(0, len(content), 3):
            content[position] = rng.integers(0, 256)
        with suppress(RefusedError):
            read_pickle(bytes(content))


def test_nesting_as_deep_as_the_file_is_long():
    """The pickle is read in a separate process, which a stack overflow would end."""
    code = (
        "from ppema.weights.unpickle import read_pickle\n"
        "value = read_pickle(b')' + b'\\x85' * 900_000 + b'.')\n"
        "assert len(value) == 1\n"
        "value = read_pickle(b']' * 400_000 + b'a' * 399_999 + b'.')\n"
        "assert len(value) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_more_opcodes_than_weights_take():
    with pytest.raises(RefusedError, match="^it has more than 1,000,000 opcodes, more than any file of weights$"):
        read_pickle(b"N" * 1_000_001 + b".")


def test_one_piece_of_data_in_many_arrays_is_refused():
    """The arrays are big-endian, so that each would be copied."""
    data = b"B" + struct.pack("<I", 4000) + b"\x00" * 4000 + pickle.BINPUT + b"\x01"
    swapped = dtype("f4") + b"(K\x03" + text(">") + b"NNNK\x00K\x00K\x00t" + pickle.BUILD
    again = array(b"M\xe8\x03\x85", swapped, b"h\x01")
    once = array(b"M\xe8\x03\x85", swapped, data)
    assert read_pickle(b"](" + once + b"e.")
    with pytest.raises(RefusedError, match="^its arrays would take more memory than the file has bytes$"):
        read_pickle(b"](" + once + again * 40 + b"e.")
    encoded = text("x" * 5000) + pickle.BINPUT + b"\x01" + text("latin1") + b"\x86" + pickle.REDUCE
    encode = pickle.GLOBAL + b"_codecs\nencode\n"
    more = encode + b"h\x01" + text("latin1") + b"\x86" + pickle.REDUCE
    with pytest.raises(RefusedError, match="^its arrays would take more memory than the file has bytes$"):
        read_pickle(b"](" + encode + encoded + more * 5 + b"e.")
