"""A wheel's library of C++ operations is loaded only where it fits: Paddle, sources, processor and checksum."""

from __future__ import annotations

import os
import stat

import paddle
import pytest

from ppema.errors import SetupError
from ppema.ir import native
from ppema.ir.native import carried, processor
from ppema.ir.native.compiler import Compiler
from ppema.ir.native.library import name


@pytest.fixture
def library(tmp_path):
    """A file with the name that a wheel's library has here."""
    (tmp_path / "made").write_bytes(b"\x7fELF and the rest")
    return (tmp_path / "made").rename(tmp_path / name(carried._key(), tmp_path / "made"))


def refusal(folder) -> str:
    with pytest.raises(SetupError) as caught:
        carried.usable(folder)
    return str(caught.value)


@pytest.fixture
def able(monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: " ".join(["flags :", *processor._FEATURES, "avx512f"]))
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")


def test_a_pure_wheel_carries_nothing(tmp_path):
    assert carried.usable(tmp_path) is None
    assert carried.usable(tmp_path / "built") is None


def test_what_fits_is_found_beside_that_of_another_paddle(library, able):
    library.with_name("native-2.5.0-x86-64-v3-0123456789abcdef-00.so").touch()
    assert library.name.startswith(f"native-{paddle.__version__}-x86-64-v3-")
    assert carried.usable(library.parent) == library


def test_other_content_under_its_name_is_refused(library, able):
    library.write_bytes(library.read_bytes()[:-1] + b"!")
    said = refusal(library.parent)
    assert said == f"{library} is damaged, as its checksum is not that in its name: install ppema again"


@pytest.mark.parametrize("what", ["version", "commit", "library", "sources"])
def test_another_paddle_or_other_sources_are_refused(library, able, monkeypatch, what):
    if what == "version":
        monkeypatch.setattr(paddle, "__version__", "3.9.9")
    elif what == "commit":
        monkeypatch.setattr(paddle, "__git_commit__", "0" * 40)
    elif what == "library":
        # The same version and commit, but built again: as large, with another build ID.
        other = library.with_name("libpaddle.so")
        other.write_bytes(b"other")
        real = carried.paddle_build()
        monkeypatch.setattr("ppema.ir.native.compiler.paddle_libraries", lambda: [other])
        assert carried.paddle_build() != real
    else:
        monkeypatch.setattr("ppema.ir.native.compiler.ROOM", library.parent)
    version = library.name.split("-")[1]
    assert refusal(library.parent) == (
        f"they are for another Paddle, a build of {version}, or for other sources: install ppema again"
    )


def test_a_processor_without_a_feature_does_not_load_it(library, monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: "flags : " + " ".join(processor._FEATURES - {"avx2", "fma"}) + " avx20")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert refusal(library.parent) == "the processor lacks avx2, fma"
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert refusal(library.parent) == "the processor lacks x86-64 (this is aarch64)"


def test_a_damaged_library_is_replaced_with_one_line(library, able, monkeypatch, capfd):
    library.write_bytes(b"")
    monkeypatch.delenv("PPEMA_NATIVE", raising=False)
    monkeypatch.setattr(native, "FOLDER", library.parent)
    monkeypatch.setattr(native, "register", lambda path: pytest.fail(f"{path} was loaded"))
    monkeypatch.setattr(native, "_from_compiler", lambda: "compiled")
    assert native._found.__wrapped__() == (None, "compiled")
    assert capfd.readouterr().err == (
        "ppema: the C++ operations that were installed with it are not used: "
        f"{library} is damaged, as its checksum is not that in its name: install ppema again\n"
    )


def test_a_library_that_the_system_can_not_load_is_replaced_too(library, able, monkeypatch, capfd):
    """Such as one that was linked with a newer C library."""
    monkeypatch.delenv("PPEMA_NATIVE", raising=False)
    monkeypatch.setattr(native, "FOLDER", library.parent)
    assert native._from_wheel() is None
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"ppema: the C++ operations that were installed with it are not used: {library} can not be loaded: ")


def test_what_is_built_for_a_wheel_can_be_read_by_all(tmp_path, able, monkeypatch):
    """An installation by the superuser is used by others."""

    def built(folder, key, compiler):
        assert compiler.march == "x86-64-v3"
        (made := folder / f"native-{key}-0.so").touch(mode=0o700)
        return made

    monkeypatch.setattr(carried, "find_compiler", lambda march: Compiler(["g++"], "", march))
    monkeypatch.setattr(carried, "build", built)
    made = carried.build_into(tmp_path / "built")
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o644
