"""The judge: fit, rollout, score, record; then tables and figures from the records and nothing else."""
