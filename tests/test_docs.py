"""README and docs: their commands, programs and configs run, their links lead somewhere, and the index has every page.

The blocks of some pages run in tests of their own: ELSEWHERE names them.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import paddle
import pytest
import yaml
from paddle import static
from support.pages import PAGES, ROOT, Block, anchors, blocks, prose

from ppema.cli import benchmark
from ppema.config import load_config
from ppema.errors import ConfigError

# Read, and not run: output, formulas and pictures; porting.md's lines for Paddle 2, and an excerpt.
KINDS = {"sh", "python", "yaml", "text", "mermaid", "python paddle2", "python skip"}
ELSEWHERE = {
    ("docs/porting.md", "python"): "tests/ema/test_porting.py",
    ("docs/metrics.md", "python"): "tests/test_docs_scripts.py",
    ("docs/restoring.md", "python"): "tests/test_docs_scripts.py",
    ("docs/design.md", "mermaid"): "tests/test_architecture.py",
}


def here(kind: str) -> list[Block]:
    return [block for block in blocks(kind) if (block.page, kind) not in ELSEWHERE]


def test_every_block_is_of_a_kind_that_is_known():
    """Code is fenced, so that its kind is said; four spaces would make a block too."""
    assert {block.kind for block in blocks()} <= KINDS
    assert {(block.page, block.kind) for block in blocks()} >= set(ELSEWHERE)
    for test in ELSEWHERE.values():
        assert (ROOT / test).exists()
    indented = [(page, line) for page in PAGES for line in re.findall(r"^\n {4,}(?! *[-|]).*$", prose(page), re.MULTILINE)]
    assert indented == []


# Commands.


# For a checkpoint of Paddle 2's own average, as on docs/porting.md.
MINE = """
model: support.models.Recorded
data:
  train: {name: synthetic, samples: 16, shape: [3], classes: 2, batch_size: 8}
  eval: {name: synthetic, samples: 16, shape: [3], classes: 2, batch_size: 8, split: test}
