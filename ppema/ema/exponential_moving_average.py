"""ExponentialMovingAverage: the average for programs that the user builds and runs, in place of paddle.static's class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from ppema.averaging.decay import Schedule
from ppema.averaging.precision import Precision
from ppema.averaging.rule import Rule
from ppema.ema.applied import Applied, Places, as_measured, check_started, in_progress
from ppema.ema.arguments import (
    check_list,
    check_name,
    check_programs,
    check_when,
    schedule_of,
    selection_of,
    switch_of,
)
from ppema.ema.attached import Attached, attach, names_to_be
from ppema.ema.foreign import check_test_program
from ppema.errors import AverageError, listed
from ppema.ir import Program, Variable, backend
from ppema.passes.ema import EmaPass
from ppema.passes.recalibrate import recalibration
from ppema.passes.select import BatchNormPolicy

ThresStepsArgument = int | float | Variable | Callable[[Variable], Variable | float] | None


class ExponentialMovingAverage:
    """The exponential moving average of a program's parameters and BatchNorm statistics.

        opt.minimize(loss)
        ema = ppema.ExponentialMovingAverage(0.999)
        ema.update()                        # in the program, after minimize and before the startup program runs
        ...
        with ema.apply(exe):                # the parameters hold the averages here, and the raw weights again after it
            exe.run(test_program, ...)

    After update t the shadow s of a parameter θ is exactly the bias-corrected average Σ w_i θ_i / Σ w_i with
    w_i = (1 - d_i) Π_{j>i} d_j, also for a varying decay. Shadows are float32, and float64 for float64 parameters. For float16
    and bfloat16 parameters the optimizer's master weights are averaged, if it keeps any. The average covers all parameters and
    BatchNorm's running mean and variance, so that γ, β, μ and σ² belong together. `ParamAttr(do_model_average=False)` excludes
    a parameter. A variable that never changes in training, such as a frozen weight, has no shadow and costs nothing.

    Args:
        decay: d, in [0, 1).
        thres_steps: m in the decay of a step, min(d, (1 + m)/(10 + m)). A number; a Variable of the program (one element, any
            numeric type), read at every run; or a callable that returns one of these. `update` calls it once with the number
            of updates so far, a 0-D float64 Variable. None: the decay is d.
        name: name of the average; its variables are "<parameter>.<name>". Default: "ema", "ema_1", ... in one process.
        schedule: a schedule of `ppema.averaging.decay`, such as HalfLife(1000), in place of decay and thres_steps.
        start: number of steps before the average begins; until then its updates copy the weights.
        update_every: number of steps between two updates. The decay is meant per step all the same.
        scale: κ for a batch κ times as large as the batch of the decay. The decay becomes decay^κ.
        bias_correction: False gives TensorFlow's rule: the shadow begins with the initial weights, s += (1 - d)·(θ - s).
        overwrite_every: Switch EMA: after each multiple of this number of steps the average overwrites the raw weights.
            Averages whose `update` is called later observe the overwritten weights.
        overwrite_mix: share of the average in the new weights, in (0, 1].
        precision: "compensated" keeps float32's rounding error of each update in a second variable per parameter;
            docs/precision.md shows when it matters.
        include, exclude: regular expressions for variables' names. The average covers the variables that match one of `include`
            (if any are given) and none of `exclude`.
        batch_norm: "average": average BatchNorm's running mean and variance like weights; "copy": use those of the raw model;
            "recalibrate": measure them for the averaged weights, by calling `recalibrate` before each `apply`.
        programs: test programs. `apply` puts their BatchNorm and dropout in test mode, and restores each switch afterwards.

    Raises:
        ValueError: decay is not a number in [0, 1), another argument is out of range, or thres_steps and schedule are both
            given.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        decay: float = 0.999,
        thres_steps: ThresStepsArgument = None,
        name: str | None = None,
        *,
        programs: Sequence[Program] = (),
        schedule: Schedule | None = None,
        start: int = 0,
        update_every: int = 1,
        scale: float = 1.0,
        bias_correction: bool = True,
        overwrite_every: int | None = None,
        overwrite_mix: float = 1.0,
        precision: Precision = "float32",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        batch_norm: BatchNormPolicy = "average",
    ):
        self._rule = Rule(schedule_of(schedule, decay, thres_steps), start, update_every, scale, bias_correction, precision)
        self._selection = selection_of(include, exclude, batch_norm)
        check_name(name)
        self._name = name or paddle.utils.unique_name.generate("ema").removesuffix("_0")
        self._switch = switch_of(self._name, overwrite_every, overwrite_mix, update_every)
        self._programs = check_programs(programs)
        self._attached: Attached | None = None
        self._applied: Applied | None = None
        self._places: Places | None = None  # in the scope of the last `apply`
        self._recalibrated: tuple[Any, ...] | None = None  # `as_measured` after the last `recalibrate`

    def update(self, when: Variable | None = None) -> None:
        """Append the update to the default main program: each of its runs then updates the average.

        Call it once, after the optimizer's `minimize` and before the startup program runs.

        when: bool Variable of one element, True in a run that is an optimizer step, for programs that accumulate gradients.
        Other runs neither update the average nor count. None: every run is a step.

        To add an average to a program that already runs, give it a startup program of its own:
        `with paddle.static.program_guard(main, new): ema.update()`, then `executor.run(new)`.

        Raises AverageError if called twice or before `minimize`; if the program has no parameters, one of a type without shadow
        (float8), or an average of this name; if `minimize` trains a parameter marked `trainable = False`; and if one of the
        constructor's programs does not read the train program's parameters. Raises ConfigError for a pattern that matches
        nothing, and TypeError for any other `when`. Warns if `minimize` trains inside a branch and `when` is None, and if the
        startup program belongs to another model or seems to have run.
        """
        if self._attached is not None:
            raise AverageError(f"update() of the average {self._name!r} was called twice: each run would count double")
        check_when(when)
        for program in self._programs:
            check_test_program(program, backend().parameters(paddle.static.default_main_program()))
        self._attached = attach(EmaPass(self._name, self._rule, self._selection), self._switch, when)
        self._attached.begin(paddle.static.default_startup_program())

    @contextmanager
    def apply(self, executor: Any, need_restore: bool = True, *, programs: Sequence[Program] = ()) -> Iterator[None]:
        """Put the averages in place of the parameters, in the current scope.

        With need_restore the parameters share the shadows' memory. The end of the block restores their own, also after an
        exception. Nothing may write weights inside the block: the train program or `Tensor.set` would overwrite the averages.
        Without need_restore the parameters get copies: training can continue from them without changing the shadows, and
        `restore` brings the raw weights back at any time. A half weight gets a copy either way, rounded to nearest; its master
        weight gets one only without need_restore.

        Files that Paddle saves inside the block (`static.save`, `save_vars`) hold the averages under the parameters' names and
        no raw weights, as with Paddle's own class. `ppema.read_state` gives both, each under its own name.

        Args:
            executor: unused, since the scope alone matters; kept as in paddle.static's class.
            programs: test programs to put in test mode meanwhile, besides those of the constructor. Their parameters must be
                the train program's, by name, shape and type, or frozen. Other programs that run inside the block are not
                checked: a parameter that the train program does not have keeps its value in the scope.

        Raises AverageError before the first update; if weights or updates of weights were built after `update`; while this or
        another average of the same variables is applied; if a program reads parameters that nothing trains; if BatchNorm's
        statistics still need `recalibrate`; and, at the end, if the train program ran inside the block.
        """
        attached = self._require_update("apply")
        attached.check(paddle.static.global_scope())
        average = attached.average
        if self._applied is not None:
            raise AverageError(
                f"the average {self._name!r} is already applied: call restore(executor) before applying it again, or the "
                "raw weights would be lost"
            )
        tests = (*self._programs, *check_programs(programs))
        for program in tests:
            check_test_program(program, attached.parameters)
        where = paddle.static.global_scope()
        if average.recalibrated and self._recalibrated != as_measured(where, average):
            raise AverageError(
                f"the average {self._name!r} has no BatchNorm statistics of its weights as they are now: call "
                "recalibrate(executor, test_program, feeds) before apply"
            )
        if self._places is None or self._places.scope is not where:
            self._places = Places(where, average)
        applied = Applied(self._places, average, tests, lend=need_restore)
        try:
            self._applied = applied
            applied.start()
            yield
            if need_restore and self._applied is applied:
                self.restore(executor)
        except BaseException:  # also Ctrl-C in the lines above
            if self._applied is applied and (need_restore or not applied.complete):
                self._take_back(applied)
            raise

    def restore(self, executor: Any) -> None:
        """Bring back the raw weights that `apply` replaced. Raises AverageError if the average is not applied.

        Raises it also if the train program ran while its weights shared the shadows' memory.
        """
        if self._applied is None:
            raise AverageError(f"restore() of the average {self._name!r}: it is not applied")
        self._take_back(self._applied).check()

    def recalibrate(self, executor: Any, test_program: Program, feeds: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Measure BatchNorm's statistics for the averaged weights, for an average made with batch_norm="recalibrate".

        They become the mean and variance over all batches together. No weight changes, and nothing is applied.

        test_program: a test program of the model, as `ppema.clone_for_test` makes it.
        feeds: batches of training data for `test_program`, as `executor.run` takes them. Each counts by its number of values.

        Raises AverageError for another policy, before the first update, and while an average is applied in this scope. Raises
        it also if `feeds` is empty, and if the program lacks a BatchNorm of the train program or reads parameters that nothing
        trains.
        """
        attached, where = self._require_update("recalibrate"), paddle.static.global_scope()
        average = attached.average
        if not average.recalibrated:
            raise AverageError(f"the average {self._name!r} was not made with batch_norm='recalibrate', or has no BatchNorm")
        check_started(where, average)
        for other in in_progress(where):
            raise AverageError(
                f"the average {other.name!r} is applied, so that raw weights and averages are not in their places: restore it "
                "before recalibrating"
            )
        check_test_program(test_program, attached.parameters)
        made = recalibration(test_program, average.recalibrated, average.shadow_of, counted=True)
        measured = {name for pair in made.statistics for name in pair}
        absent = [name for name in average.recalibrated if average.shadow_of[name] not in measured]
        if absent:
            raise AverageError(f"the test program has no BatchNorm with the statistics of {absent[0]!r}")
        if not made.measure(where, feeds, lambda program, feed: executor.run(program, feed=feed)):
            raise AverageError("recalibrate: nothing was measured: feeds has no batch of two values per channel or more")
        self._recalibrated = as_measured(where, average)

    def _take_back(self, applied: Applied) -> Applied:
        try:
            applied.undo()
            self._applied = None
        except AverageError:  # a variable is missing: `restore` can be called again
            raise
        except BaseException:  # Ctrl-C during `undo`: restore the weights before it goes on
            applied.undo()
            self._applied = None
            raise
        return applied

    def average(self, var: Any) -> Variable:
        """The shadow of `var` (a parameter or its name), a Variable of the train program that can be fetched.

        Its shape is the parameter's; its type is float32, or float64 for a float64 parameter. Raises AverageError for a
        variable that is not averaged, and before `update`.
        """
        return self._require_update("average").average.shadows[self._key(var, self._shadow_of())]

    def average_name(self, var: Any) -> str:
        """The name of the average of `var` (a parameter or its name) in the scope and in saved files.

        Before `update`, as in a program for evaluation, the model is that of the default main program. The result is then the
        name in its train program, for an average with the same arguments and name. Raises AverageError for a variable that is
        not averaged.
        """
        shadow_of = self._shadow_of()
        return shadow_of[self._key(var, shadow_of)]

    def variables_to_restore(self, variables: Iterable[Any] | None = None) -> dict[str, Variable]:
        """The variables of the program by the names from which to load them, as in TensorFlow.

        The name of an averaged variable is its shadow's; any other variable has its own. A program without averages that loads
        by these names from a file of the train program gets the averaged weights. Before `update` the result holds the
        variables of the default main program, with names as `average_name` gives them.

        variables: parameters, or their names, that get their averages; all others get their own values. None: all averaged
        ones. Raises AverageError for a variable that is not averaged, and for a program without parameters.
        """
        shadow_of, attached = self._shadow_of(), self._attached
        if variables is not None:
            given = check_list("variables", variables, "parameters, or of their names")
            shadow_of = {name: shadow_of[name] for name in [self._key(each, shadow_of) for each in given]}
        parameters = attached.parameters if attached else backend().parameters(paddle.static.default_main_program())
        return {shadow_of.get(each.name, each.name): each.variable for each in parameters}

    def _shadow_of(self) -> dict[str, str]:
        """The shadows' names by parameter's name."""
        if self._attached is not None:
            return self._attached.average.shadow_of
        return names_to_be(paddle.static.default_main_program(), self._selection, self._name)

    def _require_update(self, caller: str) -> Attached:
        if self._attached is None:
            raise AverageError(f"{caller}() of the average {self._name!r}: call update() on the train program first")
        return self._attached

    def _key(self, var: Any, shadow_of: Mapping[str, str]) -> str:
        try:
            name = var if isinstance(var, str) else var.name
        except (AttributeError, ValueError):  # no variable, or on Paddle 3 one without a name: no input and no parameter
            name = None
        if name is None or name not in shadow_of:
            what = repr(name or "what was given")
            raise AverageError(f"{what} is not averaged by {self._name!r}; it averages {listed(list(shadow_of))}")
        return name
