"""Files: what is read, and the whole report of what is wrong."""

import os

import pytest
from support.config_files import MINIMAL, errors

from ppema.config import AverageSpec, load_config
from ppema.errors import ConfigError


def test_the_config_by_example(files):
    files(
        {"_base_/runtime": "runtime: {threads: 2, device: cpu}\n"},
        a="""\
_base_: [_base_/runtime.yml]
seed: 0
model: {name: paddle.vision.models.resnet18, args: {num_classes: 10}}
data:
  train: {name: digits, split: train, batch_size: 64, shuffle: true}
  eval:  {name: digits, split: test, batch_size: 256}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: Momentum, args: {momentum: 0.9}, weight_decay: 1e-4, clip_norm: 1.0}
lr: {name: CosineAnnealingDecay, args: {learning_rate: 0.1, T_max: 20 epochs}, warmup: 100 steps}
averages:
  ema: {decay: 0.999}
train: {epochs: 20, log_every: 50 steps, eval_every: 1 epoch, save_every: 1 epoch, monitor: ema/accuracy}
""",
    )
    config = load_config("a.yml")
    assert config.optimizer.weight_decay == 0.0001
    assert config.lr.args == {"learning_rate": 0.1, "T_max": "20 epochs"}
    assert config.averages == {"ema": AverageSpec(decay=0.999)}
    assert config.runtime.threads == 2
    assert config.output == "runs/a"


def test_output_is_named_after_the_file_unless_it_is_set(files):
    files({"sub/b": "_base_: ../minimal.yml"}, c="_base_: minimal.yml\noutput: elsewhere")
    assert load_config("sub/b.yml").output == "runs/b"
    assert load_config("c.yml").output == "elsewhere"
    assert load_config("c.yml", ["output="]).output == "runs/c"


def test_every_problem_of_every_file_in_one_report(files):
    files(
        {"_base_/averages": "averages:\n  ema: {decay: 1.5}\nruntime: {thread: 2}\n"},
        a=f"""\
_base_: [_base_/averages.yml]
{MINIMAL.replace("epochs: 2", "epochs: true, monitor: emma/accuracy").replace("batch_size: 64", "bach_size: 64", 1)}
seed: "0"
""",
    )
    assert errors("a.yml", "train.log_every=50", "lr=-1") == [
        "_base_/averages.yml:2:9: averages.ema.decay: expected a number in [0, 1), got 1.5",
        "_base_/averages.yml:3:11: runtime.thread: unknown key; did you mean 'threads'?",
        "a.yml:4:3: data.train.batch_size: required key is missing",
        "a.yml:4:39: data.train.bach_size: unknown key; did you mean 'batch_size'?",
        "a.yml:8:9: train.epochs: expected an integer >= 1, got true",
        "a.yml:8:23: train.monitor: no average is called 'emma'; did you mean 'ema'?",
        "a.yml:10:1: seed: expected an integer in [0, 4294967295], got '0'",
        "override lr: expected a number > 0, got -1",
        "override train.log_every: expected a duration such as '50 steps', '1 epoch', '2000 samples' or '10 %', got 50",
    ]


def test_missing_keys_point_at_the_mapping_that_lacks_them(files):
    files(a="# a comment\nseed: 1\ndata:\n  train: {name: digits, split: train, batch_size: 1}\nlr: {args: {}}\n")
    assert errors() == [
        "a.yml:2:1: model: required key is missing",
        "a.yml:2:1: optimizer: required key is missing",
        "a.yml:2:1: train: required key is missing",
        "a.yml:3:1: data.eval: required key is missing",
        "a.yml:5:1: lr.name: required key is missing",
    ]


