// One series over time for a chart: what to draw, what not to, and how much of the axis to show. Pure.
import type { Limit } from '../protocol.ts';

const BAD = 2;
const FUTURE = 2048;
/** How much history a wall's card shows at most. */
export const WINDOW_MAX_MS = 6 * 3_600_000;
const WINDOWS_MS = [2 * 60_000, 5 * 60_000, 10 * 60_000, 30 * 60_000, 3_600_000, 3 * 3_600_000, WINDOW_MAX_MS] as const;
const GAP_INTERVALS = 3;

export type Sample = readonly [t: number, value: number | null, flags: number];

export class Trend {
  #samples: Sample[] = [];

  get samples(): readonly Sample[] {
    return this.#samples;
  }

  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  /** History from the server; what came live meanwhile and is newer stays. */
  load(history: readonly Sample[]): void {
    const end = history.at(-1)?.[0] ?? -Infinity;
    this.#samples = [...history, ...this.#samples.filter(([t]) => t > end)];
  }

  /** A live value. A stamp that is known is revised; one behind the newest finds its place. */
  add(sample: Sample): void {
    const samples = this.#samples;
    let at = samples.length;
    while (at > 0 && samples[at - 1]![0] > sample[0]) at--;
    if (at > 0 && samples[at - 1]![0] === sample[0]) samples[at - 1] = sample;
    else samples.splice(at, 0, sample);
  }

  prune(before: number): void {
    const keep = this.#samples.findIndex(([t]) => t >= before);
    // One point to the left of the axis, so that the line begins at its edge.
    if (keep > 1) this.#samples.splice(0, keep - 1);
    else if (keep < 0 && this.#samples.length > 1) this.#samples.splice(0, this.#samples.length - 1);
  }
}

/** Columns for uPlot, in seconds. A silence of more than three intervals and a bad value are holes, never lines. */
export function columns(samples: readonly Sample[], interval_s: number | null): [number[], (number | null)[]] {
  const xs: number[] = [];
  const ys: (number | null)[] = [];
  const gap = interval_s === null ? Infinity : interval_s * GAP_INTERVALS * 1000;
  let before: number | null = null;
  for (const [t, value, flags] of samples) {
    if (before !== null && t - before > gap) {
      xs.push((before + t) / 2000);
      ys.push(null);
    }
    xs.push(t / 1000);
    ys.push((flags & (BAD | FUTURE)) !== 0 ? null : value);
    before = t;
  }
  return [xs, ys];
}

/** The shortest of the usual lengths that holds everything there is to see. */
export function windowFor(earliest: number | null, now: number): number {
  const span = earliest === null ? 0 : now - earliest;
  return WINDOWS_MS.find((length) => span <= length) ?? WINDOW_MAX_MS;
}

/** The limits worth drawing: the worst that something shown has passed, and the next one on. More would be clutter. */
export function limitsShown(limits: readonly Limit[], low: number, high: number): readonly Limit[] {
  const up = limits.filter(({ direction }) => direction !== 'down').sort((a, b) => a.limit - b.limit);
  const down = limits.filter(({ direction }) => direction === 'down').sort((a, b) => b.limit - a.limit);
  const take = (sorted: Limit[], passed: (limit: number) => boolean) => {
    const next = sorted.findIndex(({ limit }) => !passed(limit));
    return next < 0 ? sorted.slice(-1) : sorted.slice(Math.max(0, next - 1), next + 1);
  };
  return [...take(up, (limit) => limit <= high), ...take(down, (limit) => limit >= low)];
}

/** The value axis: data and shown limits with a little air, and never thinner than the instrument can tell apart. */
export function rangeFor(
  values: readonly (number | null)[],
  limits: readonly Limit[],
  resolution: number | null,
): { min: number; max: number; shown: readonly Limit[] } {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return { min: 0, max: 1, shown: [] };
  const shown = limitsShown(limits, low, high);
  for (const { limit } of shown) {
    low = Math.min(low, limit);
    high = Math.max(high, limit);
  }
  const least = (resolution ?? 0) * 20 || Math.abs(high) * 0.02 || 1;
  if (high - low < least) {
    const middle = (high + low) / 2;
    [low, high] = [middle - least / 2, middle + least / 2];
  }
  const air = (high - low) * 0.1;
  return { min: low - air, max: high + air * 1.6, shown };
}
