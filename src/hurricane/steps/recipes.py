"""How a run trains: the recipe that a section of the settings asks for, on the threads and the place of the run."""

from hurricane.config import RetrainSection, SupernetSection
from hurricane.steps.job import Job
from hurricane.train.loop import Recipe


def recipe_of(
    job: Job,
    section: SupernetSection | RetrainSection,
    *,
    epochs: int,
    pictures: int,
    learning_rate: float,
    precision: str,
) -> Recipe:
    """The recipe of a training on so many pictures; of few, a batch holds at most a quarter."""
    return Recipe(
        epochs=epochs,
        batch_size=min(section.batch_size, max(2, pictures // 4)),
        learning_rate=learning_rate,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        precision=precision,
        flip=job.flip,
        seed=job.config.run.seed,
        workers=job.threads,
        place=job.place,
    )
