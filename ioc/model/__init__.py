"""The nouns. Pure values; everything else imports them and they import nothing of ours."""

from ioc.model.alarm import Alarm, Condition, State, Step, Transition, alarm_id, transition_id
from ioc.model.batch import NOT_JUDGED, NOT_STORED, Batch, Flag
from ioc.model.change import Change, ChangeKind
from ioc.model.command import (
    COMMAND_TYPES,
    COMMANDS,
    Acknowledge,
    AddToken,
    Answer,
    Command,
    RemoveUser,
    RevokeToken,
    Role,
    SetUser,
    Verdict,
)
from ioc.model.inputs import (
    PAYLOAD_KEPT_BYTES,
    Body,
    Input,
    Message,
    PackLoaded,
    Reason,
    Rejected,
    SeriesAdded,
    SourceState,
    SystemFact,
    Tick,
)
from ioc.model.outcome import Outcome
from ioc.model.text import Text

__all__ = [
    "COMMANDS",
    "COMMAND_TYPES",
    "NOT_JUDGED",
    "NOT_STORED",
    "PAYLOAD_KEPT_BYTES",
    "Acknowledge",
    "AddToken",
    "Alarm",
    "Answer",
    "Batch",
    "Body",
    "Change",
    "ChangeKind",
    "Command",
    "Condition",
    "Flag",
    "Input",
    "Message",
    "Outcome",
    "PackLoaded",
    "Reason",
    "Rejected",
    "RemoveUser",
    "RevokeToken",
    "Role",
    "SeriesAdded",
    "SetUser",
    "SourceState",
    "State",
    "Step",
    "SystemFact",
    "Text",
    "Tick",
    "Transition",
    "Verdict",
    "alarm_id",
    "transition_id",
]
