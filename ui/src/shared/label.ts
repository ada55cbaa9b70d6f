// Where the name of a limit may stand in a chart without lying on the curve. Pure.

export interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export const overlap = (a: Box, b: Box): boolean => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** How much of a box's width a curve takes: all of it where it runs along, little where it crosses steeply. */
export function covered(box: Box, xs: readonly number[], ys: readonly (number | null)[]): number {
  let sum = 0;
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = [xs[i]!, ys[i] ?? null];
    if (y === null) continue;
    // Before a hole a value counts as a line to itself.
    const next = ys[i + 1] ?? null;
    const [dx, dy] = next === null ? [0, 0] : [xs[i + 1]! - x, next - y];
    const [fromX, toX] = within(x, dx, box.left, box.right);
    const [fromY, toY] = within(y, dy, box.top, box.bottom);
    const share = Math.min(toX, toY) - Math.max(fromX, fromY);
    // Even a line straight down is in the way.
    if (share >= 0) sum += share * dx + 1;
  }
  return sum;
}

/** Which part of a step from `at` by `by` lies between two bounds, as shares of the step. */
function within(at: number, by: number, low: number, high: number): [number, number] {
  if (by === 0) return at >= low && at <= high ? [0, 1] : [1, -1];
  const [a, b] = [(low - at) / by, (high - at) / by];
  return [Math.max(0, Math.min(a, b)), Math.min(1, Math.max(a, b))];
}

/** The box that the curve takes least of; of equals the first. */
export function clearest(boxes: readonly Box[], xs: readonly number[], ys: readonly (number | null)[]): Box | undefined {
  let best: Box | undefined;
  let least = Infinity;
  for (const box of boxes) {
    const taken = covered(box, xs, ys);
    if (taken < least) [best, least] = [box, taken];
    if (least === 0) break;
  }
  return best;
}
