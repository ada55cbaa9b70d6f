// Where shapes go when several alarms stand at one place: the more urgent keeps it, the others step aside. Pure.

export interface Place {
  x: number;
  y: number;
  size: number;
  /** Width of a text beside it; 0 for none. */
  label: number;
}
export interface Placed extends Place {
  from: { x: number; y: number };
  /** Where its text begins, ends or has its middle; null if there is no room for it. */
  text: { x: number; y: number; anchor: 'start' | 'middle' | 'end' } | null;
}
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const STEPS = 12;
const RINGS = 7;

export function arrange(places: readonly Place[], bounds: Box, gap: number): Placed[] {
  const taken: Box[] = [];
  return places.map((place) => {
    const spot = free(place, taken, bounds, gap);
    taken.push(box(spot.x, spot.y, place.size));
    // Its text at once: the figure of what is urgent is worth more than the exact place of what is not.
    const text = place.label ? beside({ ...place, ...spot }, taken, bounds, gap) : null;
    return { ...place, ...spot, from: { x: place.x, y: place.y }, text };
  });
}

function beside({ x, y, size, label }: Place, taken: Box[], bounds: Box, gap: number): Placed['text'] {
  const edge = size / 2 + gap;
  const high = size * 0.5;
  const choices = [
    { anchor: 'start', x: x + edge, y, left: x + edge },
    { anchor: 'end', x: x - edge, y, left: x - edge - label },
    { anchor: 'middle', x, y: y - size / 2 - high / 2, left: x - label / 2 },
    { anchor: 'middle', x, y: y + size / 2 + high / 2, left: x - label / 2 },
  ] as const;
  for (const { left, ...text } of choices) {
    const area = { left, right: left + label, top: text.y - high / 2, bottom: text.y + high / 2 };
    if (inside(area, bounds) && !taken.some((other) => overlap(area, other, 0))) {
      taken.push(area);
      return text;
    }
  }
  return null;
}

function free(place: Place, taken: readonly Box[], bounds: Box, gap: number): { x: number; y: number } {
  for (let ring = 0; ring <= RINGS; ring++) {
    const radius = ring * (place.size * 0.6 + gap);
    for (let step = 0; step < (ring ? STEPS : 1); step++) {
      const angle = (2 * Math.PI * step) / STEPS;
      const spot = { x: place.x + radius * Math.cos(angle), y: place.y + radius * Math.sin(angle) };
      const area = box(spot.x, spot.y, place.size);
      if (inside(area, bounds) && !taken.some((other) => overlap(area, other, gap / 2))) return spot;
    }
  }
  return { x: place.x, y: place.y };
}

const box = (x: number, y: number, size: number): Box => ({
  left: x - size / 2,
  right: x + size / 2,
  top: y - size / 2,
  bottom: y + size / 2,
});
const inside = (a: Box, b: Box) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
const overlap = (a: Box, b: Box, gap: number) =>
  a.left < b.right + gap && a.right > b.left - gap && a.top < b.bottom + gap && a.bottom > b.top - gap;
