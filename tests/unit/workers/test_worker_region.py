"""Where a worker's AWS clients find the Region: a container on EC2 has only its job definition's variables."""

import pytest

from switchyard_worker import attempt


def test_a_worker_needs_no_more_than_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    assert attempt.client("s3").meta.region_name == "eu-central-1"
