"""Whether a contender saw more than was counted: audits, at two prices.

Every run pays for what is nearly free: `declared` before `fit` (what a contender may be) and `recounted` after the
rollout (its selections, replayed and judged in a process that never imported it). They find mistakes and plain
cheats. Code that runs in one process with its judge can change that process, so they prove nothing.

An audit (`audit`, the command `glimpse audit`) does. The contender's code runs in processes of its own: `fit` where
the test images are absent, `act` and `predict` in two more, made from weights and settings alone. Images, labels and
counters are here, where no code of the contender's is imported, so that a gated agent sees what the env returns and
nothing else, whatever its code does. What remains is asked of `predict` in experiments (`invariances`) and by a judge
that cannot read what a mask says (`decoupled`).

| module | what is in it |
|---|---|
| `declaration` | what a contender says of itself, read once, and the rules for it |
| `processes` | another process that speaks arrays over pipes, without pickle; and a folder it cannot leave |
| `recount` | the process that replays and judges selections for every run |
| `rooms` | the processes in which a contender's own code runs during an audit |
| `invariances` | what must not change a prediction, and how often it does |
| `decoupled` | a judge fine-tuned on this contender's masks paired with other images |
| `verdict` | figures and limits, and what follows from them |
| `audits` | an audit of one run, from its record to `audit.json` |
"""