def test_positions_reach_the_sections_that_are_built_later(files):
    files(a="_base_: minimal.yml\nloss: {name: mse,\n  args: {x: 1}}\n")
    config = load_config("a.yml", ["metrics=[mse]"])
    for path, where in [
        (("loss", "args", "x"), "a.yml:3:10: loss.args.x"),
        (("optimizer", "args", "y"), "minimal.yml:5:29: optimizer.args.y"),
        (("metrics", 0, "name"), "override metrics: metrics.0.name"),
        (("lr", "args", "learning_rate"), "minimal.yml:6:1: lr.args.learning_rate"),
        (("runtime", "device"), "a.yml:1:1: runtime.device"),
    ]:
        with pytest.raises(ConfigError) as caught, config.at(path[0]):
            raise ConfigError.of("wrong", *path[1:])
        assert str(caught.value) == f"{where}: wrong"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "a.yml:1:1: the file is empty"),
        (b"# nothing\n---\n", "a.yml:3:1: expected a mapping, got null"),
        (b"- a\n- b\n", "a.yml:1:1: expected a mapping, got ['a', 'b']"),
        (b"just words\n", "a.yml:1:1: expected a mapping, got 'just words'"),
        ("seed: 1\nä: \xff".encode("latin-1"), "a.yml:2:1: not UTF-8 text: byte 0xe4"),
        ("seed: 1\nä: ".encode() + b"\xff", "a.yml:2:4: not UTF-8 text: byte 0xff"),
        ("seed: 1".encode("utf-16"), "a.yml:1:1: not UTF-8 text: byte 0xff"),
        (b"seed: \x00", "a.yml:1:7: the character '\\x00' is not allowed in YAML"),
        (b"a:\n\tb: 1", "a.yml:2:1: not valid YAML: a tab where only spaces are allowed"),
        (b"#" * 1_000_001, "a.yml: larger than 1000000 bytes"),
    ],
)
def test_files_that_hold_no_config(files, data, line):
    files(a=data)
    assert errors() == [line]


def test_a_byte_order_mark_is_no_part_of_the_config(files):
    files(a=b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config("a.yml").train.epochs == 2


def test_files_that_can_not_be_opened(files, tmp_path, monkeypatch):
    assert errors("nope.yml") == [f"nope.yml: no such file: {tmp_path}/nope.yml"]
    assert errors(tmp_path) == [f"{tmp_path}: expected a YAML file, but this is a directory"]
    assert errors("minimal.yml/x") == ["minimal.yml/x: can not be read: Not a directory"]
    os.mkfifo("pipe.yml")
    assert errors("pipe.yml") == ["pipe.yml: expected a YAML file, but this is not a regular file"]
    os.symlink("loop.yml", "loop.yml")
    assert errors("loop.yml") == ["loop.yml: can not be read: Too many levels of symbolic links"]

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert errors("minimal.yml") == ["minimal.yml: can not be read: Permission denied"]


LARGE = "the config has more than {}, with its bases, options, aliases and defaults"


@pytest.mark.parametrize(
    ("option", "most"),
    [
        (f"averages={{{','.join(f'a{index}: {{simple: true}}' for index in range(1000))}}}", "20000 keys and values"),
        (f"model.args.a=[{','.join(['x'] * 19_990)}]", "20000 keys and values"),
        (f"model.args.a={'é' * 600_000}", "1000000 bytes"),
    ],
    ids=["defaults", "options", "bytes"],
)
def test_a_config_that_its_own_file_could_not_hold(tmp_path, option, most):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path), [option])
    assert str(caught.value) == f"{tmp_path / 'a.yml'}: {LARGE.format(most)}"


def test_text_that_aliases_repeat_is_refused_at_once(tmp_path):
    """Each of the characters was looked at again: 19,000 times 900,000 of them took a quarter of an hour."""
    option = f"model.args.a=[&a {'z' * 900_000}, *a, *a]"
    with pytest.raises(ConfigError, match="^override model.args.a: more than 1000000 characters, aliases expanded$"):
        load_config(written(tmp_path), [option])


def test_more_bases_than_anybody_has(tmp_path):
    names = ", ".join(f"b{index}" for index in range(19_000))
    (tmp_path / "a.yml").write_text(f"_base_: [{names}]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.yml")
    assert str(caught.value) == f"{tmp_path / 'a.yml'}:1:1: _base_: 19000 files, and a config may name 100"


def test_many_monitors_are_compared_once(tmp_path):
    """Each was compared with those before it, and each unknown average with all averages."""
    averages = ",".join(f"ave{index}: {{simple: true}}" for index in range(500))
    monitors = ",".join(f"avf{index}/loss" for index in range(9_000))
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path), [f"averages={{{averages}}}", f"train.monitor=[{monitors}]"])
    assert len(str(caught.value).splitlines()) == 20


def written(tmp_path):
    (tmp_path / "a.yml").write_text(
        "model: pkg.Net\noptimizer: SGD\nlr: 0.1\ntrain: {epochs: 1}\n"
        "data: {train: &d {name: digits, split: train, batch_size: 8}, eval: *d}\n"
    )
    return tmp_path / "a.yml"
