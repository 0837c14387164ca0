"""Files, inheritance and overrides: what is read, and the whole report of what is wrong."""

import os
import time

import pytest

from ppema.config import AverageSpec, LearningRate, Named, load_config, to_yaml
from ppema.errors import ConfigError

MINIMAL = """\
model: pkg.Net
data:
  train: {name: digits, split: train, batch_size: 64}
  eval: {name: digits, split: test, batch_size: 64}
optimizer: {name: Momentum, args: {momentum: 0.9}, clip_norm: 1.0}
lr: 1e-1
train: {epochs: 2}
"""

ONE_LENGTH = "expected one of decay, half_life, simple, sigma_rel, got none of them"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes files into an empty working directory, which holds the minimal config already."""
    monkeypatch.chdir(tmp_path)

    def write(texts: dict[str, str] | None = None, **more: str | bytes) -> None:
        for name, text in {**(texts or {}), **more}.items():
            path = tmp_path / f"{name}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    write(minimal=MINIMAL)
    return write


def errors(path="a.yml", *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


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


# Inheritance


def test_mappings_merge_and_all_else_is_replaced(files):
    files(
        one="metrics: [mse]\naverages: {ema: {decay: 0.9}, long: {decay: 0.99}}\nseed: 1\n",
        two="averages: {ema: {decay: 0.5}}\nseed: 2\n",
        a="_base_: [minimal.yml, one.yml, two.yml]\nmetrics: [mae]\naverages: {ema: {thres_steps: true}}\n",
    )
    config = load_config("a.yml")
    assert config.seed == 2
    assert config.metrics == (Named(name="mae"),)
    assert config.averages == {"ema": AverageSpec(decay=0.5, thres_steps=True), "long": AverageSpec(decay=0.99)}


def test_bases_are_relative_to_the_file_that_names_them(files):
    files({"shared/deep/one": "seed: 7", "shared/two": "_base_: deep/one.yml"})
    files(a="_base_: [minimal.yml, shared/two.yml]")
    assert load_config("a.yml").seed == 7


def test_a_base_may_be_shared(files):
    files(
        left="_base_: minimal.yml\nseed: 1",
        right="_base_: minimal.yml\noutput: right",
        a="_base_: [left.yml, right.yml]",
    )
    config = load_config("a.yml")
    assert (config.seed, config.output) == (1, "right")


def test_another_name_drops_what_belonged_to_the_old_one(files):
    files(
        a="_base_: minimal.yml\noptimizer: {name: AdamW, weight_decay: 0.1}",
        b="_base_: minimal.yml\noptimizer: {name: Momentum, weight_decay: 0.1}",
        c="_base_: minimal.yml\ndata: {train: {name: npz, path: x.npz, batch_size: 4}}",
        d="_base_: minimal.yml\nmodel: {name: pkg.Net, args: {name: one}}",
        e="_base_: d.yml\nmodel: {args: {name: two, depth: 3}}",
    )
    assert load_config("a.yml").optimizer.model_dump() == {
        "name": "AdamW",
        "args": {},
        "weight_decay": 0.1,
        "clip_norm": None,
    }
    assert load_config("b.yml").optimizer.args == {"momentum": 0.9}
    assert load_config("b.yml").optimizer.clip_norm == 1.0
    assert load_config("c.yml").data.train.name == "npz"
    assert load_config("e.yml").model == Named(name="pkg.Net", args={"name": "two", "depth": 3})


def test_replace_drops_the_base_s_mapping(files):
    files(
        one="_base_: minimal.yml\naverages: {ema: {decay: 0.9}}",
        two="averages: {_replace_: true, long: {decay: 0.99}}",
        a="_base_: one.yml\naverages: {_replace_: true, short: {decay: 0.5}}",
        b="_base_: one.yml\naverages: {_replace_: false, short: {decay: 0.5}}",
        c="_base_: [one.yml, two.yml]",
        d="_base_: one.yml\naverages: {_replace_: perhaps}",
    )
    assert set(load_config("a.yml").averages) == {"short"}
    assert set(load_config("b.yml").averages) == {"ema", "short"}
    assert set(load_config("c.yml").averages) == {"long"}
    assert errors("d.yml") == ["d.yml:2:12: averages._replace_: expected true or false, got 'perhaps'"]


def test_a_mapping_laid_over_a_shorthand_completes_it(files):
    files(
        one="_base_: minimal.yml\nloss: cross_entropy",
        a="_base_: one.yml\nloss: {args: {label_smoothing: 0.1}}\nlr: {warmup: 10 steps}\nmodel: {args: {depth: 3}}",
        b="_base_: one.yml\noptimizer: SGD",
    )
    config = load_config("a.yml")
    assert config.loss == Named(name="cross_entropy", args={"label_smoothing": 0.1})
    assert config.lr.model_dump() == {"name": "constant", "args": {"learning_rate": 0.1}, "warmup": "10 steps"}
    assert config.model == Named(name="pkg.Net", args={"depth": 3})
    assert load_config("b.yml").optimizer.model_dump()["args"] == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("_base_: nope.yml", "a.yml:1:1: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: [minimal.yml,\n nope.yml]", "a.yml:2:2: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: sub/../nope.yml", "a.yml:1:1: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: 3", "a.yml:1:1: _base_: expected a path or a list of paths, got 3"),
        ("_base_:", "a.yml:1:1: _base_: expected a path or a list of paths, got null"),
        ("_base_: ['']", "a.yml:1:10: _base_: expected a path or a list of paths, got ''"),
        ('_base_: "a\\0b"', "a.yml:1:1: _base_: expected a path or a list of paths, got 'a\\x00b'"),
        ("_base_: [minimal.yml, minimal.yml]", "a.yml:1:23: _base_: 'minimal.yml' is listed twice"),
        ("_base_: .", "a.yml:1:1: _base_: .: expected a YAML file, but this is a directory"),
        ("_base_: a.yml", "a.yml:1:1: _base_: the files inherit in a circle: a.yml -> a.yml"),
        ("_base_: b.yml", "c.yml:1:1: _base_: the files inherit in a circle: a.yml -> b.yml -> c.yml -> a.yml"),
        ("seed: 1\ndata: {_base_: x}", "a.yml:2:8: data._base_: unknown key; known keys: train, eval"),
    ],
)
def test_bases_that_can_not_be_used(files, text, line):
    files(a=text, b="_base_: c.yml", c="_base_: ./a.yml")
    assert line.replace("{here}", os.getcwd()) in errors()


def test_the_unreadable_parts_of_all_files_are_reported_together(files):
    files(a="_base_: [b.yml, nope.yml, c.yml, d.yml]\nseed: 1\nseed: 2", b="x: [1", c="- 1", d="x: !y z\n3: 4")
    assert errors("a.yml", "seed", "lr=[") == [
        "a.yml:3:1: seed: duplicate key; it is also at a.yml:2:1",
        "override seed: expected key=value with a key such as train.epochs, got 'seed'",
        "override lr: not valid YAML: while parsing a flow node, expected the node content, but found the end",
    ]
    files(a="_base_: [b.yml, nope.yml, c.yml, d.yml]\nseed: 1")
    assert errors() == [
        "b.yml:1:6: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got the end",
        f"a.yml:1:17: _base_: nope.yml: no such file: {os.getcwd()}/nope.yml",
        "c.yml:1:1: expected a mapping, got [1]",
        "d.yml:1:1: x: the tag !y is refused; a config holds plain data only",
        "d.yml:2:1: expected a name as key, got 3; put it in quotes",
    ]


def test_a_lattice_of_files_is_read_quickly(files):
    files(x0="_base_: minimal.yml", y0="_base_: minimal.yml")
    for n in range(1, 19):
        files(**{f"{side}{n}": f"_base_: [x{n - 1}.yml, y{n - 1}.yml]" for side in "xy"})
    start = time.perf_counter()
    assert load_config("x18.yml").train.epochs == 2
    assert time.perf_counter() - start < 5


def test_a_chain_of_files_has_an_end(files):
    files(**{f"x{n}": f"_base_: x{n + 1}.yml" for n in range(40)})
    assert errors("x0.yml") == ["x20.yml:1:1: _base_: more than 20 levels of _base_"]


# Files


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
        (b"a:\n\tb: 1", "a.yml:2:1: not valid YAML: a tab where only spaces may stand"),
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


# Overrides


def test_overrides(files):
    overrides = [
        "train.epochs=5",
        "lr=1e-3",
        "optimizer.args={beta1: 0.8}",
        "optimizer.name=Adam",
        "metrics=[accuracy, mse]",
        "metrics.1=mae",
        "metrics.0.args.k=5",
        "averages.ema.decay=0.9",
        "loss.name=mse",
        "model.args.depth=[1, 2]",
        "model.args.depth.1=3",
        "train.monitor=raw/a=b",
        " seed = 4 ",
        "train.monitor=",
    ]
    config = load_config("minimal.yml", overrides)
    assert config.train.epochs == 5
    assert config.lr == LearningRate(name="constant", args={"learning_rate": 0.001})
    assert config.optimizer.model_dump() == {
        "name": "Adam",
        "args": {"beta1": 0.8},
        "weight_decay": None,
        "clip_norm": 1.0,
    }
    assert config.metrics == (Named(name="accuracy", args={"k": 5}), Named(name="mae"))
    assert config.averages == {"ema": AverageSpec(decay=0.9)}
    assert config.loss == Named(name="mse")
    assert config.model == Named(name="pkg.Net", args={"depth": [1, 3]})
    assert config.seed == 4
    assert config.train.monitor is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed", "override seed: expected key=value with a key such as train.epochs, got 'seed'"),
        ("=3", "override : expected key=value with a key such as train.epochs, got '=3'"),
        ("a..b=3", "override a..b: expected key=value with a key such as train.epochs, got 'a..b=3'"),
        ("train.epoch=3", "override train.epoch: unknown key; did you mean 'epochs'?"),
        ("train.epochs.x=3", "override train.epochs.x: train.epochs is 2, which holds no keys"),
        ("output=[1", "override output: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got the end"),
        ("seed=!x 1", "override seed: the tag !x is refused; a config holds plain data only"),
        ("seed={1: 2}", "override seed: expected a name as key, got 1; put it in quotes"),
        (
            "averages.ema.thres_steps=true",
            "override averages.ema.thres_steps: averages.ema: " + ONE_LENGTH,
        ),
        (
            "averages={ema: {}}",
            "override averages: averages.ema: " + ONE_LENGTH,
        ),
        ("model.name.x=1", "override model.name.x: model.name is 'pkg.Net', which holds no keys"),
    ],
)
def test_overrides_that_can_not_be_used(files, override, line):
    assert errors("minimal.yml", override) == [line]


@pytest.mark.parametrize("index", ["2", "-1", "x", "٣", "9" * 5000])
def test_indexes_outside_a_list(files, index):
    line = f"override metrics.{index}: expected an index into metrics, a list of 2 counted from 0, got '{index}'"
    assert errors("minimal.yml", "metrics=[mse, mae]", f"metrics.{index}=mse") == [line]


def test_options_are_no_deeper_than_files(tmp_path):
    """The deepest one is written to a file that loads; one level more, in the key or in the value, is refused."""
    file = written(tmp_path)
    key = ".".join(["model.args", *["a"] * 40])
    config = load_config(file, [f"{key}={'[' * 8}{']' * 8}"])
    (tmp_path / "again.yml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yml") == config
    for option in (f"{key}={'[' * 9}{']' * 9}", f"{key}{'.a' * 9}=1", f"{key}{'.a' * 900}=1"):
        with pytest.raises(ConfigError) as caught:
            load_config(file, [option])
        assert str(caught.value) == f"override {option.partition('=')[0]}: nested more than 50 levels deep"


def test_an_option_does_not_reach_the_terminal(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path), ["train.\033[2J\n=3"])
    assert str(caught.value).startswith(
        "override train.\\x1b[2J: expected key=value with a key such as train.epochs, got 'train."
    )
    assert str(caught.value).isprintable()


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
