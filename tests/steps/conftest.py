"""A finished run."""

import pytest

from hurricane import pipeline
from tests.steps.quick import quick_job


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    job = quick_job(folder)
    return job, pipeline.run(job)
