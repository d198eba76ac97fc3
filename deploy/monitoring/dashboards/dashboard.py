"""Dashboards of Grafana, written as JSON: panels in rows, each with a unit, limits, and what to do when it looks wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 39
"""Grafana 11 and 12 read it, and migrate it when they load it."""

COLUMNS = 24
STAT_HEIGHT = 4
GRAPH_HEIGHT = 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

Unit = Literal["short", "s", "ops", "reqps", "percentunit", "bytes", "Bps", "none"]


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the name of its series in the legend."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a number (`stat`), or a graph over time."""

    title: str
    queries: Sequence[Query]
    unit: Unit
    advice: str
    """What it shows and what to do when it looks wrong."""
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    warn_from: float | None = None
    act_from: float | None = None
    """From here on it is drawn in yellow, or in red."""
    low_is_bad: bool = False
    """Then it is red below `act_from`, yellow below `warn_from`."""
    names: dict[float, str] = field(default_factory=dict)
    """Words shown instead of values."""


@dataclass(frozen=True, slots=True)
class Row:
    """A titled group of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; its `uid` is part of its address and never changes."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]


def quantiles(buckets: str, labels: str = "") -> tuple[Query, ...]:
    """Queries for the median, the 95th and the 99th percentile of a histogram."""
    selector = f"{buckets}{{{labels}}}" if labels else buckets
    return tuple(
        Query(f"histogram_quantile({quantile}, sum by (le) (rate({selector}[$__rate_interval])))", f"{quantile:.0%}")
        for quantile in (0.5, 0.95, 0.99)
    )


def text(dashboard: Dashboard) -> str:
    """The JSON of a dashboard."""
    made = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["payflow"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "links": [_LINKS],
        "templating": {"list": [_datasource()]},
        "annotations": {"list": []},
        "panels": [panel | {"id": number} for number, panel in enumerate(_panels(dashboard.rows), start=1)],
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


_LINKS = {"type": "dashboards", "title": "PayFlow", "tags": ["payflow"], "asDropdown": True, "keepTime": True}
"""To the other dashboards."""


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    top = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(0, top, width=COLUMNS, height=1),
        }
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            height = STAT_HEIGHT if panel.kind == "stat" else GRAPH_HEIGHT
            yield _panel(panel) | {"gridPos": _place(left, top, width=panel.width, height=height)}
            left += panel.width
        top += height


def _place(left: int, top: int, *, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.advice,
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + index)) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(query: Query, ref_id: str) -> dict[str, Any]:
    return {"refId": ref_id, "datasource": DATASOURCE, "expr": query.expression, "legendFormat": query.legend}


def _defaults(panel: Panel) -> dict[str, Any]:
    names = {str(value): {"text": name, "index": index} for index, (value, name) in enumerate(panel.names.items())}
    made: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "mappings": [{"type": "value", "options": names}] if names else [],
    }
    if panel.kind == "timeseries":
        limits = "dashed" if panel.warn_from is not None or panel.act_from is not None else "off"
        made["custom"] = {"fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": limits}}
    return made


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.low_is_bad:
        limits = [(None, "red"), (panel.act_from, "yellow"), (panel.warn_from, "green")]
    else:
        limits = [(None, "green"), (panel.warn_from, "yellow"), (panel.act_from, "red")]
    return [
        {"color": color, "value": value}
        for index, (value, color) in enumerate(limits)
        if not index or value is not None
    ]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
