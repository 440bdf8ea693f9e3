"""A network taught on the user's own images: its last blocks or all of it, head first.

Needs the extra `torch`, and imports it only when a job is run (`run`). `settings` says what can be
chosen and `job` what lies in the folder of a job; `network` makes a torch module of an ONNX graph
(`operators`) and `cut` finds its last blocks; `augment` and `feeds` make what is put in, `tuning`
teaches, `checkpoint` remembers, `device` knows processors, and `crew` other
processes.
"""

from keshikaran.finetune.job import (
    LARGER,
    Job,
    is_ready,
    job_key,
    remove_job,
    write_array,
    write_job,
)
from keshikaran.finetune.settings import (
    AUGMENTATIONS,
    Augmentation,
    Blocks,
    FinetuneSettings,
    Listeners,
    need_finetuning,
)

__all__ = [
    "AUGMENTATIONS",
    "LARGER",
    "Augmentation",
    "Blocks",
    "FinetuneSettings",
    "Job",
    "Listeners",
    "is_ready",
    "job_key",
    "need_finetuning",
    "remove_job",
    "write_array",
    "write_job",
]
