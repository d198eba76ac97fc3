"""The dashboards of Grafana as code, written to `monitoring/grafana/dashboards/` by `make dashboards`."""
