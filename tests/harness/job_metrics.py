"""The time of the last success of a background job, as its process exports it."""

from __future__ import annotations

from prometheus_client import REGISTRY

from services.chassis import metrics


def forget(job: str) -> None:
    """Set the time to 0, which means never."""
    metrics.JOB_LAST_SUCCESS.labels(job).set(0)


def last_success(job: str) -> float:
    """Unix time; 0 if the job has not succeeded."""
    return REGISTRY.get_sample_value("payflow_job_last_success_timestamp_seconds", {"job": job}) or 0.0
