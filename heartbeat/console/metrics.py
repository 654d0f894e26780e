"""The metrics of a view in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from heartbeat.console.schema import COUNTER, GAUGE, HISTOGRAM, figures_of

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
PREFIX: Final = "holdfast"


_FAMILIES: Final = {GAUGE: GaugeMetricFamily, COUNTER: CounterMetricFamily, HISTOGRAM: HistogramMetricFamily}


class ViewCollector(Collector):
    """Collects the figures of a view (:func:`heartbeat.console.schema.figures_of`); ``common``: labels of all."""

    def __init__(self, view: Any, common: Mapping[str, str]) -> None:
        self._view = view
        self._common = common

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily] = {}
        for metric, own, value in figures_of(self._view):
            labels = {**self._common, **own}
            if metric.name not in families:
                families[metric.name] = _FAMILIES[metric.kind](
                    f"{PREFIX}_{metric.name}", metric.meaning, labels=[*labels]
                )
            family = families[metric.name]
            if isinstance(family, HistogramMetricFamily):
                family.add_metric([*labels.values()], value.cumulative, value.total)
            else:
                family.add_metric([*labels.values()], value)
        yield from families.values()


def text_of(view: Any, common: Mapping[str, str]) -> str:
    """The answer to ``GET /metrics``: the view's figures, and the process metrics of prometheus-client."""
    registry = CollectorRegistry()
    registry.register(ViewCollector(view, common))
    ProcessCollector(namespace=PREFIX, registry=registry)
    return generate_latest(registry).decode()
