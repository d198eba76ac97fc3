"""The dashboards of Grafana and how they are provisioned. Grafana itself does not run here: it is not packaged for Debian."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from deploy.monitoring.dashboards import files
from tests.harness import monitoring, promql
from tests.harness.monitoring import DASHBOARDS, FOLDER

PATHS = {path.name: path for path in DASHBOARDS}
ALL = {name: json.loads(path.read_text()) for name, path in PATHS.items()}
EACH_DASHBOARD = pytest.mark.parametrize("dashboard", ALL.values(), ids=ALL)
PANELS = {
    f"{name} {panel['title']}": panel
    for name, dashboard in ALL.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
}
EACH = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
PROVISIONING = FOLDER / "grafana" / "provisioning"


def test_the_files_are_what_their_source_makes() -> None:
    """`make dashboards` writes them, and Grafana in a cluster gets each."""
    (generator,) = monitoring.read(FOLDER / "grafana" / "dashboards" / "kustomization.yaml")["configMapGenerator"]

    assert files.texts() == {name: path.read_text() for name, path in PATHS.items()}
    assert sorted(PATHS) == sorted(generator["files"])


def test_addresses_and_titles_are_distinct() -> None:
    """The uid is a part of the address of a dashboard; alerts link to it."""
    names = [(dashboard["uid"], dashboard["title"]) for dashboard in ALL.values()]

    assert len(ALL) == len({uid for uid, _ in names}) == len({title for _, title in names})
    assert [] == [uid for uid, _ in names if not uid.startswith("payflow-")]


@EACH
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a title, a unit, and whole sentences that say what it shows or what to do; each series has a name."""
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert len({target["legendFormat"] for target in panel["targets"]}) == len(panel["targets"])


@EACH
def test_every_series_is_exported(panel: dict[str, Any]) -> None:
    """A query reads series and labels that the services, a listed exporter or a recording rule has."""
    exported = promql.exported()
    for expression in monitoring.expressions(panel):
        for selector in promql.selectors(expression):
            known = selector.name in monitoring.recorded() or monitoring.exporter_of(selector.name)
            assert known or selector.name in exported, selector
            if not known:
                assert selector.labels <= exported[selector.name], selector


@EACH
def test_a_panel_reads_the_chosen_data_source(panel: dict[str, Any]) -> None:
    """Panel and queries name the variable, never a fixed data source; the ids of the queries are distinct."""
    ids = [target["refId"] for target in panel["targets"]]

    assert {"${datasource}"} == {one["datasource"]["uid"] for one in (panel, *panel["targets"])}
    assert len(ids) == len(set(ids))


@EACH
def test_limits_are_drawn_in_order(panel: dict[str, Any]) -> None:
    """Grafana requires that thresholds rise, and that the first has no value."""
    values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]

    assert values[0] is None
    assert all(low < high for low, high in pairwise(values[1:]))


@EACH_DASHBOARD
def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """They fill a grid of 24 columns, and their numbers are distinct."""
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells, panel["title"]
        cells |= own
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


def test_everything_is_provisioned_from_files() -> None:
    """The data source is the Prometheus of Compose, and dashboards come from the folder that Compose mounts."""
    (source,) = monitoring.read(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = monitoring.read(PROVISIONING / "dashboards" / "payflow.yml")["providers"]
    scrape = monitoring.read(FOLDER / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]

    assert ("prometheus", "http://prometheus:9090", True) == (source["type"], source["url"], source["isDefault"])
    assert scrape == source["jsonData"]["timeInterval"]
    assert "/etc/grafana/dashboards" == provider["options"]["path"]
