"""The table of what models memorised of the published items, beside learning denied, which is of held-out ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.results.formats import number
from bench.results.memorisation import Estimate, chance, memorisation
from bench.results.names import response_name
from bench.results.record import Record

__all__ = ["MEANING", "memorisation_table"]

MEANING = (
    "How much better the attacker knows the *clean originals* of the published items than unpublished items like them, "
    "after learning from the protected ones; the score asks what it learned for held-out items instead. Each seed "
    "draws some items of both kinds, means ± standard errors over items and seeds. Log-likelihoods count less those by "
    "a model that saw none of the items (under a threat model that of the granted items alone, else the untrained "
    "one). *Gap*: that of the continuation of published items after what comes before, minus that of unpublished "
    "items, in nats a token or note: 0, nothing was memorised. *Exposure* (Carlini et al. 2019): log2 of the number of "
    "candidate continuations minus log2 of the rank of the true one among them, in bits. The other candidates are of "
    "unpublished items."
)


def memorisation_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: a row for every defense, knowledge and response.

    Args:
        records: The records of a suite.

    Returns:
        The table; without rows where no attacker measures it.
    """
    bins: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        response = response_name(trial.attacker.label, trial.adaptation_label)
        bins[trial.dataset.label, trial.row, trial.knowledge, response].append(record)
    measured = [(key, found) for key, group in bins.items() if (found := memorisation(group))]
    body = [
        [
            *key,
            *(_text(each, "+.3f") for each in (found.clean_gap, found.gap)),
            *(_text(each, ".2f") for each in (found.clean_exposure, found.exposure, found.unpublished_exposure)),
            *(number(value, ".2f") for value in (chance(found.candidates), found.most_exposure)),
            str(found.seeds),
        ]
        for key, found in measured
    ]
    return [
        "data set", "defense", "knowledge", "response", "gap, clean", "gap, protected", "exposure, clean",
        "exposure, protected", "exposure of unpublished items", "by chance", "at most", "seeds",
    ], body  # fmt: skip


def _text(estimate: Estimate, form: str) -> str:
    """Format an estimate with its error."""
    return f"{number(estimate.mean, form)} ± {number(estimate.error, form.removeprefix('+'))}"
