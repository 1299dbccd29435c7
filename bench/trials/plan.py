"""Plan: the stages of work that some trials need. Pure values, without torch.

load -> (draw) -> protect -> audit
                     |
                    mix -> adapt -> learn -> evaluate, memorise

Each stage has a content key over what it does: the task, the resolved parameters and source digests of its plugins, its
options and its parents' keys. Equal stages have equal keys and are done once: one protected set serves every attacker,
one clean arm serves every defense. `ARMS` says what each arm of a trial is trained on. Stages beside
those of the arms:

* audit: how audible the protection is. It has no plugin, so a set can be audited again, under a new `AUDIT` version,
  without being protected again.
* compare, where the attacker has a `view`: what the attacker reads of the protected set beside what it reads of the
  clean set, both adapted.
* memorise, where the attacker has a `continuation`: how much better a model knows the clean originals of what was
  published than unpublished items. Beside the models of the protected and the clean set, one that saw neither is
  measured: under a threat model that of the granted items alone, else the untrained one.

Under a threat model each seed draws what is published and what the attacker is granted (`draw`), the granted items
stand in for the validation set, and a model is trained on each smaller clean set of the clean curve as well, under the
trial's adaptation: what improves the attacker on clean items too must not count as what it gains on protected ones.

`bench.trials.adapting` plans what the trial's adaptation, or the chain of them, does to the sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from bench.results.arms import curve_role, granted_role, memorised_role
from bench.results.names import NONE
from bench.results.threat import ThreatModel
from bench.trials.adapting import Adapting
from bench.trials.arms import ARMS, UNTRAINED, Arm, TrainingSet
from bench.trials.planned import Builder, Cell, Parts, Plan, Stage, stage
from bench.trials.trial import SPLITS, Part, Trial

__all__ = ["Cell", "Plan", "Stage", "plan", "plan_roles", "stage"]

AUDIT = 1  # part of the key of every audit; increase it when `bench.trials.measuring` changes what it measures
MEMORISE = 1  # likewise of what was memorised, and `bench.trials.memorising`


def plan(trials: Iterable[Trial]) -> Plan:
    """Return every stage that the trials need, once each, parents before children.

    Args:
        trials: The trials.

    Returns:
        The stages, and a cell for each trial.
    """
    builder = Builder()
    trial_list = tuple(trials)  # the builder compares parts by id(), so all must live until it is done
    cells = []
    for trial in trial_list:
        roles = _TrialStages(trial, builder).roles()
        cells.append(Cell(trial, {role: stage.key for role, stage in roles.items()}))
    return Plan(builder.stages, tuple(cells))


def plan_roles(requests: Iterable[tuple[Trial, Collection[str]]]) -> Plan:
    """Return the stages that some roles of trials need, once each, parents before children.

    Args:
        requests: A trial, and the roles of its stages that are wanted; those that it does not have are left out.

    Returns:
        The stages, and a cell for each request with the wanted roles alone.
    """
    builder = Builder()
    listed = tuple(requests)
    cells = []
    for trial, wanted in listed:
        roles = _TrialStages(trial, builder).roles(curve=any(role.startswith(curve_role("")) for role in wanted))
        cells.append(Cell(trial, {role: stage.key for role, stage in roles.items() if role in wanted}))
    needed: set[str] = set()
    open_keys = [key for cell in cells for key in cell.keys.values()]
    while open_keys:
        key = open_keys.pop()
        if key not in needed:
            needed.add(key)
            open_keys += builder.stages[key].parents.values()
    return Plan({key: stage for key, stage in builder.stages.items() if key in needed}, tuple(cells))


class _TrialStages:
    """The stages of one trial."""

    def __init__(self, trial: Trial, builder: Builder):
        self._trial, self._build = trial, builder.stage
        self._seed = {"seed": trial.seed}
        self._on = f"{trial.attacker.title} on {trial.dataset.title}"
        self._under = f" under {trial.adaptation.title}" if trial.adaptation else ""
        self._loaded = self._drawn() if trial.threat else {split: self._load(split) for split in SPLITS}
        self._adapting = Adapting(trial, builder.stage, self._pairs)

    def roles(self, curve: bool = True) -> dict[str, Stage]:
        """Return every stage that the trial's record names: role -> stage; `curve`: with those of the clean curve."""
        trial, clean = self._trial, self._loaded["train"]
        protected = self._protect(trial, clean)
        published = self._mix(protected)
        roles = {"clean_set": clean, "test_set": self._loaded["test"], "protected_set": protected}
        if protected is not clean:
            roles["audit"] = self._audit(protected)
        if published is not protected:
            roles["mixed_set"] = published
        sets = {"published": published, "clean": clean}
        arms = [arm for arm in ARMS if arm.applies(trial)]
        if any(arm.train == "remainder" for arm in arms):
            sets["remainder"] = self._remainder()
        for arm in arms:
            if arm.train:
                roles[f"{arm.role}_learned"] = self._learn(arm, sets[arm.train])
        for arm in arms:
            roles[arm.role] = self._evaluate(arm, roles.get(f"{arm.role}_learned"), roles["clean_learned"])
        if trial.threat:
            for arm in arms:
                if arm.train:
                    roles[granted_role(arm.role)] = self._evaluate_granted(arm, roles[f"{arm.role}_learned"])
            if curve:
                roles |= self._curve(trial.threat)
        if "view" in trial.attacker.hooks:
            roles["view"] = self._compare(published)
        if "continuation" in trial.attacker.hooks and trial.share == 1:
            withheld = curve_role(0) if trial.threat else "untrained"
            for role in ("protected", "clean", *([withheld] if curve or not trial.threat else [])):
                roles[memorised_role(role)] = self._memorise(role, roles.get(f"{role}_learned"))
        return roles

    def _load(self, split: str, dataset: Part | None = None) -> Stage:
        data = dataset or self._trial.dataset
        return self._build("load", f"load {data.title} {split}", {"dataset": data}, {"split": split}, {})

    def _drawn(self) -> dict[str, Stage]:
        """What the seed draws, in the places of the splits, and the granted and other items that are trained on."""
        trial = self._trial
        assert trial.threat is not None
        items = {
            "train": self._draw(trial.dataset, "published", trial.threat.published),
            "validation": self._draw(trial.dataset, "choosing"),
            "test": self._load("test"),
            "granted": self._draw(trial.dataset, "training"),
        }
        if trial.replacement:
            items["replacement"] = self._draw(trial.replacement, "published", trial.threat.published)
        return items

    def _draw(self, dataset: Part, part: str, items: int = 0) -> Stage:
        """Items of a data set's training split that the seed draws: so many to publish, or half of the granted."""
        assert self._trial.threat is not None
        source = self._load("train", dataset)
        options = {**self._seed, "part": part, "granted": self._trial.threat.granted, "items": items}
        what = {"published": f"{items} items", "choosing": "granted items to choose by"}.get(part, "granted items")
        title = f"draw {what} of {dataset.title}, seed {self._trial.seed}"
        return self._build("draw", title, {}, options, {"train": source})

    def _curve(self, threat: ThreatModel) -> dict[str, Stage]:
        """The clean curve: for each smaller size, its model's quality on the test items and on the granted ones."""
        trial, roles = self._trial, {}
        test = self._adapting.preprocess(self._loaded["test"], "the test set")
        validation = self._adapting.preprocess(self._loaded["validation"], "the validation set")
        for size in threat.smaller:
            what = f"{size} of {threat.published} clean items"
            items = self._draw(trial.dataset, "published", size) if size else None
            model = self._train(what + self._under, items, what, adapted=True, whole=True)
            role = curve_role(size)
            roles[f"{role}_learned"] = model
            for name, held_out in ((role, test), (granted_role(role), validation)):
                title = f"evaluate {self._on}, {what}{self._under}, seed {trial.seed}"
                options, parents = {**self._seed, "generate": False}, {"test": held_out, "model": model}
                roles[name] = self._build("evaluate", title, {"attacker": trial.attacker}, options, parents)
        return roles

    def _held(self, adapted: bool) -> dict[str, Stage]:
        """What the attacker trains on in every arm under a threat model: granted items, other material."""
        held: dict[str, Stage] = {
            name: self._loaded[name] for name in ("granted", "replacement") if name in self._loaded
        }
        if not adapted:
            return held
        return {name: self._adapting.preprocess(items, f"the {name} items") for name, items in held.items()}

    def _protect(self, trial: Trial, items: Stage, **stream: str) -> Stage:
        """Return protected items; for the clean control the items themselves, so that its arms are the clean ones."""
        if trial.defense.control.is_clean:
            return items
        parents, surrogates, expects = {"train": items}, trial.surrogates, trial.expects
        if trial.reference:
            surrogates, expects = (), ()
            parents["reference"] = self._protect(
                replace(trial, defense=trial.reference, reference=None), items, **stream
            )
        which = "granted items of " if stream else ""
        return self._build(
            "protect",
            f"protect {which}{self._protected_title(trial)}",
            {"defense": trial.defense, "surrogates": surrogates, "expects": expects},
            {**self._seed, "knowledge": NONE if trial.reference else trial.knowledge, **stream},
            parents,
        )

    def _pairs(self, protected: bool) -> tuple[Stage, Stage]:
        """Return the granted items for training, and what the trial's defense makes of them by other random numbers.

        Args:
            protected: Whether they are to tell of protected items; of clean ones, both are the clean ones.
        """
        clean = self._loaded["granted"]
        return clean, self._protect(self._trial, clean, stream="pairs") if protected else clean

    @staticmethod
    def _protected_title(trial: Trial) -> str:
        """Describe a protected set in a title: a defense makes another one for each attacker that it knows."""
        is_known = trial.reference is None and trial.knowledge == "white-box" and trial.surrogates
        against = f" against {trial.surrogates[0].title}" if is_known else ""
        return f"{trial.dataset.title} with {trial.row}{against}, seed {trial.seed}"

    def _audit(self, protected: Stage) -> Stage:
        """Return the audit: how audible the protection is and, for speech, what it does to its quality."""
        title = f"audit {self._protected_title(self._trial)}"
        options = {"version": AUDIT, "content": self._trial.dataset.traits.get("content", "")}
        return self._build("audit", title, {}, options, {"clean": self._loaded["train"], "protected": protected})

    def _mix(self, protected: Stage) -> Stage:
        """Return the published set where a share is protected: items that the seed draws, for every defense alike."""
        trial = self._trial
        if trial.share == 1 or trial.defense.control.is_clean:
            return protected
        title = f"mix {self._protected_title(trial)}"
        parents = {"train": self._loaded["train"], "protected": protected}
        return self._build("mix", title, {}, {**self._seed, "share": trial.share}, parents)

    def _remainder(self) -> Stage:
        """Return the items that a share leaves unprotected, the baseline for what the protected ones add."""
        trial = self._trial
        title = f"keep {self._described('remainder')} of {trial.dataset.title}, seed {trial.seed}"
        return self._build("mix", title, {}, {**self._seed, "share": trial.share}, {"train": self._loaded["train"]})

    def _learn(self, arm: Arm, items: Stage) -> Stage:
        name = self._trial.row if arm.train == "published" else "clean"
        published = arm.train == "published"
        return self._train(self._arm_title(arm), items, name, arm.adapted, arm.train == "remainder", published)

    def _train(
        self, title: str, items: Stage | None, name: str, adapted: bool, whole: bool, published: bool = False
    ) -> Stage:
        """Train the attacker on published items, if any; `whole`: with as many steps as all of them would take;
        `published`: what the trial publishes, and not clean items in its place.
        """
        trial, validation = self._trial, self._loaded["validation"]
        hooked: tuple[Part, ...] = ()
        if adapted:
            items = self._adapting.transform(items, name, published) if items else None
            hooked = self._adapting.hooked(with_items=items is not None)
            validation = self._adapting.preprocess(validation, "the validation set")
        parents = {"validation": validation, **self._held(adapted)}
        if items:
            parents = {"train": items, **parents}
        if whole or (items and items.task == "adapt"):
            parents["whole"] = self._loaded["train"]  # the optimiser must take as many steps as for the published set
        parts: Parts = {"attacker": trial.attacker, "adaptation": hooked}
        options = self._seed | ({"as_items": trial.threat.steps_as} if trial.threat and trial.threat.steps_as else {})
        return self._build("learn", f"learn {self._on}, {title}, seed {trial.seed}", parts, options, parents)

    def _evaluate(self, arm: Arm, model: Stage | None, clean_model: Stage) -> Stage:
        trial, test = self._trial, self._loaded["test"]
        if arm.adapted:
            test = self._adapting.preprocess(test, "the test set")
        parents = {"test": test}
        if model:
            parents["model"] = model
        elif "prior" in trial.attacker.hooks:
            parents["train"] = self._loaded["train"]
        if model is clean_model and test is self._loaded["test"] and "validity" in trial.attacker.hooks:
            # The attacker's validity checks compare the clean arm with the untrained one in this stage.
            parents["untrained"] = self._evaluate(UNTRAINED, None, clean_model)
        title = f"evaluate {self._on}, {self._arm_title(arm)}, seed {trial.seed}"
        return self._build("evaluate", title, {"attacker": trial.attacker}, self._seed, parents)

    def _evaluate_granted(self, arm: Arm, model: Stage) -> Stage:
        """The quality on the granted items by which the attacker chooses among its responses."""
        trial, items = self._trial, self._loaded["validation"]
        if arm.adapted:
            items = self._adapting.preprocess(items, "the validation set")
        title = f"evaluate {self._on} on granted items, {self._arm_title(arm)}, seed {trial.seed}"
        options = {**self._seed, "generate": False}
        return self._build("evaluate", title, {"attacker": trial.attacker}, options, {"test": items, "model": model})

    def _compare(self, published: Stage) -> Stage:
        trial = self._trial
        title = f"compare what {trial.attacker.title} reads, {trial.row}{self._under}, seed {trial.seed}"
        sets = {
            "clean": self._adapting.transform(self._loaded["train"], "clean"),
            "protected": self._adapting.transform(published, trial.row, published=True),
        }
        return self._build("compare", title, {"attacker": trial.attacker}, {}, sets)

    def _memorise(self, role: str, model: Stage | None) -> Stage:
        """What a model knows of the published items as they were before protection, and of unpublished ones."""
        trial = self._trial
        parents = {"published": self._loaded["train"], "unpublished": self._loaded["test"]}
        if model:
            parents["model"] = model
        elif "prior" in trial.attacker.hooks:
            parents["train"] = self._loaded["validation"]  # what is counted must not be the published items
        name = {"protected": trial.row + self._under, curve_role(0): f"nothing published{self._under}"}.get(role, role)
        title = f"measure what {self._on} memorised, {name}, seed {trial.seed}"
        options = {**self._seed, "version": MEMORISE}
        return self._build("memorise", title, {"attacker": trial.attacker}, options, parents)

    def _arm_title(self, arm: Arm) -> str:
        """Describe an arm in a title: its training set and its adaptation."""
        return self._described(arm.train) + (self._under if arm.adapted else "")

    def _described(self, items: TrainingSet | None) -> str:
        if items == "published":
            return self._trial.row
        if items == "remainder":
            return f"the rest of {100 * float(self._trial.share):g}%"
        return items or "untrained"
