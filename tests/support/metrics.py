"""Metrics that test configs name. Of the functions only `sq_dist` is a mean over samples."""

from __future__ import annotations

import paddle

from ppema.metrics import Counts, Kept, Metric


def macro_f1(predictions, targets):
    """The mean over classes of the F1 of the batch."""
    classes = predictions.shape[-1]
    guessed = paddle.nn.functional.one_hot(paddle.argmax(predictions, axis=-1), classes)
    true = paddle.nn.functional.one_hot(targets, classes)
    return (2 * (guessed * true).sum(axis=0) / (guessed.sum(axis=0) + true.sum(axis=0) + 1e-9)).mean()


def f1_for_each(predictions, targets):
    """The macro F1 of the batch, repeated for each sample."""
    return macro_f1(predictions, targets) + paddle.zeros_like(predictions[:, 0])


def of_some(predictions, targets):
    return paddle.masked_select(predictions[:, 0], targets > 2)


def first_output(predictions, targets):
    """The first number of each prediction, as it is."""
    return predictions[:, 0]


def sq_dist(predictions, targets):
    """A mean over samples: the squared distance to the target class. Less is better, which its name does not say."""
    one_hot = paddle.nn.functional.one_hot(targets, predictions.shape[-1])
    return paddle.square(predictions - one_hot).sum(axis=1)


class HitsOf(Metric):
    """The share of the samples of one class that are recognised, and their number, as "HitsOf.count"."""

    def __init__(self, of: int = 0):
        self.of = of

    def statistics(self, predictions, targets):
        chosen = targets == self.of
        hits = (paddle.argmax(predictions, axis=-1) == targets) & chosen
        return {"hits": Counts(paddle.cast(hits, "int64").sum()), "all": Counts(paddle.cast(chosen, "int64").sum())}

    def result(self, found):
        return {"": found["hits"] / found["all"], "count": found["all"]}


class FewOnly(HitsOf):
    """It fails on more than one sample."""

    def result(self, found):
        if found["all"] > 1:
            raise ValueError("too many")
        return 1.0


class OtherNames(HitsOf):
    """Its figure has another name for more than one sample."""

    def result(self, found):
        return {"few" if found["all"] <= 1 else "many": 1.0}


class Centred(Metric):
    """Its values of a sample depend on the other samples of the batch."""

    def statistics(self, predictions, targets):
        return {"values": Kept(predictions - predictions.mean(axis=0))}

    def result(self, found):
        return found["values"].std()


class AboveMean(Metric):
    """It counts the samples above the mean of their batch."""

    def statistics(self, predictions, targets):
        score = predictions[:, 0]
        return {"above": Counts(paddle.cast(score > score.mean(), "int64").sum()), "all": Counts(paddle.shape(score)[0])}

    def result(self, found):
        return found["above"] / found["all"]


class Leaving(HitsOf):
    """Its result ends the process."""

    def result(self, found):
        raise SystemExit(0)
