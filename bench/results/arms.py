"""The arms of a trial: the models whose quality on the same held-out items the score compares."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ARMS", "AUDIT", "CLEAN_SET", "PROTECTED_SET", "SCORED", "TRAINED", "Arm", "curve_role", "granted_role",
    "is_clean_role", "memorised_role",
]  # fmt: skip

# Stages of a record beside those of its arms: the published items before and after protection, and its audit.
CLEAN_SET = "clean_set"
PROTECTED_SET = "protected_set"
AUDIT = "audit"


class Arm(StrEnum):
    """One arm. Its value names its evaluation among the stages of a record, and its qualities there."""

    CLEAN = "clean"  # trained on the data as it is, without adaptation: the reference of the score
    PROTECTED = "protected"  # trained on the protected data, under the adaptation
    UNTRAINED = "untrained"  # the model as it comes, or what single symbols are worth
    CLEAN_ADAPTED = "clean_adapted"  # trained on the data as it is, under the adaptation
    REMAINDER = "remainder"  # trained on the items that a share leaves unprotected, alone

    @property
    def learned(self) -> str:
        """The name of the trained model among the stages of a record."""
        return f"{self}_learned"


ARMS = tuple(Arm)
SCORED = (Arm.CLEAN, Arm.PROTECTED, Arm.UNTRAINED)  # every trial with a result has these
TRAINED = (Arm.CLEAN, Arm.PROTECTED, Arm.CLEAN_ADAPTED, Arm.REMAINDER)


def curve_role(size: int | str) -> str:
    """Return the role of the evaluation of a smaller clean set; with "_learned" behind it, of its model."""
    return f"{Arm.CLEAN}_{size}"


def is_clean_role(role: str) -> bool:
    """Return whether a role of a record is about a model that was trained on clean items or on none of them."""
    return role != CLEAN_SET and (role == Arm.CLEAN or role.startswith(curve_role("")))


def granted_role(role: str) -> str:
    """Return the role of an arm's evaluation on the granted items that choose."""
    return f"{role}_granted"


def memorised_role(role: str) -> str:
    """Return the role of the measurement of what an arm's model, or one of the clean curve, memorised."""
    return f"{role}_memorised"
