"""From a config to programs: startup, train, and a test program for the raw weights and for each average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import paddle

from ppema.averaging.decay import Constant, Exponential, HalfLife, InverseGamma, PowerFunction, Schedule, ThresSteps
from ppema.averaging.power import gamma_of
from ppema.config import RAW, AverageSpec, Config
from ppema.config.horizon import Horizon
from ppema.data import Field
from ppema.errors import ConfigError, listed
from ppema.ir import Parameter, Program, Variable, backend, draws_random_numbers
from ppema.losses import per_sample
from ppema.metrics import build_metrics
from ppema.optimizers.optimizer import build_lr, build_optimizer
from ppema.optimizers.schedules import LRScheduler
from ppema.passes.average import Average, read_shadows
from ppema.passes.ema import EmaPass, append_updates
from ppema.passes.finite import FinitePass, Guard
from ppema.passes.onednn import OnednnPass, Placement
from ppema.passes.recalibrate import Recalibration, moving_statistics, recalibration
from ppema.passes.select import Choice, Selection, chosen
from ppema.passes.switch import SwitchPass
from ppema.programs.forward import building, class_count, each_sample, forward
from ppema.programs.inputs import Inputs


@dataclass(frozen=True)
class TestProgram:
    """A program that evaluates one set of weights; it reads variables of the scope and changes none.

    measures: "loss" and each metric, as the variable to fetch: [N] float32; of the loss also a scalar, the mean over the batch.
    """

    __test__ = False  # the name is not meant for pytest
    program: Program
    measures: dict[str, Variable]

    def without_loss(self) -> TestProgram:
        """The same program, whose loss is not measured."""
        return replace(self, measures={name: value for name, value in self.measures.items() if name != "loss"})


@dataclass(frozen=True)
class Model:
    """A test program for weights under the variables' own names, and what is needed to feed and describe it.

    structured: the variables' names by their place in the model ("0.weight" → "conv2d_0.w_0"), as `state_dict` has them.
    """

    startup: Program
    test: TestProgram
    inputs: Inputs
    parameters: list[Parameter]
    structured: dict[str, str]

    def without_loss(self) -> Model:
        """The same model, whose loss is not measured."""
        return replace(self, test=self.test.without_loss())


@dataclass(frozen=True)
class Programs:
    """All programs of a training run.

    model: its inputs are those of all programs; guard: tells of a run of `train` whether it was a step, or changed nothing as
    its gradients were not finite; tests: by weights, "raw" first, then each average in the config's order;
    passes: what made each average, which knows its decay after every update; choices: what each average covers, and why;
    recalibrations: of those averages whose BatchNorm statistics are measured before their test program is right; placement:
    which operations of `train` oneDNN computes, None where it was not asked to.
    """

    startup: Program
    train: Program
    loss: Variable
    lr: LRScheduler
    model: Model
    guard: Guard
    tests: dict[str, TestProgram]
    averages: dict[str, Average] = field(default_factory=dict)
    passes: dict[str, EmaPass] = field(default_factory=dict)
    choices: dict[str, list[Choice]] = field(default_factory=dict)
    recalibrations: dict[str, Recalibration] = field(default_factory=dict)
    placement: Placement | None = None

    @property
    def on_onednn(self) -> bool:
        """Whether any operation of `train` is another than Paddle's own."""
        return self.placement is not None and self.placement.changed

    def without_loss(self) -> Programs:
        """The same programs, of which none measures the loss in evaluation."""
        tests = {weights: test.without_loss() for weights, test in self.tests.items()}
        return replace(self, model=replace(self.model, test=tests[RAW]), tests=tests)


