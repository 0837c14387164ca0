"""`Direct` gives the results of exe.run bit for bit, and restores Paddle's flags."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.ir import backend, scope
from ppema.ir.plain import Plain

pytestmark = pytest.mark.skipif(not paddle.__version__.startswith("3."), reason="Paddle 2.6 has no PIR programs")
FLAGS = ["FLAGS_new_executor_serial_run", "FLAGS_eager_delete_tensor_gb"]


class Trained:
    """A small network with BatchNorm, dropout, a branch and a learning rate that changes, trained by one runner."""

    def __init__(self, direct: bool):
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            images = paddle.static.data("images", [-1, 3, 5, 5], "float32")
            labels = paddle.static.data("labels", [-1], "int64")
            layers = [paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.ReLU(), paddle.nn.Flatten()]
            logits = paddle.nn.Sequential(*layers, paddle.nn.Dropout(0.3), paddle.nn.Linear(36, 4))(images)
            self.loss = paddle.nn.functional.cross_entropy(logits, labels)
            self.rate = paddle.optimizer.lr.ExponentialDecay(0.1, 0.5)
            optimizer = paddle.optimizer.Adam(self.rate)
            gradients = optimizer.backward(self.loss)
            update = backend().update_of(main, optimizer, gradients)
            paddle.static.nn.cond(self.loss < 1e9, lambda: update(gradients), None)
        self.scope, self.main, executor = paddle.static.Scope(), main, paddle.static.Executor(device_place())
        with paddle.static.scope_guard(self.scope):
            paddle.seed(7)
            executor.run(startup)
        runner = backend().runner(executor, self.scope, main, [self.loss, logits])
        self.runner = runner if direct else Plain(executor, main, [self.loss, logits])

    def train(self, sizes) -> list[bytes]:
        rng, seen = np.random.default_rng(0), []
        with paddle.static.scope_guard(self.scope):
            for step, size in enumerate(sizes):
                paddle.seed(step)
                images = rng.normal(size=(size, 3, 5, 5)).astype("float32")
                seen += [each.tobytes() for each in self.runner.run({"images": images, "labels": rng.integers(0, 4, size)})]
                self.rate.step()
        return seen + [scope.get(self.scope, name).tobytes() for name in backend().state_names(self.main)]


@pytest.mark.parametrize("memory", [0, 1 << 40], ids=["freed", "kept"])
def test_it_gives_the_same_bits(monkeypatch, memory):
    monkeypatch.setattr("ppema.ir.direct.available_memory", lambda: memory)
    sizes = [8, 8, 3, 8, 1, 16]  # the last batch of an epoch is short
    trained = Trained(direct=True)
    assert trained.train(sizes) == Trained(direct=False).train(sizes)
    assert trained.runner._flags["FLAGS_eager_delete_tensor_gb"] == (-1.0 if memory else 1 / 16)


def test_other_programs_find_the_flags_as_they_were():
    before = paddle.get_flags(FLAGS)
    trained = Trained(direct=True)
    trained.train([4])
    assert paddle.get_flags(FLAGS) == before
    with paddle.static.scope_guard(trained.scope), pytest.raises(Exception, match="shape"):
        trained.runner.run({"images": np.zeros([2, 2, 5, 5], "float32"), "labels": np.zeros(2, "int64")})
    assert paddle.get_flags(FLAGS) == before


def test_what_is_fetched_is_a_copy():
    trained = Trained(direct=True)
    feed = {"images": np.ones([2, 3, 5, 5], "float32"), "labels": np.zeros(2, "int64")}
    with paddle.static.scope_guard(trained.scope):
        first, _ = trained.runner.run(feed)
        held = first.copy()
        trained.runner.run(feed)
    assert first.tobytes() == held.tobytes()


def test_a_variable_that_borrows_memory_is_read_where_it_is():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        weight = paddle.static.create_parameter([2], "float32", name="weight")
        doubled = weight * 2.0
    where = paddle.static.Scope()
    for name, value in {"weight": [1.0, 2.0], "other": [5.0, 6.0]}.items():
        where.var(name).get_tensor().set(np.array(value, "float32"), paddle.CPUPlace())
    runner = backend().runner(paddle.static.Executor(device_place()), where, main, [doubled])
    loan = scope.Loan(where, [("weight", "other")])
    with paddle.static.scope_guard(where):
        seen = [runner.run({})[0].tolist()]
        loan.start()
        seen.append(runner.run({})[0].tolist())
        loan.stop()
        seen.append(runner.run({})[0].tolist())
    assert seen == [[2.0, 4.0], [10.0, 12.0], [2.0, 4.0]]


def test_the_size_of_activations_by_hand():
    from ppema.ir.direct import activation_bytes

    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        images = paddle.static.data("images", [-1, 3], "float32")  # 6 x 3 x 4 bytes
        wide = paddle.cast(images, "float64")  # 6 x 3 x 8
        paddle.static.create_parameter([50], "float32", name="weight")  # stays from step to step anyway
        wide > wide  # noqa: B015  (6 x 3 x 1)
    assert activation_bytes(main, 6, 3) == 6 * 3 * (4 + 8 + 1)


def test_texts_longer_than_the_batch_count_with_their_length(monkeypatch):
    """Activations of 2 x 50 x 50 numbers. They are freed if an eighth of the memory is less."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        text = paddle.static.data("text", [-1, -1], "float32")  # 2 x 50 x 4 bytes
        paddle.matmul(text.unsqueeze(2), text.unsqueeze(1))  # twice 2 x 50 x 4, and 2 x 50 x 50 x 4
    where, size = paddle.static.Scope(), 3 * 2 * 50 * 4 + 2 * 50 * 50 * 4
    for memory, kept in ((8 * size - 8, 1 / 16), (16 * size, -1.0)):
        monkeypatch.setattr("ppema.ir.direct.available_memory", lambda memory=memory: memory)
        runner = backend().runner(paddle.static.Executor(device_place()), where, main, [])
        with paddle.static.scope_guard(where):
            runner.run({"text": np.zeros([2, 50], "float32")})
        assert runner._flags["FLAGS_eager_delete_tensor_gb"] == kept
