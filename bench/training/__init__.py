"""Training loops of attackers and crafting of perturbations, shared by attackers, adaptations and defenses.

Authors of plugins may rely on the names below, and on the modules `checkpoints` (pretrained weights in a folder or in
the Hugging Face cache), `classification` (loss, metrics and training loop of audio classifiers) and `hardening`
(training on adversarially modified batches). The modules that a plugin imports from here are part of its identity.
"""

from bench.training import checkpoints, classification, hardening
from bench.training.crafting import (
    Descent,
    Schedule,
    apply_expected_adaptation,
    frozen,
    init_surrogates,
    min_min,
    mislead,
    perturb,
    shifted_labels,
    surrogates,
    train_surrogates,
)
from bench.training.learning import Budget, batches, cosine, fit, seeded
from bench.training.perturbation import Noise, Scope, noise_bound

__all__ = [
    "Budget", "Descent", "Noise", "Schedule", "Scope", "apply_expected_adaptation", "batches", "checkpoints",
    "classification", "cosine", "fit", "frozen", "hardening", "init_surrogates", "min_min", "mislead", "noise_bound",
    "perturb", "seeded", "shifted_labels", "surrogates", "train_surrogates",
]  # fmt: skip