def build_test_model(config: Config, fields: Sequence[Field]) -> Model:
    """The test program of a config's model, built in eval mode: BatchNorm, dropout and the model's own code are all in it.

    fields: shape and type of a sample's inputs and target. Raises ConfigError.
    """
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        model, feeds, predictions, loss = forward(config, fields, train=False)
        with config.at("metrics"):
            metrics = build_metrics(config.metrics)
            measures = {"loss": per_sample(loss)}
            for index, (name, metric) in enumerate(metrics.items()):
                with building(index):
                    measures[name] = each_sample(config.metrics[index].name, metric(predictions, feeds[-1]))
        structured = {place: value.name for place, value in model.state_dict().items()}
    # Beside eval mode, for what does not ask it: F.dropout and F.batch_norm train unless they are told not to.
    backend().set_test(main)
    for op in backend().operations(main):
        if op.writes or draws_random_numbers(op):
            does = f"changes {op.writes[0]}" if op.writes else "draws random numbers"
            with config.at("model"):
                raise ConfigError.of(
                    f"in eval mode the model still {does} ({op.kind} at {op.source}): let its forward ask self.training"
                )
    return Model(
        startup,
        TestProgram(main, measures),
        Inputs(tuple(feed.name for feed in feeds), class_count(config.loss.name, predictions, feeds[-1])),
        backend().parameters(main),
        structured,
    )


def build_programs(config: Config, fields: Sequence[Field], horizon: Horizon, *, onednn: bool = False) -> Programs:
    """All programs of a training run on samples of `fields`; with `onednn` convolutions are oneDNN's. Raises ConfigError."""
    model = build_test_model(config, fields)
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        _, _, _, loss = forward(config, fields, train=True)
        backend().freeze_marked(main)
        loss = paddle.mean(loss)
        with config.at("lr"):
            lr = build_lr(config.lr, horizon.steps, horizon.total_steps)
        with config.at("optimizer"):
            optimizer = build_optimizer(config.optimizer, lr)
            with building():
                gradients = [pair for pair in optimizer.backward(loss) if pair[1] is not None]
            if not gradients:
                raise ConfigError.of("there is nothing to train: the loss depends on no trainable parameter of the model")
            with building():
                minimize = backend().update_of(main, optimizer, gradients)
        _check_same_variables(config, backend().parameters(main), model.parameters)
        order = {name: index for index, name in enumerate(model.structured.values())}
        ordered = sorted(gradients, key=lambda pair: order.get(pair[0].name, len(order)))
        finite = FinitePass()
        guard = finite.check(backend(), main, startup, loss, ordered)
        programs = Programs(startup, main, loss, lr, model, guard, tests={RAW: model.test})

        def update() -> None:
            with config.at("optimizer"), building():
                minimize()
            with config.at("averages"):
                _append_averages(programs, config.averages, horizon)
                _append_switches(programs, config.averages, horizon)

        finite.gate(backend(), main, startup, guard, update)
    return _on_onednn(programs) if onednn else programs


def _append_averages(programs: Programs, specs: Mapping[str, AverageSpec], horizon: Horizon) -> None:
    """The averages' updates in the train program, and what evaluates and recalibrates them. Raises ConfigError."""
    ir, main, test = backend(), programs.train, programs.model.test
    parameters = ir.parameters(main)
    places = {name: place for place, name in programs.model.structured.items()}
    written = {name for op in ir.operations(main) for name in op.writes}
    statistics = moving_statistics(main)
    for name, spec in specs.items():
        with building(name):
            selection = Selection(spec.include, spec.exclude, spec.batch_norm)
            choices = selection.choose(parameters, written, statistics, places)
            covered, measured = chosen(choices, "average"), chosen(choices, "recalibrate")
            made = ema_pass(name, spec, horizon)
            average = made.declare(ir, main, programs.startup, covered, measured)
            programs.choices[name], programs.passes[name], programs.averages[name] = choices, made, average
            programs.tests[name] = rewired(test, average.shadow_of)
            if measured:
                names = [each.name for each in measured]
                programs.recalibrations[name] = recalibration(test.program, names, average.shadow_of)
    append_updates(ir, main, programs.startup, [(programs.passes[name], programs.averages[name]) for name in specs])


