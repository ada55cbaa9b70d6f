// Octagon 1, triangle 2, diamond 3, circle 4: a priority is told by shape, digit, word and colour, never by one alone.
import { nothing, svg, type SVGTemplateResult } from 'lit';
import type { Alarm, Priority } from '../protocol.ts';

const BODIES: Record<Priority, string> = {
  1: 'M31 5H69L95 31V69L69 95H31L5 69V31Z',
  2: 'M50 7 96 91H4Z',
  3: 'M50 3 97 50 50 97 3 50Z',
  4: 'M50 6a44 44 0 1 0 .01 0Z',
};
/** Where the digit's baseline lies: a triangle is heavy at its foot. */
const BASELINE: Record<Priority, number> = { 1: 68, 2: 82, 3: 68, 4: 68 };

export interface Look {
  hollow?: boolean;
  unknown?: boolean;
  flashing?: boolean;
  returned?: boolean;
  /** No alarm of this priority: grey outline. */
  quiet?: boolean;
  /** The white ring of an unacknowledged P1, for eyes to which red is dull. */
  ring?: boolean;
  /** Another text than the digit, such as the letter of a row. */
  label?: string;
}

export function lookOf(alarm: Pick<Alarm, 'state' | 'condition' | 'priority'>): Look {
  return {
    hollow: alarm.state !== 'UNACKED',
    unknown: alarm.condition === 'unknown',
    flashing: alarm.state === 'UNACKED' || alarm.state === 'RETURNED',
    returned: alarm.state === 'RETURNED',
    ring: alarm.priority === 1 && alarm.state === 'UNACKED',
  };
}

const classes = (look: Look) =>
  ['shape', look.hollow && 'hollow', look.unknown && 'unknown', look.flashing && 'flashing', look.returned && 'returned', look.quiet && 'quiet']
    .filter(Boolean)
    .join(' ');

const inner = (priority: Priority, look: Look): SVGTemplateResult => svg`
  ${look.flashing ? svg`<rect class="outline" x="-14" y="-14" width="128" height="128"></rect><rect class="outline" x="-6" y="-6" width="112" height="112"></rect>` : nothing}
  <path class="body" d=${BODIES[priority]}></path>
  ${look.ring ? svg`<path class="ring" d=${BODIES[1]}></path>` : nothing}
  <text x="50" y=${BASELINE[priority]}>${look.label ?? priority}</text>`;

/** A shape as an element of its own; its size comes from its class or parent. */
export const shape = (priority: Priority, look: Look = {}): SVGTemplateResult => svg`
  <svg class="${classes(look)} p${priority}" viewBox="0 0 100 100" aria-hidden="true"
    data-testid="shape" data-flashing=${look.flashing ? 'true' : 'false'}>${inner(priority, look)}</svg>`;

/** A shape within a drawing, `size` wide and centred on its place. */
export const shapeAt = (priority: Priority, look: Look, x: number, y: number, size: number): SVGTemplateResult => svg`
  <g transform="translate(${x - size / 2} ${y - size / 2}) scale(${size / 100})">
    <g class="${classes(look)} p${priority}" data-testid="map-shape" data-flashing=${look.flashing ? 'true' : 'false'}>${inner(priority, look)}</g>
  </g>`;

export const clockIcon = (): SVGTemplateResult => svg`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round">
    <circle cx="12" cy="12" r="9"></circle><path d="M12 7v5l3.5 2"></path>
  </svg>`;
