"""The layers of ppema, and the seam, as the imports in the code have them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.house import ROOT, modules

# Each module or room may import those of its own floor and below.
FLOORS = (
    {"errors", "values", "version"},
    {"environment", "ranks", "user_code", "config", "averaging", "checkpoint"},
    {"ir", "data"},
    {"distributed", "passes", "models", "losses", "metrics", "optimizers"},
    {"ema", "programs"},
    {"weights", "evaluation", "log"},
    {"prediction", "posthoc", "deploy"},
    {"training"},
    {"experiments", "diagnosis"},
    {"api"},
    {"cli"},
)
LAYERS = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# Where one that is too old is refused, and where the version is written down and decides nothing.
VERSION_KNOWN = {
    "ppema.environment",
    "ppema.training.loop",
    "ppema.training.parallel.same_state",
    "ppema.training.resuming.resume",
    "ppema.deploy.inference",
}
PADDLE_FREE = {"errors", "values", "version", "ranks", "user_code", "config", "averaging", "checkpoint", "data", "experiments"}


def imports(tree: ast.Module, *, top: bool = False) -> list[str]:
    """The dotted names that a module imports, with `top` only those imported as soon as it is."""
    names = []
    for node in ast.walk(tree) if not top else tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room(name: str) -> str:
    """`python -m ppema` is a door of the command lines."""
    return name.split(".")[1].replace("__main__", "cli")


def layer(name: str) -> int:
    return LAYERS[room(name)]


def known(name: str, all_names) -> str:
    """The module of `ppema` that the imported `name` is, or is an attribute of."""
    while name not in all_names:
        name = name.rpartition(".")[0]
    return name


def test_every_module_has_a_layer():
    assert {room(name) for name in modules() if name != "ppema"} == set(LAYERS)


def test_imports_go_downwards():
    trees = modules()
    wrong = [
        (name, found)
        for name, tree in trees.items()
        if name != "ppema"
        for found in imports(tree)
        if found.startswith("ppema.") and layer(found) > layer(name)
    ]
    assert wrong == []


# A room of rooms is measured without those in it.
MOST_LINES = {"ir": 2400}
FILE_LINES, ROOM_LINES = 300, 1800


def test_files_and_rooms_are_small():
    rooms: dict[str, int] = {}
    for path in [*ROOT.rglob("*.py"), *ROOT.rglob("*.cc")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= FILE_LINES, path
        room = str(path.parent.relative_to(ROOT))
        rooms[room] = rooms.get(room, 0) + lines
    large = {room: lines for room, lines in rooms.items() if lines > MOST_LINES.get(room, ROOM_LINES)}
    assert large == {}


def test_no_two_files_have_one_name():
    """In the whole house; the command lines are named by their commands."""
    seen: dict[str, Path] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.parent.name != "cli" and path.name not in ("__init__.py", "__main__.py"):
            assert path.name not in seen, (path, seen[path.name])
            seen[path.name] = path


def test_no_two_files_of_tests_have_one_name():
    """pytest would refuse to collect them together."""
    names = [path.name for path in (ROOT.parent / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_two_classes_have_one_name():
    """Classes and names of types; those with an underscore are their module's own."""
    seen: dict[str, str] = {}
    for name, tree in modules().items():
        for node in tree.body:
            made = [node.name] if isinstance(node, ast.ClassDef) else []
            made += [each.id for each in getattr(node, "targets", ()) if isinstance(each, ast.Name)]
            for each in made:
                if each[0].isupper() and not each.isupper():
                    assert each not in seen, f"{each}: in {seen[each]} and in {name}"
                    seen[each] = name


def test_visualdl_is_known_in_one_place():
    knowing = {name for name, tree in modules().items() if any(each.split(".")[0] == "visualdl" for each in imports(tree))}
    assert knowing == {"ppema.log.board"}


def test_metrics_know_losses_by_their_door_only():
    """Not the modules in their room."""
    found = {
        each
        for name, tree in modules().items()
        if name.startswith("ppema.metrics")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (each := node.module or "").startswith("ppema.losses.")
    }
    assert found == set()


