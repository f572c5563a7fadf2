"""Every recorded run, by the name of its file."""

from types import ModuleType

from tests import recorded_programs
from tests.recorded import (
    bounds,
    duty,
    effects,
    first,
    flow,
    keeping,
    models,
    past,
    people,
    snippets,
    trusted,
    values,
)
from tests.recorded.recording import Recording

MODULES: tuple[ModuleType, ...] = (
    flow,
    effects,
    models,
    bounds,
    values,
    snippets,
    keeping,
    people,
    trusted,
    duty,
    past,
)
RECORDINGS: dict[str, Recording] = {
    recording.name: recording for module in (first, *MODULES) for recording in module.RECORDINGS
}
PROGRAMS: dict[str, ModuleType] = {
    **{recording.name: recorded_programs for recording in first.RECORDINGS},
    **{recording.name: module for module in MODULES for recording in module.RECORDINGS},
}
