"""From a log to the state it means: the newest sound checkpoint, then every record after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from ioc.errors import LogDamaged, LogError
from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.model import Outcome, Transition
from ioc.pack import Pack
from ioc.pipeline import Pipeline

log = structlog.get_logger()


@dataclass(slots=True)
class Recovered:
    """`pending` are the transitions that a crash kept out of `output`; `differing` those that stand there
    otherwise than this build derives them."""

    pipeline: Pipeline
    from_checkpoint: int
    replayed: int = 0
    pending: list[Transition] = field(default_factory=list)
    differing: list[Transition] = field(default_factory=list)


def load_packs(store: SqliteLog) -> Callable[[str], Pack]:
    """Packs by hash, from the log's blobs, each built once."""
    cache: dict[str, Pack] = {}

    def load(digest: str) -> Pack:
        if digest not in cache:
            blob = store.blob(digest)
            if blob is None:
                raise LogError(f"the log names the pack {digest[:12]}… but does not hold it")
            cache[digest] = Pack.from_blob(blob)
        return cache[digest]

    return load


def recover(
    store: SqliteLog, on_outcome: Callable[[Outcome], None] | None = None, *, whole: bool = False
) -> Recovered:
    """The state as of the log's last record. With `whole`, from the first record and no checkpoint.

    Raises LogDamaged at the record that is missing or wrong.
    """
    pipeline = Pipeline(load_packs(store))
    start = 0 if whole else _restore(store, pipeline)
    recovered = Recovered(pipeline, start)
    known = dict(store.outputs(pipeline.emitted))
    for record in store.read(start):
        seq = pipeline.emitted
        outcome = pipeline.feed(record)
        recovered.replayed += 1
        for transition in outcome.transitions:
            seq += 1
            stands = known.get(seq)
            if stands is None:
                recovered.pending.append(transition)
            elif stands != transition:
                recovered.differing.append(transition)
        if on_outcome is not None:
            on_outcome(outcome)
    if pipeline.last_number != store.last_number:
        raise LogDamaged(pipeline.last_number + 1, "is missing")
    if recovered.differing:
        log.warning(
            "this build derives transitions differently than they were journalled; the journal stands",
            count=len(recovered.differing),
            first=recovered.differing[0].id,
        )
    return recovered


def newest_state(folder: Path, last_number: int) -> dict[str, Any] | None:
    """The newest sound checkpoint that is not ahead of the log; a damaged one is passed over, aloud."""
    for number, path in checkpoint.latest(folder):
        if number > last_number:
            log.warning("checkpoint passed over: it is ahead of the log", number=number)
            continue
        try:
            _, state = checkpoint.load(path)
        except LogDamaged as error:
            log.warning("checkpoint passed over", number=number, reason=str(error))
            continue
        return state
    return None


def _restore(store: SqliteLog, pipeline: Pipeline) -> int:
    """Put the newest checkpoint into the pipeline; its number, or 0."""
    state = newest_state(store.folder, store.last_number)
    if state is None:
        return 0
    pipeline.restore(state)
    return pipeline.last_number
