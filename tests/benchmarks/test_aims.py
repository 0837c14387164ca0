"""The figures with an aim of docs/speed.md. Most times are made up."""

from __future__ import annotations

import json

import pytest

from benchmarks import large, limit, memory, optimizer, parts, peer, share, step
from benchmarks.measure import Figure, Found, Options
from ppema.cli.benchmark import COMMANDS, main
from ppema.errors import TrainingError


@pytest.fixture
def options(tmp_path):
    return Options(5, tmp_path, ("mlp",), only_aims=True)


@pytest.fixture
def sides(monkeypatch):
    """The sides that were compared, by comparison. The i-th side takes i ms; there are 2 threads."""
    asked = []

    def compare(rounds, *builders):
        asked.append(builders)
        return [(1e-3 * (index + 1),) * rounds for index in range(len(builders))]

    for module in (optimizer, large, step):
        monkeypatch.setattr(module, "compare", compare)
    for module in (limit, large):
        monkeypatch.setattr(module, "threads_in_use", lambda: 2)
    for module in (optimizer, step):
        monkeypatch.setattr(module, "has_torch", lambda: True)
    monkeypatch.setattr(step, "has_compiler", lambda: True)
    return asked


def test_an_optimizer_is_measured_beside_the_bytes_that_it_moves(options, sides, monkeypatch):
    monkeypatch.setattr(optimizer, "tensors", lambda model: [[1000, 1000], [1000]])
    monkeypatch.setattr(optimizer, "MODELS", {"ResNet-18": "resnet18"})
    found = optimizer.measure(options)
    what = "ResNet-18's 1.0 M weights"
    # SGD: 4 bytes are read for the check, 4 again and 8 for weight and shadow each. 24 of 12 bytes take twice the 3 ms.
    assert [(each.name, each.value, each.aim) for each in found.figures] == [
        (f"{what}: SGD and an average", pytest.approx(1 / 6), 1.1),
        ("ResNet-18: SGD and 4 averages", 2.0, 2.2),
        (f"{what}: Momentum and an average", pytest.approx(1 / 8), 1.1),
        ("ResNet-18: Momentum and 4 averages", 2.0, 2.2),
        (f"{what}: Adam and an average", pytest.approx(3 / 20), 1.1),
        (f"{what}: AdamW and an average", pytest.approx(3 / 20), 1.1),
        ("2 weights of one number: a step between two updates of an average", pytest.approx(-1e-3), 10e-6),
    ]
    assert found.figures[0].beside == "24 bytes a number at 4.0 GB/s, numpy's a += b in 1 thread"
    assert [builder[2:] for builder in sides[2][:1]] == [("Adam", 1)]
    assert [builder[1:] for builder in sides[-1]] == [
        ([[1], [1]], "Momentum", 1, optimizer.NEVER),
        ([[1], [1]], "Momentum", 0),
    ]


def test_beside_torch_unless_only_aims_are_measured(options, sides, monkeypatch):
    monkeypatch.setattr(optimizer, "tensors", lambda model: [[1000]])
    found = optimizer.measure(Options(5, options.folder, ()))
    torch = [each.value for each in found.figures if each.beside == "torch's fused optimizer and _foreach_lerp_"]
    # Beside four averages it is the third side, otherwise the second.
    assert torch == pytest.approx([1 / 3, 1 / 3, 1 / 2, 1 / 2] * 2)


def test_trainable_tensors_of_resnets():
    assert [(len(each), sum(map(_numbers, each))) for each in map(optimizer.tensors, optimizer.MODELS.values())] == [
        (62, 11_689_512),
        (161, 25_557_032),
    ]


def _numbers(shape: list[int]) -> int:
    return shape[0] * _numbers(shape[1:]) if shape else 1


@pytest.mark.parametrize(("memory_bytes", "count"), [(3.5 * 2**24 * 16 / 0.7, 3), (1e12, 59)])
def test_a_large_average_has_as_many_weights_as_fit(options, sides, monkeypatch, memory_bytes, count):
    monkeypatch.setattr(large, "available_memory", lambda: memory_bytes)
    (figure,) = large.measure(options).figures
    assert figure.name == f"EMA update of {count * 2**24 / 1e6:.0f} M weights in {count} tensors"
    assert (figure.value, figure.aim) == (0.5, 1.1)
    assert sides == [
        (("benchmarks.ours:update", [[4096, 4096]] * count, 1), ("benchmarks.numpy_side:add", [[4096, 4096]] * count, 2))
    ]