def _append_switches(programs: Programs, specs: Mapping[str, AverageSpec], horizon: Horizon) -> None:
    """What overwrites the weights, after the updates of all averages. Raises ConfigError."""
    for name, spec in specs.items():
        if spec.overwrite_every is not None:
            with building(name, "overwrite_every"):
                switch = SwitchPass(horizon.steps(spec.overwrite_every), spec.overwrite_mix)
                first = switch.first(programs.passes[name])
                if first > horizon.total_steps:
                    raise ConfigError.of(f"it would first be after step {first}, and the run ends after {horizon.total_steps}")
                average, covered = programs.averages[name], chosen(programs.choices[name], "average")
                switch.apply(backend(), programs.train, programs.startup, programs.passes[name], average, covered)


def train_statistics(config: Config, fields: Sequence[Field]) -> set[str]:
    """The names of the BatchNorm statistics that training a config's model moves. Raises ConfigError."""
    main = paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, paddle.static.Program()):
        forward(config, fields, train=True)
    return moving_statistics(main)


def ema_pass(name: str, spec: AverageSpec, horizon: Horizon) -> EmaPass:
    """The pass of a config's average: durations as steps of this run. Raises ConfigError where it would not begin in it."""
    made = EmaPass(
        name,
        _schedule(spec, horizon),
        start=horizon.steps(spec.start) if spec.start is not None else 0,
        update_every=spec.update_every,
        scale=horizon.batch_size / spec.reference_batch if spec.reference_batch else 1.0,
        bias_correction=spec.bias_correction,
        precision=spec.precision,
    )
    if made.first > horizon.total_steps:
        raise ConfigError.of(f"it would begin after step {made.first}, and the run ends after step {horizon.total_steps}")
    return made


def _schedule(spec: AverageSpec, horizon: Horizon) -> Schedule:
    if spec.half_life is not None:
        return HalfLife(horizon.exact_steps(spec.half_life), spec.ramp)
    if spec.sigma_rel is not None:
        return PowerFunction(gamma_of(spec.sigma_rel))
    if spec.decay is None:
        return PowerFunction()
    if spec.warmup is not None:
        return InverseGamma(spec.decay, spec.warmup.gamma, spec.warmup.power, spec.warmup.min)
    if spec.tau is not None:
        return Exponential(spec.decay, spec.tau)
    return ThresSteps(spec.decay) if spec.thres_steps else Constant(spec.decay)


def rewired(test: TestProgram, names: Mapping[str, str]) -> TestProgram:
    """A copy of `test` that reads the shadow `names[p]` in place of each parameter p."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    read_shadows(backend(), program, names)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))


def _on_onednn(programs: Programs) -> Programs:
    """What trains and what recalibrates on oneDNN; test programs may leave the run, and stay what they are."""
    made = OnednnPass()
    placement = made.apply(backend(), programs.train, [programs.loss, programs.guard.finite])
    for each in programs.recalibrations.values():
        made.apply(backend(), each.program, [])
    return replace(programs, placement=placement)


def on_onednn(test: TestProgram) -> TestProgram:
    """A copy of `test` on oneDNN."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    OnednnPass().apply(backend(), program, values)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))


def _check_same_variables(config: Config, train: Sequence[Parameter], test: Sequence[Parameter]) -> None:
    """The model's constructor must give the same variables each time, or a test program would read another's weights."""
    forms = [{parameter.name: (parameter.shape, parameter.dtype) for parameter in side} for side in (train, test)]
    if forms[0] != forms[1]:
        differing = sorted(name for name in {**forms[0], **forms[1]} if forms[0].get(name) != forms[1].get(name))
        with config.at("model"):
            raise ConfigError.of(
                f"built twice, for training and for evaluation, the model differs in {listed(differing)}: its constructor and "
                "forward must not depend on chance or on train() and eval()"
            )