def test_there_are_no_cycles():
    trees = modules()
    edges = {
        name: {known(found, trees) for found in imports(tree) if found.startswith("ppema.")} - {name, "ppema"}
        for name, tree in trees.items()
        if name != "ppema"
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


SEAM_ONLY = ("paddle.base", "paddle.pir", "paddle.framework")


def own_names(tree: ast.Module) -> set[str]:
    """The attributes that a module gives its own classes, and `os._exit`."""
    names = {"_exit"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            names.add(node.attr)
    return names


def seam_breaches(trees: dict[str, ast.Module]) -> list[tuple]:
    wrong = []
    for name, tree in trees.items():
        if name.startswith("ppema.ir"):
            continue
        own = own_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                private = node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in own
                if private or ast.unparse(node).startswith(SEAM_ONLY):
                    wrong.append((name, node.lineno, ast.unparse(node)))
                if ast.unparse(node) in ("paddle.__version__", "paddle.version") and name not in VERSION_KNOWN:
                    wrong.append((name, node.lineno, "which version it is concerns the seam; manifests record it"))
        for found in imports(tree):
            private = found.startswith("paddle.") and "._" in found
            if private or found.startswith(SEAM_ONLY):
                wrong.append((name, found))
    return wrong


def test_only_the_seam_touches_private_names_of_paddle():
    """Outside ppema/ir: no paddle.base, paddle.pir or paddle.framework, no `_name` that the module did not make, no version."""
    assert seam_breaches(modules()) == []


@pytest.mark.parametrize(
    "line",
    [
        "from paddle import _C_ops",
        "import paddle.base",
        "from paddle.pir.core import parameter",
        "x = paddle.pir.Value",
        "t = scope.find_var('a')._share_data_with(t)",
        "if paddle.__version__.startswith('2.'): pass",
    ],
)
def test_a_breach_of_the_seam_would_be_seen(line):
    assert seam_breaches({"ppema.metrics": ast.parse(line)})


def test_only_the_seam_chooses_its_side():
    sides = ("ppema.ir.pir", "ppema.ir.legacy")
    users = [name for name, tree in modules().items() if any(found.startswith(sides) for found in imports(tree))]
    assert users == ["ppema.ir"]


def test_the_lower_layers_are_free_of_paddle():
    wrong = [
        (name, found)
        for name, tree in modules().items()
        if name != "ppema" and name.split(".")[1] in PADDLE_FREE
        for found in imports(tree)
        if found.split(".")[0] == "paddle"
    ]
    assert wrong == []


def test_command_lines_import_nothing_heavy_before_they_parse():
    for name, tree in modules().items():
        if name.startswith("ppema.cli") or name in ("ppema", "ppema.errors"):
            assert not {found.split(".")[0] for found in imports(tree, top=True)} & {"paddle", "numpy", "pydantic", "yaml"}, (
                name
            )


DESIGN = (ROOT.parent / "docs/design.md").read_text(encoding="utf-8")


def test_the_picture_in_docs_is_the_house():
    (picture,) = re.findall(r"^```mermaid\n(.*?)^```", DESIGN, re.DOTALL | re.MULTILINE)
    floors = re.findall(r"^  subgraph F(\d+)\[.*?\]\n(.*?)^  end", picture, re.DOTALL | re.MULTILINE)
    rooms = {int(number): set(re.findall(r"^    (\w+)", inside, re.MULTILINE)) for number, inside in floors}
    assert rooms == {floor + 1: names for floor, names in enumerate(FLOORS)}
    assert set(re.findall(r"^    (\w+):::free$", picture, re.MULTILINE)) == PADDLE_FREE
    assert " --> ".join(f"F{floor}" for floor in range(len(FLOORS), 0, -1)) in picture


def test_the_table_in_docs_has_every_room():
    named = {name for cells in re.findall(r"^\| (`.*?`) \|", DESIGN, re.MULTILINE) for name in re.findall(r"`(\w+)`", cells)}
    assert named == {name for floor in FLOORS for name in floor} - {"errors", "values", "version", "api", "cli"}