def test_an_average_that_does_not_fit_is_skipped(options, sides, monkeypatch):
    monkeypatch.setattr(large, "available_memory", lambda: 0)
    found = large.measure(options)
    assert (found.figures, found.skipped) == ([], ["large: less memory than an average of 17 million weights needs"])


def test_the_faster_form_of_torch_compile_counts(options, sides):
    figures = step.measure(options).figures
    title = "MLP 64-128-10, 64: a step with EMA"
    assert [(each.name, each.beside, each.value, each.aim) for each in figures] == [
        (title, "torch with foreach EMA", 0.5, 0.9),
        (title, "torch.compile, foreach EMA compiled", pytest.approx(1 / 3), 1.0),
    ]


def test_without_peers_a_step_says_why(options, sides, monkeypatch):
    for name in ("has_torch", "has_jax"):
        monkeypatch.setattr(step, name, lambda: False)
    found = step.measure(Options(5, options.folder, ("mlp",)))
    assert [each.beside for each in found.figures] == [
        "Paddle in dynamic mode",
        "stock Paddle with the official pattern",
        "stock Paddle without EMA",
    ]
    assert found.skipped == [peer.NO_TORCH, peer.NO_JAX]
    monkeypatch.setattr(step, "has_torch", lambda: True)
    monkeypatch.setattr(step, "has_compiler", lambda: False)
    assert step.measure(options).skipped == [peer.NO_COMPILER]


def test_a_share_is_measured_in_one_process(options, monkeypatch):
    monkeypatch.setattr(share, "TURNS", {"mlp": (2, 3.0)})
    (figure,) = share.measure(options).figures
    assert (figure.name, figure.kind, figure.aim) == ("MLP 64-128-10, 64: what EMA adds", "share", 3.0)
    assert len(figure.values) == 20


def test_memory_is_that_of_three_processes(options, monkeypatch):
    asked = []

    def answer(*arguments):
        asked.append(arguments)
        ours = "ours" in arguments[2]
        return json.dumps({"resident": 2e6 if ours else 4e6, "live": 3e6 if ours else 1e6}), 0.0

    monkeypatch.setattr(memory, "answer", answer)
    monkeypatch.setattr(memory, "has_torch", lambda: True)
    monkeypatch.setattr(memory, "MODELS", ("mlp",))
    figures = memory.measure(options).figures
    title = "MLP 64-128-10, 64"
    assert [(each.name, each.values, each.aim) for each in figures] == [
        (f"{title}: peak memory of the process beyond its imports", [0.5] * 3, 1.0),
        (f"{title}: peak of the library's own buffers", [3.0] * 3, None),
    ]
    ours = ("-m", "benchmarks.footprint", "benchmarks.ours:step", '["mlp", 1]')
    assert asked == [ours, (*ours[:2], "benchmarks.torch_side:step", '["mlp", "eager"]')] * 3


@pytest.mark.campaign
def test_the_memory_of_a_process():
    """Weights, momentum and average of the MLP are 9,610 numbers each; with its gradients they are 154 kB."""
    sides = [memory.OURS, *([memory.TORCH] if peer.has_torch() else [])]
    for builder, form in sides:
        found = memory._bytes(builder, "mlp", form)
        assert 0 < found["resident"] < 500e6
        assert 0.12e6 < found["live"] < 2e6
    with pytest.raises(TrainingError, match=r"^python -m benchmarks\.footprint benchmarks\.ours:nothing \[\] ended with 1$"):
        memory._bytes("benchmarks.ours:nothing")


def test_the_command_aims_counts_those_that_hold(monkeypatch, capsys):
    """Of a part whose figures are made up. Other figures than those with an aim are not asked for."""
    asked = []

    def part(options):
        asked.append(options)
        return Found([Figure("a", "b", (1.0,) * 5, (2.0,) * 5, aim=aim) for aim in (0.4, 0.6, None)])

    assert {*parts.AIMS} <= {*COMMANDS}
    monkeypatch.setattr(parts, "AIMS", ("share", "step"))
    for module in (share, step):
        monkeypatch.setattr(module, "measure", part)
    assert main(["aims", "--rounds", "5", "--models", "mlp,lenet", "--threads", "1", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "3 of 6 aims hold"
    found = json.loads(lines[-1])["figures"]
    assert [each["holds"] for each in found] == [False, True, None] * 3
    assert [each.only_aims for each in asked] == [True] * 3
    assert [each.models for each in asked] == [("mlp", "lenet"), ("mlp",), ("lenet",)]
