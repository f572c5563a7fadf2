"""What encloses a piece of program code: its persona, its model, its policy and its budgets.

Hangs on the scope, so that every task has what encloses the place where it was
spawned, however long it lives: what a step puts around its code goes when the
code goes, and not when somebody catches an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from playhead.events.words import PolicyWords
from playhead.policy.capability import Policy
from playhead.sign import Keys

if TYPE_CHECKING:
    from playhead.runtime.hook import Hooks
    from playhead.runtime.purse import Purse
    from playhead.runtime.stage import Stages


class Around(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What encloses some code. `policy` None is no policy; `purse` is the innermost budget.

    `agents` are the personas whose code called this one, outermost first, also those of runs around it.
    `depth` is how many runs lie around this one; with `reviewer_keys` only signed answers of people count.
    """

    persona: str = ""
    step: str | None = None
    hooks: Hooks | None = None
    stages: Stages | None = None
    model: str | None = None
    policy: Policy | None = None
    purse: Purse | None = None
    depth: int = 0
    reviewer_keys: Keys = {}
    agents: tuple[str, ...] = ()

    @property
    def enclosing(self) -> tuple[str, ...]:
        """The agents that enclose whoever is called from here, outermost first, each once."""
        return tuple(dict.fromkeys((*self.agents, self.persona))) if self.persona else self.agents

    @property
    def policy_words(self) -> PolicyWords | None:
        """The policy as it is recorded."""
        return None if self.policy is None else self.policy.document()

    def narrowed(self, by: Policy) -> Policy:
        """The policy inside, where `by` is put around it as well."""
        return by if self.policy is None else self.policy.narrowed(by)


NOTHING = Around()
"""Nothing encloses it."""