optimizer: SGD
lr: 0.1
averages: {ema: {decay: 0.9}}
train: {epochs: 1}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder in which the commands run: the configs, trained for two epochs, and what else pages name."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "configs", folder / "configs")
    cnn = folder / "configs/digits_cnn.yml"
    cnn.write_text(cnn.read_text(encoding="utf-8").replace("epochs: 30", "epochs: 2"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("digits_cnn", "digits_posthoc"):
            assert run(f"python tools/train.py -c configs/{name}.yml") == 0
    (folder / "mine.yml").write_text(MINE)
    (folder / "old").mkdir()
    for name, content in json.loads((ROOT / "tests/weights/golden/official.json").read_text(encoding="utf-8"))["files"].items():
        if name.startswith("model."):
            (folder / "old" / name).write_bytes(base64.b64decode(content))
    return folder


def run(line: str) -> int | str:
    """The exit code of a command, in this process; 0 of one that is only looked at, if what it names is there."""
    words = shlex.split(line, comments=True)
    match words:
        case ["make", target]:
            return 0 if re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M) else "no such target"
        case ["pip", "install", "-r", name]:
            return 0 if (ROOT / name).exists() else "no such file"
        case ["pip", "install" | "wheel", *_] | ["python", "-m", "build", *_] | ["apt-get", "install", _] | ["nox", *_]:
            return 0
        case [".venv/bin/python", "-m", "pytest", path, *_] | ["bash", path]:
            return 0 if (ROOT / path).exists() else "no such file"
        case ["python", "-m", "paddle.distributed.launch", "--nproc_per_node", _, script, "-c", config]:
            return 0 if (ROOT / script).exists() and (ROOT / config).exists() else "no such file"
        case ["python", script, *_] if script.startswith("docs/experiments/"):
            compile((ROOT / script).read_bytes(), script, "exec")
            return 0
        case ["python", script, *arguments] if script.startswith("tools/"):
            assert (ROOT / script).exists()
            return called(Path(script).stem, arguments)
        case ["ppema", "board", *_]:
            return 0  # it serves until Ctrl-C
        case ["ppema", command, *arguments]:
            return called(command, arguments)
    return "a command that no test knows"


def called(command: str, arguments: list[str]) -> int:
    try:
        return import_module(f"ppema.cli.{command}").main(arguments)
    except SystemExit as exit:  # argparse's
        return int(exit.code or 0)


@pytest.mark.campaign
@pytest.mark.parametrize("page", sorted({block.page for block in here("sh")}))
def test_the_commands_of_a_page_run(page, checkout, monkeypatch, capsys):
    """In order, in one folder. Of a benchmark, which takes minutes, the arguments alone are read."""
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(benchmark, "_benchmark", lambda arguments: 0)
    for block in here("sh"):
        for line in block.text.replace("\\\n", "").splitlines() if block.page == page else ():
            code = run(line)
            assert code == 0, f"{line}: {code}\n{capsys.readouterr().err}"


# Programs.


def test_the_class_in_the_readme(tmp_path):
    (block,) = blocks("python", "README.md")
    done = subprocess.run([sys.executable, "-c", block.text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, value = done.stdout.split(":")
    # The loss begins at 64 or so: (prediction - 8)².
    assert label == "with the average" and float(value) < 1


@pytest.mark.parametrize("page", sorted({block.page for block in here("python")} - {"README.md"}))
def test_the_programs_of_a_page_run(page, checkout, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    for block in blocks("python", page):
        with static.scope_guard(static.Scope()), static.program_guard(static.Program(), static.Program()):
            with paddle.utils.unique_name.guard():
                exec(compile(block.text, page, "exec", dont_inherit=True), {"__name__": page})
    if page == "docs/class.md":
        # The loss begins near 8, the variance of a sum of eight.
        assert float(capsys.readouterr().out.split(":")[1]) < 1


# Configs.

BASE = "_base_: [configs/digits_mlp.yml]\n"


@pytest.mark.parametrize("block", [pytest.param(block, id=f"{block.page}-{index}") for index, block in enumerate(here("yaml"))])
def test_every_config_loads(block, tmp_path):
    """A part of a config is laid over configs/digits_mlp.yml."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "_base_").symlink_to(ROOT / "configs/_base_")
    given = yaml.safe_load(block.text)
    whole = "model" in given and "data" in given
    (tmp_path / "mine.yml").write_text(block.text if whole else BASE + block.text)
    config = load_config(tmp_path / "mine.yml")
    assert set(given) - {"_base_"} <= set(type(config).model_fields)
    if block.page == "docs/config-by-example.md":
        # `losses` takes the place of `loss`.
        assert set(given) - {"_base_"} == set(type(config).model_fields) - {"losses"}
        assert list(config.averages) == ["ema", "long", "narrow", "wide"]


def test_the_mistakes_it_shows_are_reported_so(tmp_path, monkeypatch):
    lines = re.findall(r"^mine\.yml:.*$", PAGES["docs/training.md"], re.MULTILINE)
    assert len(lines) == 2
    text = (ROOT / "configs/digits_mlp.yml").read_text(encoding="utf-8")
    text = text.replace("split: train, batch_size", "split: train, bach_size").replace("decay: 0.99", "decay: 1.5")
    (tmp_path / "mine.yml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config("mine.yml")
    said = str(caught.value).splitlines()
    assert [line for line in said if "required key" not in line] == lines


# Pages.


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^):]+)\)", prose(page)):
        path, _, part = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not part or part in anchors(str(file.resolve().relative_to(ROOT))), target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page):
    named = set(re.findall(r"`((?:ppema|tests|tools|benchmarks|configs|docs)/[\w./-]+)", prose(page)))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_index_has_every_page_each_answers_a_question_and_the_readme_is_short():
    linked = set(re.findall(r"\]\(([\w-]+\.md)(?:#.*?)?\)", PAGES["docs/index.md"]))
    assert linked == {Path(page).name for page in PAGES if page.startswith("docs/")} - {"index.md"}
    assert [page for page in PAGES if page != "README.md" and not PAGES[page].split("\n")[0].endswith("?")] == []
    assert len(PAGES["README.md"].splitlines()) <= 90


def test_the_first_commands_of_the_readme_are_make_train_and_make_test():
    first = blocks("sh", "README.md")[0].text.splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make train", "make test"]
