"""How models learn and how noise is crafted against them: what attackers, adaptations and defenses share."""
