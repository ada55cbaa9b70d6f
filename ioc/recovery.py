"""From a log to the state it means: the newest sound checkpoint, then every record after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from ioc.errors import LogDamaged, LogError
from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Outcome, Transition
from ioc.model.batch import DERIVED
from ioc.pack import Pack, cache_of
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
    derived: list[Batch] = field(default_factory=list)
    """Samples of derived series that the log may lack; those that it has are recognised as repeats."""


def load_packs(store: SqliteLog) -> Callable[[str], Pack]:
    """Packs by hash, from the log's blobs, each built once."""
    cache: dict[str, Pack] = {}

    def load(digest: str) -> Pack:
        if digest not in cache:
            blob = store.blob(digest)
            if blob is None:
                raise LogError(f"the log names the pack {digest[:12]}… but does not hold it")
            cache[digest] = Pack.from_blob(blob, cache_of(store.folder.parent))
        return cache[digest]

    return load


def recover(
    store: SqliteLog, on_outcome: Callable[[Outcome], None] | None = None, *, whole: bool = False
) -> Recovered:
    """The state as of the log's last record. With `whole`, from the first record and no checkpoint.

    Raises LogDamaged at the record that is missing or wrong.
    """
    pipeline = Pipeline(load_packs(store)) if whole else _restored(store)
    start = pipeline.last_number
    recovered = Recovered(pipeline, start)
    known = dict(store.outputs(pipeline.emitted))
    earlier: list[Batch] = []
    for record in store.read(start):
        seq = pipeline.emitted
        outcome = pipeline.feed(record)
        recovered.replayed += 1
        if isinstance(record.body, Batch) and record.body.source == DERIVED:
            # What records of its own commit made is in the next one.
            earlier, recovered.derived = recovered.derived, []
        recovered.derived += outcome.derived
        for transition in outcome.transitions:
            seq += 1
            stands = known.get(seq)
            if stands is None:
                recovered.pending.append(transition)
            elif stands != transition:
                recovered.differing.append(transition)
        if on_outcome is not None:
            on_outcome(outcome)
    recovered.derived = earlier + recovered.derived
    if pipeline.last_number != store.last_number:
        raise LogDamaged(pipeline.last_number + 1, "is missing")
    if recovered.differing:
        log.warning(
            "this build derives transitions differently than they were journalled; the journal stands",
            count=len(recovered.differing),
            first=recovered.differing[0].id,
        )
    return recovered


def sound_states(folder: Path) -> Iterator[dict[str, Any]]:
    """The states of the checkpoints, newest first; a damaged one is passed over, aloud."""
    for number, path in checkpoint.latest(folder):
        try:
            _, state = checkpoint.load(path)
        except LogDamaged as error:
            log.warning("checkpoint passed over", number=number, reason=str(error))
            continue
        yield state


def _restored(store: SqliteLog) -> Pipeline:
    """A pipeline at the newest checkpoint that can be restored, or at the beginning.

    Raises LogDamaged where a checkpoint knows of records that the log has not: some are missing.
    """
    packs = load_packs(store)
    for state in sound_states(store.folder):
        number = state["facts"]["number"]
        if number > store.last_number:
            raise LogDamaged(
                store.last_number + 1, f"is missing: there is a checkpoint of the state after record {number}"
            )
        pipeline = Pipeline(packs)
        try:
            pipeline.restore(state)
        except LogError:
            raise
        except Exception as error:
            log.error("checkpoint passed over: it cannot be restored", number=number, exc_info=error)
            continue
        return pipeline
    return Pipeline(packs)
