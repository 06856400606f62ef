"""Train: the one-shot supernet in two stages, later layers first (arXiv 1910.11609), or in one (SPOS).

Stage 1 fixes every earlier layer to one operator, trains all choices of the later layers by
single paths within the budget, and searches them. Stage 2 fixes the later layers as found, keeps their weights, and
trains the choices of the earlier layers.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from hurricane.errors import InfeasibleBudget, ModelError
from hurricane.nn import Supernet, grow
from hurricane.runs import append_row, digest, file_digest, read_rows
from hurricane.search import Sampler, worths
from hurricane.space import Archs
from hurricane.steps import plan, stage_search, stages
from hurricane.steps import specialize as space_step
from hurricane.steps.job import Job
from hurricane.steps.lengths import Lengths
from hurricane.steps.recipes import recipe_of
from hurricane.train.loop import Epoch, PathDraw, train
from hurricane.train.place import named
from hurricane.train.weights import load_weights, save_tensors

NAME = "supernet"
FILES = ("supernet/weights.safetensors",)
# Epochs that tell how fast the machine is now.
RECENT = 5


def key(job: Job) -> str | None:
    """Hash of space, pictures, plan and settings."""
    record = job.run.record(space_step.NAME)
    if record is None or record["key"] != space_step.key(job):
        return None
    init = job.config.retrain.init
    started_from = file_digest(Path(init)) if init and Path(init).is_file() else init
    config = job.config
    section = config.supernet.deciding()
    if not job.searches:  # the speed of training is measured, and nothing is trained
        section = {key: section[key] for key in ("batch_size", "precision")}
    sections = [section, config.search.deciding()]
    return digest([record["key"], [*sections, config.run.deciding()], job.data_key, job.flip, started_from])


def perform(job: Job) -> None:
    """Train both stages and search the first; leaves `supernet/weights.safetensors` (without a search, fresh ones)."""
    plan.seeded(job, 1)
    model = untrained(job)
    if job.config.retrain.init and job.searches:
        start_from(job, model, Path(job.config.retrain.init))
    lengths, speed = plan.prepare(job, model, plan.typical_archs(job))
    key_now = key(job)
    assert key_now is not None
    later = _train(job, model, lengths, speed, key_now) if job.searches else None
    save_tensors(job.run.path(NAME, "weights.safetensors"), model.state_dict())
    job.run.finish(NAME, key_now, later=later, precision=speed.precision, trainer=named(job.place))


def _train(job: Job, model: Supernet, lengths: Lengths, speed: plan.Speed, key_now: str) -> list[str] | None:
    """Train both stages and search the first; the later layers that it found, None where there is one stage."""
    warm = _warm_up(job, model, lengths.stage1, speed.precision, key_now)
    first = stages.first(job)
    _train_stage(job, model, first, lengths.stage1 - warm, speed.precision, key_now)
    if job.config.supernet.stages == 1:
        return None
    later = _search_stage1(job, model, first, lengths.evaluations, speed.precision, key_now)
    lengths = _revised(job, lengths, speed, warm)
    for number, layer in enumerate(first.space.layers[: -stages.later_count(job)]):
        _grow(job, model, number, layer.choices[0])
    second = stages.second(job, later)
    _train_stage(job, model, second, lengths.stage2, speed.precision, digest([key_now, later]))
    return later


def _revised(job: Job, lengths: Lengths, speed: plan.Speed, warm: int) -> Lengths:
    """Lengths of what comes after stage 1, given how long that took."""
    rows = [*last_epochs(job, stages.WARM_UP, warm), *last_epochs(job, stages.STAGE1, lengths.stage1 - warm)]
    trained = sum(row["seconds"] for row in rows)
    expected = plan.step_seconds(job, lengths, speed.train, speed.score)
    searched = lengths.evaluations * plan.unit_seconds(job, speed.train, speed.score)["evaluations"]
    spent = plan.spent_seconds(job, plan.BEFORE_TRAINING)
    spent += trained + searched * max(1.0, trained / expected["supernet stage 1"])
    left = ("stage2", "evaluations", "random_evaluations", "retrain")
    return plan.revised(job, lengths, speed, rows[-RECENT:], spent, left)


def last_epochs(job: Job, stage: str, count: int) -> list[dict[str, Any]]:
    """Rows of the last so many epochs of a stage; those of older settings stand before them."""
    rows = read_rows(job.run.path(*stage.split("/"), "curve.jsonl"))
    return rows[max(0, len(rows) - count) :]


def last_stage(job: Job) -> stages.Stage:
    """The stage whose space the final search looks through."""
    record = job.run.record(NAME)
    assert record is not None
    return stages.first(job) if record["later"] is None else stages.second(job, record["later"])


def load(job: Job) -> Supernet:
    """The trained supernet."""
    model = untrained(job)
    load_weights(job.run.path(NAME, "weights.safetensors"), model)
    return model


def untrained(job: Job) -> Supernet:
    """A supernet of the hardware-aware space with random weights."""
    shared = job.config.supernet.share
    return Supernet(job.small_space, job.pictures.mean, job.pictures.std, share=shared)


def start_from(job: Job, model: Supernet, path: Path) -> None:
    """Take over what fits by name and shape from a safetensors file; ModelError where nothing does."""
    try:
        tensors = load_file(path)
    except Exception as error:
        raise ModelError(
            f"--init {path} cannot be read as safetensors ({error}); give a file of weights"
        ) from error
    ours = model.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in ours and v.shape == ours[k].shape}
    if not any(k.startswith(("stem", "layers")) for k in fitting):
        raise ModelError(
            f"--init {path} holds no weights that fit this space; "
            "give a model.safetensors of a run of the same width and depth"
        )
    model.load_state_dict(fitting, strict=False)
    job.view.say(f"starting from {path}: {len(fitting)} of {len(ours)} tensors fit")


def _paths_within(job: Job, stage: stages.Stage, model: Supernet) -> PathDraw:
    """Draws uniformly from the stage's architectures within the budget, as paths of the supernet."""
    costs = job.latency_model.costs(stage.space)
    try:
        sampler = Sampler(stage.space, costs, job.budget_ms, 0.0)
    except InfeasibleBudget as error:
        # Not that of `costs`: sums in another order differ by a hair, and the cheapest must not miss its own cost.
        sampler = Sampler(stage.space, costs, error.cheapest_ms, 0.0)

    def draw(steps: int, rng: np.random.Generator) -> Archs:
        return model.space.translate(sampler.draw(steps, rng), stage.space)

    return draw


