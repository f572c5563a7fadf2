"""What encloses a piece of program code: its persona, its model, its policy and its budgets.

Hangs on the scope, so that every task has what encloses the place where it was
spawned, however long it lives: what a step puts around its code goes when the
code goes, and not when somebody catches an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from playhead.events.values import encode_value
from playhead.policy.capability import Policy

if TYPE_CHECKING:
    from playhead.runtime.purse import Purse
    from playhead.runtime.stage import Stages


class Around(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What encloses some code. `policy` None is no policy; `purse` is the innermost budget.

    `depth` is how many runs lie around this one.
    """

    persona: str = ""
    stages: Stages | None = None
    model: str | None = None
    policy: Policy | None = None
    purse: Purse | None = None
    depth: int = 0

    def narrowed(self, by: Policy) -> Policy:
        """The policy inside, where `by` is put around it as well."""
        return by if self.policy is None else self.policy.narrowed(by)


def raw_policy(policy: Policy) -> Raw:
    """A policy as it is recorded."""
    return Raw(encode_value(policy.document(), where="policy", plain=True, ordered=True))


NOTHING = Around()
"""Nothing encloses it."""
