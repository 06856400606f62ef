"""A run of seconds on a simulated device, for tests of whole runs."""

from pathlib import Path

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.steps.job import Job, SilentView

DEVICE = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=5&jitter=0.02"
QUICK = [
    'space.choices=["sep_k3", "mb_k3_e3", "choice_k3", "mb_k5_e1"]',
    "space.width=0.5",
    "specialize.keep=3",
    "supernet.epochs=1",
    "search.evaluations=8",
    "search.random_evaluations=4",
    "search.measured=4",
    "retrain.epochs=1",
    "run.threads=1",
]


def quick_job(folder: Path, *settings: str, budget_ms: float = 0.055, device: str = DEVICE) -> Job:
    base = config_file.checked({"device": device, "max_ms": budget_ms})
    config = config_file.with_settings(base, [*QUICK, *settings])
    return pipeline.start(folder, config, SilentView(), command="test")


def state_of(job: Job) -> dict[str, str]:
    return {state.command: state.state for state in pipeline.states(job)}