def _warm_up(job: Job, model: Supernet, epochs: int, precision: str, key_now: str) -> int:
    """Train one operator of each form, and grow the others from it; the number of epochs that took."""
    warm = round(epochs * job.config.supernet.warm_up)
    if warm > 0:
        few = stages.representatives(job)
        _train_stage(job, model, stages.Stage(stages.WARM_UP, few), warm, precision, key_now)
        for number, layer in enumerate(few.layers):
            for name in layer.choices:
                _grow(job, model, number, name)
    return warm


def _grow(job: Job, model: Supernet, number: int, source: str) -> None:
    """Untrained operators of a layer start from a trained one of their form."""
    if job.config.supernet.grow:
        names = job.small_space.layers[number].choices
        grow(model, number, source, names, job.config.run.seed)


def _train_stage(
    job: Job, model: Supernet, stage: stages.Stage, epochs: int, precision: str, key_now: str
) -> None:
    section, pictures = job.config.supernet, job.pictures
    folder = job.run.path(*stage.name.split("/"))
    checkpoint, curve = folder / f"{key_now}.safetensors", folder / "curve.jsonl"
    _forget_others(folder, checkpoint)
    recipe = recipe_of(
        job,
        section,
        epochs=epochs,
        pictures=len(pictures.train.labels),
        learning_rate=section.learning_rate,
        precision=precision,
    )

    def told(epoch: Epoch) -> None:
        append_row(curve, {"key": key_now, **epoch_row(epoch)})

    label = f"training the supernet, {stages.LABELS[stage.name]}"
    with job.view.bar(label, epochs * len(pictures.train.labels)) as bar:
        train(
            model,
            pictures.train.images,
            pictures.train.labels,
            recipe,
            _paths_within(job, stage, model),
            checkpoint=checkpoint,
            on_epoch=told,
            on_step=bar.advance,
        )


def epoch_row(epoch: Epoch) -> dict[str, Any]:
    """An epoch as a row of a curve."""
    return {
        "epoch": epoch.number,
        "pictures": epoch.pictures,
        "loss": epoch.loss,
        "accuracy": epoch.accuracy,
        "seconds": epoch.seconds,
        "trainer": epoch.place,
    }


def _forget_others(folder: Path, checkpoint: Path) -> None:
    """Remove checkpoints of other settings: they would never be used again."""
    for path in folder.glob("*.safetensors"):
        if path != checkpoint:
            path.unlink()


def _search_stage1(
    job: Job, model: Supernet, stage: stages.Stage, evaluations: int, precision: str, key_now: str
) -> list[str]:
    result = stage_search.evolved(
        job,
        model,
        stage.space,
        job.latency_model,
        evaluations,
        precision,
        job.run.path(*stage.name.split("/")),
        key_now,
    )
    by = worths(stage.space, result.history, job.latency_model, macs=job.config.search.macs)
    best = result.history[int(by.argmax())]
    job.view.say(f"stage 1: chosen of {len(result.history)}: score {best.score:.1%} at {best.cost_ms:.3g} ms")
    return list(best.choices)
