"""The corpus: which contender is caught by what, and which are honest."""

from __future__ import annotations

from typing import Any

RULES, RECOUNT = "rules", "recount"
"""What every run pays for: a contender that is refused before it is run, and a run that ends as failed."""

CAUGHT: dict[str, str] = {
    "gated_view": RULES,
    "gated_observation": RULES,
    "small_print": RULES,
    "few_values": RULES,
    "patched_counters": RECOUNT,
    "overwritten_judge": RECOUNT,
    "growing_budgets": RECOUNT,
    "label_frames": "record_own",
    "label_gc": "record_own",
    "patched_canvas": "record_own",
    "patched_rollout": "record_own",
    "patched_judge": "record_judge",
    "features_kept": "record_own",
    "other_records": "record_own",
    "data_files": "record_own",
    "memorised": "record_own",
    "source_table": "placed_anew",
    "batch_statistics": "other_rows",
    "asked_before": "asked_again",
    "label_place": "own_less_decoupled",
    "label_order": "own_less_decoupled",
    "label_count": "own_less_decoupled",
    "fixation_digits": "rounded",
    "value_digits": "noise",
}
"""Cheat → the check that must flag it; others may, too."""
NOT_CAUGHT = ("judge_picked",)
"""Cheats that pass: what they gain is real to this judge. A judge that nobody knows would tell."""
RANDOM = {"predictor_init": "random", "predictor_lr": 1.5e-2}
"""Predictors that begin from random weights, so that no reader of the task is needed."""
HONEST: dict[str, dict[str, Any]] = {
    "center": RANDOM | {"predictor_steps": 200},
    "uniform": RANDOM | {"predictor_steps": 200, "glimpses": 8},
    "cheats.brightness": {"predictor_steps": 200},
    "cheats.follows_light": {"predictor_steps": 200},
    "straight_through": RANDOM | {"selector_steps": 200, "predictor_steps": 300},
    "ram": RANDOM | {"policy_steps": 200, "predictor_steps": 200},
    "dham": {"steps": 200},
}
"""Contender → settings: fixed, random, open, gated in a closed loop, and learned ones."""
