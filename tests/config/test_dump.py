"""A config written as YAML reads back equal, whatever its strings look like."""

import re
import tempfile
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ppema.config import Config, load_config, to_yaml

keys = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and text != "_replace_")
traps = st.sampled_from(["1e-3", "yes", "on", "null", "~", "", "1:30", "2024-01-01", "0x1F", "017", "<<", "=", "*a", "- x"])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | traps
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
args = st.dictionaries(keys, plain, max_size=3)
texts = st.text(min_size=1, max_size=20) | traps.filter(bool)
positive = st.floats(1.2e-38, 3.4e38)
# Those of an optimizer that are numbers have to be float32's.
optimizer_args = args.map(
    lambda given: {k: v for k, v in given.items() if isinstance(v, bool) or not isinstance(v, (int, float))}
)
named = texts | st.fixed_dictionaries({"name": texts}, optional={"args": args})
durations = st.sampled_from(["1 step", "50 steps", "0.1 epochs", "3e5 samples", "12.5 %"])
spec = st.fixed_dictionaries(
    {"name": texts.map("pkg.{}".format), "batch_size": st.integers(1, 10**9)},
    optional={"args": args, "shuffle": st.booleans(), "workers": st.integers(0, 9)},
) | st.fixed_dictionaries(
    {
        "name": st.just("csv"),
        "batch_size": st.integers(1, 10**15),
        "path": texts,
        "target": texts | st.integers(-(10**15), 10**15),
        "delimiter": st.characters(exclude_categories=["Cs"]),
    }
)
splits = st.sampled_from([{"fraction": 0.1}, {"fold": 1, "of": 3, "seed": 7, "stratify": False}])
averages = st.dictionaries(
    st.from_regex("[A-Za-z][A-Za-z0-9_-]*", fullmatch=True).filter(lambda name: name != "raw"),
    st.fixed_dictionaries({"decay": st.floats(0, 1, exclude_max=True)}, optional={"thres_steps": st.booleans()}),
    max_size=2,
)
init_from = st.none() | st.fixed_dictionaries(
    {"path": texts},
    optional={
        "rename": st.dictionaries(keys.map(re.escape).filter(str.isprintable), st.sampled_from(["", "x.", "1e-3", "yes"])),
        "transpose": st.dictionaries(keys.map(re.escape).filter(str.isprintable), st.permutations([0, 1, 2, 3])),
        "ignore": st.lists(texts.map(re.escape), max_size=2),
        "exclude": st.lists(texts.map(re.escape), max_size=2),
        "strict": st.lists(st.sampled_from(["missing", "misshaped"]), max_size=2),
    },
)
configs = st.fixed_dictionaries(
    {
        "model": named,
        "data": st.fixed_dictionaries({"train": spec, "eval": spec})
        | st.fixed_dictionaries({"train": spec, "split": splits}, optional={"eval": st.just({"batch_size": 3})}),
        "optimizer": st.fixed_dictionaries(
            {"name": texts}, optional={"args": optimizer_args, "weight_decay": positive, "clip_norm": positive}
        ),
        "lr": positive | st.fixed_dictionaries({"name": texts}, optional={"args": args, "warmup": durations}),
        "train": st.fixed_dictionaries(
            {"epochs": st.integers(1, 10**15)},
            optional={"stop_after": durations, "log_every": durations, "monitor": st.just("raw/x"), "mode": st.none()},
        ),
        "output": texts,
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "loss": named,
        "metrics": st.lists(named, max_size=3),
        "averages": averages,
        "init_from": init_from,
    },
).map(Config.model_validate)


@given(configs)
def test_round_trip(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yml"
        path.write_text(to_yaml(config), encoding="utf-8")
        assert load_config(path) == config


@given(st.dictionaries(keys, st.text() | traps, max_size=3))
def test_strings_stay_strings_for_other_readers(strings):
    spec = {"name": "digits", "split": "train", "batch_size": 1}
    data = {"train": spec, "eval": spec}
    config = Config.model_validate(
        {"model": {"name": "x.y", "args": strings}, "data": data, "optimizer": "Adam", "lr": 1, "train": {"epochs": 1}}
    )
    assert yaml.safe_load(to_yaml(config))["model"]["args"] == strings


def test_the_whole_text():
    spec = {"name": "synthetic", "samples": 9, "shape": [2, 3], "classes": 2, "batch_size": 3}
    config = Config.model_validate(
        {
            "model": "pkg.Net",
            "data": {"train": spec, "eval": {"name": "digits", "split": "test", "batch_size": 8}},
            "optimizer": {"name": "AdamW", "weight_decay": 1e-5},
            "lr": {"name": "x", "args": {"T_max": "10 epochs", "word": "1e-3"}, "warmup": "10%"},
            "averages": {"ema": {"decay": 0.999}},
            "train": {"epochs": 3},
        }
    )
    assert to_yaml(config) == TEXT


TEXT = """\
seed: 0
model:
  name: pkg.Net
  args: {}
init_from: null
data:
  train:
    batch_size: 3
    shuffle: false
    drop_last: false
    workers: 0
    transforms: []
    name: synthetic
    samples: 9
    shape:
    - 2
    - 3
    classes: 2
    noise: 0.5
    seed: 0
    split: train
  split: null
  eval:
    batch_size: 8
    shuffle: false
    drop_last: false
    workers: 0
    transforms: []
    name: digits
    split: test
  normalize: false
  classes: null
  inputs: null
  targets: null
  shapes: {}
  collate: null
loss:
  name: cross_entropy
  args: {}
  output: null
  target: null
losses: {}
metrics:
- name: accuracy
  args: {}
  output: null
  target: null
  as: null
mix: null
optimizer:
  name: AdamW
  args: {}
  weight_decay: 1.0e-05
  clip_norm: null
  clip_each_norm: null
  clip_value: null
  no_decay: []
groups: []
lr:
  name: x
  args:
    T_max: 10 epochs
    word: '1e-3'
  warmup: 10 %
averages:
  ema:
    decay: 0.999
    half_life: null
    simple: false
    sigma_rel: null
    thres_steps: false
    warmup: null
    tau: null
    ramp: null
    start: null
    update_every: 1
    bias_correction: true
    overwrite_every: null
    overwrite_mix: 1.0
    precision: float32
    include: []
    exclude: []
    batch_norm: average
    recalibrate_batches: null
    reference_batch: null
    sharded: false
passes: []
train:
  epochs: 3
  steps: null
  accumulate: 1
  stop_after: null
  log_every: 50 steps
  log_norms: false
  eval_every: 1 epoch
  save_every: 1 epoch
  evaluate: null
  snapshot_every: null
  keep: 3
  keep_every: null
  failed_save: end
  max_skipped: 10
  monitor: null
  mode: null
  early_stop: null
runtime:
  threads: auto
  device: auto
  executor: auto
  onednn: auto
  precision: float32
  rank_patience: 45
board:
  histograms: false
  confusion: false
  pictures: 0
output: null
"""
