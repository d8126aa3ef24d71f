"""The gate in front of a release: an artifact is verified, held against a policy, and what was found is kept.

    policy     what the release is held to, from a TOML file
    facts      what the artifact is: its kind, its size, its sum
    running    the run: the artifact verified on all the inputs of the policy, in a process of its own
    checks     one thing that was looked at, and what came of it; the result of them all
    verdict    the report, held against the policy
    waivers    what passes for a time although it fails
    growth     the report, held against the record of the last release
    record     what an auditor needs to see that a file is the one that was verified, and how
    files      what a run writes: whole or not at all, and never beside what an earlier run has left
    junit, markdown, page      the result as others read it

What is measured is in the report (`parity.report`); nothing here measures anything.
"""
