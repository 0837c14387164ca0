"""The search for modules that a config names: its folders, the code that may search them, and no other code."""

from __future__ import annotations

import importlib
import sys

import pytest
from support.configs import write_config

from ppema.config import load_config
from ppema.errors import ConfigError
from ppema.user_code.modules import import_module, looking_in
from ppema.user_code.names import resolve


@pytest.fixture(autouse=True)
def _forgotten():
    """Removes from `sys.modules` after a test what it imported."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    def write(name: str, source: str = "") -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)

    return write


def found(folder, name: str):
    with looking_in([str(folder)]):
        return resolve(name, {}, "model")


def refusal(folder, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        found(folder, name)
    return str(caught.value)


def test_a_module_in_a_folder_and_what_it_imports_from_there_now_and_later(tmp_path, write):
    write(
        "nets_a.py",
        "import blocks_a\ndef late():\n    import later_a\n    return later_a.value\nclass Net(blocks_a.Block): ...",
    )
    write("blocks_a.py", "from package_a import part\nclass Block: kind = part.kind")
    write("package_a/part.py", "import importlib\nkind = importlib.import_module('last_a').kind")
    write("last_a.py", "kind = 7")
    write("later_a.py", "value = 8")
    assert found(tmp_path, "nets_a.Net").kind == 7
    assert found(tmp_path, "package_a.part.importlib.import_module") is importlib.import_module
    path = list(sys.path)
    assert found(tmp_path, "nets_a.late")() == 8
    assert sys.path == path and str(tmp_path) not in sys.path


def test_nobody_elses_import_looks_there(tmp_path, write, monkeypatch):
    """Paddle looks for optional modules. It must not find them there, even while the config's module is imported."""
    library = tmp_path / "site"
    write("site/library_b.py", "try:\n    import optional_b\nexcept ImportError:\n    optional_b = None\n")
    write("work/optional_b.py", "raise RuntimeError('ran')")
    write("work/nets_b.py", "import library_b\nclass Net: ...")
    monkeypatch.syspath_prepend(library)
    net = found(tmp_path / "work", "nets_b.Net")
    assert sys.modules[net.__module__].library_b.optional_b is None
    with looking_in([str(tmp_path / "work")]), pytest.raises(ModuleNotFoundError):
        import optional_b  # noqa: F401
    assert (
        refusal(tmp_path / "work", "optional_b.Net")
        == f"name: importing 'optional_b' failed: RuntimeError: ran ({tmp_path}/work/optional_b.py:1)"
    )


def test_what_is_installed_comes_first_and_the_hidden_file_is_named(tmp_path, write):
    write("csv.py", "class Net: ...")
    assert found(tmp_path, "csv.reader") is __import__("csv").reader
    hidden = f"it hides {tmp_path / 'csv.py'}, which needs another name"
    assert refusal(tmp_path, "csv.Net") == f"name: 'csv' ({__import__('csv').__file__}) has no 'Net'; {hidden}"


def test_a_module_that_is_nowhere(tmp_path):
    looked = f"looked on Python's path (installed packages and PYTHONPATH), in {tmp_path}"
    assert refusal(tmp_path, "nowhere_c.Net") == f"name: there is no module 'nowhere_c': {looked}"


def test_a_package_without_a_file(tmp_path, write):
    write("folder_c/part.py", "class Net: ...")
    assert refusal(tmp_path, "folder_c.Nets") == f"name: 'folder_c' ({tmp_path / 'folder_c'}) has no 'Nets'"


def test_another_configs_module_of_that_name_is_not_taken_for_this_ones(tmp_path, write):
    write("one/nets_d.py", "class Net: ...")
    write("two/nets_d.py", "class Net: ...")
    net = found(tmp_path / "one", "nets_d.Net")
    assert found(tmp_path / "one", "nets_d.Net") is net
    assert refusal(tmp_path / "two", "nets_d.Net") == (
        f"name: importing 'nets_d' failed: ImportError: {tmp_path}/one/nets_d.py was imported under that name before, for "
        f"another config; here it is {tmp_path}/two/nets_d.py: give it another name, or use a process for each"
    )
    (tmp_path / "three").mkdir()
    assert refusal(tmp_path / "three", "nets_d.Net").startswith("name: there is no module 'nets_d': looked on Python's path")


def test_a_config_looks_in_the_working_directory_then_beside_itself(tmp_path, write, monkeypatch):
    for name in ("both_e", "beside_e"):
        write(f"beside/{name}.py", "place = 'beside'\nclass Net: ...")
    write("work/both_e.py", "place = 'work'\nclass Net: ...")
    write_config(tmp_path / "beside/c.yml", model="both_e.Net")
    monkeypatch.chdir(tmp_path / "work")
    config = load_config("../beside/c.yml")
    monkeypatch.chdir(tmp_path)
    with config.replace(seed=3).at("model"):
        places = [import_module(name).place for name in ("both_e", "beside_e")]
        with pytest.raises(ConfigError) as caught:
            resolve("absent_e.Net", {}, "model")
    assert places == ["work", "beside"]
    path = "looked on Python's path (installed packages and PYTHONPATH)"
    assert str(caught.value).endswith(f": {path}, in {tmp_path}/work, in {tmp_path}/beside")


def test_a_module_of_pythons_path_is_not_taken_for_a_former_configs(tmp_path, write, monkeypatch):
    """A notebook may forget a config's module, then put a folder with another module of that name on the path."""
    write("first/nets_z.py", "class Net: kind = 1")
    write("second/nets_z.py", "class Net: kind = 2")
    assert found(tmp_path / "first", "nets_z.Net").kind == 1
    del sys.modules["nets_z"]
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    assert [resolve("nets_z.Net", {}, "model").kind for _ in range(2)] == [2, 2]
