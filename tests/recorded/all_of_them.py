"""Every recorded run, by the name of its file."""

from types import ModuleType

from tests import recorded_programs
from tests.recorded import bounds, effects, first, flow, models
from tests.recorded.recording import Recording

MODULES: tuple[ModuleType, ...] = (flow, effects, models, bounds)
RECORDINGS: dict[str, Recording] = {
    recording.name: recording for module in (first, *MODULES) for recording in module.RECORDINGS
}
PROGRAMS: dict[str, ModuleType] = {
    **{recording.name: recorded_programs for recording in first.RECORDINGS},
    **{recording.name: module for module in MODULES for recording in module.RECORDINGS},
}
