"""torch.compile on every NVIDIA GPU: Inductor is offered our candidates and keeps our winners. docs/inductor.md tells.

`switch` holds Inductor's front door; `coverage` says what a compile is for; `choices` answers Inductor's questions with
the plans of `plan`, which a `session` keeps; `learning` makes records of what was measured. Only `_compat` touches what
torch keeps private.
"""
