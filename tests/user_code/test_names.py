"""Names become objects and arguments are checked: every message as the user reads it."""

import collections
import importlib
import sys

import pytest

from ppema.errors import ConfigError
from ppema.user_code.names import check_arguments, did_you_mean, resolve

TABLE = {"cnn": "the cnn", "mlp": "the mlp"}


def problems(error: ConfigError) -> list[str]:
    return [str(problem) for problem in error.problems]


def resolve_error(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(name, TABLE, "model")
    return str(caught.value)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes an importable module, and removes it from `sys.modules` afterwards."""

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_table_comes_first():
    assert resolve("mlp", TABLE, "model") == "the mlp"
    assert resolve("math.sqrt", {"math.sqrt": 3}, "model") == 3


def test_a_dotted_path_is_imported_down_to_nested_attributes():
    assert resolve("collections.OrderedDict", TABLE, "model") is collections.OrderedDict
    assert resolve("collections.OrderedDict.fromkeys", TABLE, "model") == collections.OrderedDict.fromkeys
    assert resolve("importlib.metadata.version", TABLE, "model").__name__ == "version"


def test_a_function_that_hides_the_module_of_its_own_name(module, tmp_path):
    (tmp_path / "nets").mkdir()
    module("nets/__init__", "from .small import small")
    module("nets/small", "def small(): ...")
    module("nets/large", "def large(): ...")
    assert resolve("nets.small", TABLE, "model").__name__ == "small"
    assert resolve("nets.large.large", TABLE, "model").__name__ == "large"
    assert resolve_error("nets.large") == "name: model 'nets.large' is a module and can not be called"
    assert resolve_error("nets.smal") == f"name: 'nets' ({tmp_path}/nets/__init__.py) has no 'smal'; did you mean 'small'?"


def test_unknown_name():
    assert resolve_error("cn") == "name: unknown model 'cn'; did you mean 'cnn'?"
    assert resolve_error("CNN") == "name: unknown model 'CNN'; did you mean 'cnn'?"
    assert resolve_error("vit") == "name: unknown model 'vit'; known: cnn, mlp, any dotted path"


@pytest.mark.parametrize("name", [".x", "x.", "a..b", "a.b c", "a/b.c", "."])
def test_not_a_dotted_path(name):
    assert resolve_error(name) == f"name: {name!r} is not a dotted path such as 'package.module.name'"


def test_module_that_does_not_exist():
    looked = "looked on Python's path (installed packages and PYTHONPATH)"
    assert resolve_error("nowhere_at_all.Net") == f"name: there is no module 'nowhere_at_all': {looked}"
    said = f"name: 'importlib' ({importlib.__file__}) has no 'metadatas'; did you mean 'metadata'?"
    assert resolve_error("importlib.metadatas.x") == said


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines ({folder}/broken.py:1)"),
        ("import not_installed_here", "ModuleNotFoundError: No module named 'not_installed_here'"),
        ("raise SystemExit", "SystemExit"),
        ("def f(:", "SyntaxError: invalid syntax ({folder}/broken.py:1)"),
        ("from math import nothing", "ImportError: cannot import name 'nothing' from 'math'"),
    ],
)
def test_module_that_fails_while_importing(module, tmp_path, source, reason):
    module("broken", source)
    assert resolve_error("broken.Net").startswith(f"name: importing 'broken' failed: {reason.format(folder=tmp_path)}")


def test_attribute_that_does_not_exist():
    assert resolve_error("sys.exti") == "name: 'sys' has no 'exti'; did you mean 'exit'?"
    assert resolve_error("collections.OrderedDict.xyzzy") == "name: 'collections.OrderedDict' has no 'xyzzy'"


def test_attribute_that_fails_when_it_is_read(module, tmp_path):
    module("lazy", "def __getattr__(name):\n    if name == 'Net': raise OSError('no library')\n    raise AttributeError")
    assert resolve_error("lazy.Net") == f"name: lazy.Net failed: OSError: no library ({tmp_path}/lazy.py:2)"


def test_what_can_not_be_called():
    assert resolve_error("math.pi") == "name: model 'math.pi' is a float and can not be called"
    assert resolve_error("importlib.metadata") == "name: model 'importlib.metadata' is a module and can not be called"


def check_error(target, args, **kwargs) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_arguments(target, args, what="'it'", **kwargs)
    return problems(caught.value)


def test_good_arguments_pass():
    check_arguments(lambda x, y=1, *, z: 0, {"z": 1}, positional=1, what="'it'")
    check_arguments(lambda x, **rest: 0, {"anything": 1}, given=["x"], what="'it'")


def test_all_problems_at_once():
    def momentum(learning_rate, momentum, parameters=None, *, name): ...

    assert check_error(momentum, {"momentun": 1, "xyzzy": 2, "learning_rate": 3}, given=["learning_rate"]) == [
        "args.momentun: unknown argument of 'it'; did you mean 'momentum'?",
        "args.xyzzy: unknown argument of 'it'; known: momentum, parameters, name",
        "args.learning_rate: this argument of 'it' is set by ppema; remove it",
        "args.momentum: required argument of 'it' is missing",
        "args.name: required argument of 'it' is missing",
    ]


def test_arguments_that_we_pass_by_position_can_not_be_repeated():
    assert check_error(lambda x, y=1: 0, {"x": 1}, positional=1) == ["args.x: this argument of 'it' is set by ppema; remove it"]


def test_callables_that_do_not_take_what_we_pass():
    assert check_error(lambda x: 0, {}, positional=2) == ["name: 'it' takes 1 positional arguments, but it is called with 2"]
    assert check_error(lambda x=1: 0, {}, given=["parameters"]) == [
        "name: 'it' must take the argument 'parameters', but does not"
    ]
    check_arguments(lambda *x: 0, {}, positional=2, what="'it'")


def test_nothing_is_known_about_arguments_of_a_callable_without_any():
    assert check_error(lambda: 0, {"x": 1}) == ["args.x: unknown argument of 'it'; known: none"]


def test_positional_only_parameters():
    def target(x, /, **rest): ...

    check_arguments(target, {"x": 1}, positional=1, what="'it'")

    def strict(x, /): ...

    assert check_error(strict, {}) == ["args.x: required argument of 'it' is missing"]


def test_a_class_takes_what_its_init_takes():
    class Base:
        def __new__(cls, *args, **kwargs):
            return super().__new__(cls)

    class Net(Base):
        def __init__(self, classes): ...

    class Bare: ...

    check_arguments(Net, {"classes": 1}, what="'it'")
    assert check_error(Net, {"clases": 1, "classes": 2}) == ["args.clases: unknown argument of 'it'; did you mean 'classes'?"]
    assert check_error(Bare, {"x": 1}) == ["args.x: unknown argument of 'it'; known: none"]


def test_a_callable_without_a_signature_takes_anything():
    check_arguments(type, {"x": 1}, what="'it'")


def test_did_you_mean():
    assert did_you_mean("bach_size", ["batch_size", "workers"]) == "; did you mean 'batch_size'?"
    assert did_you_mean("epochs", []) == ""
