"""Catalogue entries of the flow nodes. The runtime itself executes them; see docs/architecture.md."""

from requisition.stdlib.spec import ActionSpec, Output, Slot

_MESSAGE = (Slot("message", "string", "what to tell the person who applies", required=False, default=""),)

FLOW_ACTIONS: tuple[ActionSpec, ...] = (
    ActionSpec(
        "flow.gather",
        "Run a body once for each item.",
        (
            Slot("items", "any", "list of items, known now or made by a node"),
            Slot("body", "string", "phase to run with each item"),
            Slot("limit", "int", "how many at a time; 0: as many as --jobs", required=False, default=0),
        ),
        (Output("results", "any", "what each run of the body gave, in order of items"),),
        effect="outside",
        blocking=True,
    ),
    ActionSpec(
        "flow.choose",
        "Run the first branch whose condition holds.",
        (
            Slot("input", "any", "what the conditions look at", required=False),
            Slot("cases", "any", "conditions and the phases to run"),
            Slot("default", "string", "phase to run when none holds", required=False, default=""),
        ),
        (Output("result", "any", "what the branch gave"),),
        effect="outside",
        blocking=True,
    ),
    ActionSpec(
        "flow.wait_until",
        "Poll until a condition holds.",
        (
            Slot("input", "any", "node to repeat", required=False),
            Slot("body", "string", "phase to run at each poll", required=False, default=""),
            Slot("until", "any", "the condition"),
            Slot("timeout", "duration", "give up after this", required=False, default=60_000),
            Slot("interval", "duration", "pause between polls", required=False, default=5_000),
        ),
        (Output("result", "any", "the value for which the condition held"),),
        effect="outside",
        blocking=True,
    ),
    ActionSpec("flow.complete", "End the run here, successfully.", _MESSAGE, effect="outside", blocking=True),
    ActionSpec("flow.degraded", "End the run here, as good as it gets.", _MESSAGE, effect="outside", blocking=True),
    ActionSpec("flow.fatal", "End the run as failed and take it back.", _MESSAGE, effect="outside", blocking=True),
)
