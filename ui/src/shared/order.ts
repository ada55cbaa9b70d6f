// The order of alarms, the same everywhere: who waits first, then priority, then the longest waiting.
import { isWaiting, type Alarm, type Priority } from '../protocol.ts';

export function byUrgency(a: Alarm, b: Alarm): number {
  return (
    Number(!isWaiting(a)) - Number(!isWaiting(b)) ||
    a.priority - b.priority ||
    (a.raised_at < b.raised_at ? -1 : a.raised_at > b.raised_at ? 1 : 0) ||
    (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
  );
}

export interface Slots {
  /** The alarms that have a row, in order. */
  readonly rows: readonly Alarm[];
  readonly rest: readonly Alarm[];
  /** How many of the rest there are of each priority, worst first, without zeros. */
  readonly restCounts: readonly (readonly [Priority, number])[];
}

export function slots(alarms: Iterable<Alarm>, count: number): Slots {
  const sorted = [...alarms].sort(byUrgency);
  const rest = sorted.slice(count);
  const tally = new Map<Priority, number>();
  for (const alarm of rest) tally.set(alarm.priority, (tally.get(alarm.priority) ?? 0) + 1);
  return { rows: sorted.slice(0, count), rest, restCounts: [...tally].sort(([a], [b]) => a - b) };
}

/** A, B … Z, AA, AB …: the name of a row on list and map. */
export function letter(index: number): string {
  const last = String.fromCharCode(65 + (index % 26));
  return index < 26 ? last : letter(Math.floor(index / 26) - 1) + last;
}

/** What the banner shows: the most urgent alarm that still goes on unacknowledged, else one that has returned. */
export function topWaiting(alarms: Iterable<Alarm>): { top: Alarm | null; others: number } {
  const waiting = [...alarms].filter(isWaiting).sort(byUrgency);
  const top = waiting.find(({ state }) => state === 'UNACKED') ?? waiting[0] ?? null;
  return { top, others: waiting.filter(({ priority, id }) => priority === top?.priority && id !== top.id).length };
}
