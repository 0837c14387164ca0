"""Metrics of a whole set: exact for any batch size, and mergeable over processes."""

from ppema.metrics.gauge import Figure, Gauge, place
from ppema.metrics.ignored_labels import warn_of_ignored
from ppema.metrics.known import METRICS, SHARES, build_metrics
from ppema.metrics.mean import MeanOf, SumOfMeans, mean_result, mean_statistics, measured
from ppema.metrics.merging import Gathered
from ppema.metrics.metric import BatchMean, Counts, Kept, Metric, Resampled, Statistic, Weights

__all__ = [
    "METRICS",
    "SHARES",
    "BatchMean",
    "Counts",
    "Figure",
    "Gathered",
    "Gauge",
    "Kept",
    "MeanOf",
    "Metric",
    "Resampled",
    "Statistic",
    "SumOfMeans",
    "Weights",
    "build_metrics",
    "mean_result",
    "mean_statistics",
    "measured",
    "place",
    "warn_of_ignored",
]
