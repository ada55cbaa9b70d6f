// The map: communes and river once as a bitmap, stations as dots over it, alarms as shapes with the letter of their row.
import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from 'lit';
import { createRef, ref } from 'lit/directives/ref.js';
import { geoArea, geoMercator, geoPath, type GeoProjection } from 'd3-geo';
import type { Alarm } from '../protocol.ts';
import { letter } from '../shared/order.ts';
import { lookOf, shapeAt } from '../shared/shapes.ts';
import { valueOf } from '../shared/words.ts';
import type { Wall } from './context.ts';
import { arrange, type Place } from './arrange.ts';
import type { Tour } from './overlays.ts';

/** Shapes on the map at most: beyond, the counts and the list tell. */
const SHAPES_MAX = 60;
/** The river's strokes, wide and faint before narrow and full: width in rem, opacity. */
const RIVER = [[1.7, 0.35], [1.2, 0.5], [0.7, 1]] as const;
/** Points between two of a river's line. */
const SMOOTH_STEPS = 8;

type Communes = GeoJSON.FeatureCollection;

export class MapView {
  readonly #wall: Wall;
  readonly #tour: Tour;
  readonly #canvas = createRef<HTMLCanvasElement>();
  readonly #base = document.createElement('canvas');
  #communes: Communes | null = null;
  #river: GeoJSON.GeoJSON | null = null;
  #projection: GeoProjection | null = null;
  #size = { width: 0, height: 0, left: 0, rem: 10 };
  #drawn = '';
  #observer = new ResizeObserver(() => this.#drawn = '');
  #observed: Element | null = null;

  constructor(wall: Wall, tour: Tour) {
    this.#wall = wall;
    this.#tour = tour;
  }

  load(map: { communes: Communes; river: GeoJSON.GeoJSON | null }): void {
    this.#communes = { ...map.communes, features: map.communes.features.map(drawable) };
    this.#river = map.river && smooth(map.river);
    this.#drawn = '';
  }

  template(): TemplateResult {
    const { t } = this.#wall;
    const blind = this.#blindStations().size;
    const tour = this.#tour.shown(this.#wall);
    return html`<section class="panel map ${tour ? 'touring' : ''}" aria-label=${t('wall.map')}>
      <div class="heading"><h2>${t('wall.map')}</h2>${this.#riverName()}<span data-testid="blind">${blind ? t('wall.map.blind', { n: blind }) : ''}</span></div>
      <div class="field">
        <canvas role="img" aria-label=${t('wall.map.label', { communes: this.#communes?.features.length ?? 0, stations: this.#wall.stations.length })} ${ref(this.#canvas)}></canvas>
        <svg class="signs" aria-hidden="true">${this.#signs()}</svg>
        ${tour ? this.#tour.template(this.#wall) : nothing}
      </div>
      ${legend(this.#wall)}
    </section>`;
  }

  /** The legend's line below is full; what the band is called stands above. */
  #riverName(): TemplateResult | typeof nothing {
    const river = this.#river;
    const { name, nameEn } = (river?.type === 'FeatureCollection' ? river.features[0]?.properties : null) ?? {};
    const text = (this.#wall.settings.lang === 'en' && nameEn) || name;
    return text ? html`<span class="water">${svg`<svg viewBox="0 0 30 20"><path d="M3 13c8-10 16 4 24-6"></path></svg>`}${text}</span>` : nothing;
  }

  /** After the template is in the page. Returns whether the geometry changed, so that shapes must be placed anew. */
  draw(rem: number): boolean {
    const canvas = this.#canvas.value;
    const field = canvas?.parentElement;
    if (!canvas || !field || !this.#communes) return false;
    if (this.#observed !== field) {
      this.#observer.disconnect();
      this.#observer.observe(field);
      this.#observed = field;
    }
    const width = field.clientWidth;
    const height = field.clientHeight;
    if (width < 50 || height < 50) return false;
    const left = this.#tour.shown(this.#wall) ? Math.min(27 * rem, width * 0.45) : 0;
    const blind = this.#blindStations();
    const blindCommunes = new Set(this.#wall.stations.filter(({ id }) => blind.has(id)).map(({ commune }) => commune));
    const geometry = `${width}x${height}-${left}@${devicePixelRatio}`;
    const content = `${geometry} ${[...blind].join()} ${this.#wall.stations.length}`;
    if (content === this.#drawn) return false;
    const moved = !this.#drawn.startsWith(`${geometry} `);
    this.#drawn = content;
    this.#size = { width, height, left, rem };
    const pad = 1.8 * rem;
    this.#projection = geoMercator().fitExtent(
      [
        [left + pad, pad * 0.5],
        [width - pad, height - pad * 0.5],
      ],
      this.#communes,
    );
    const ratio = devicePixelRatio;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext('2d')!;
    if (moved) this.#paintBase(canvas.width, canvas.height, ratio, rem);
    context.drawImage(this.#base, 0, 0);
    context.scale(ratio, ratio);
    this.#hatch(context, blindCommunes, rem);
    this.#dots(context, blind, rem);
    return moved;
  }

  #colour(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  #paintBase(width: number, height: number, ratio: number, rem: number): void {
    this.#base.width = width;
    this.#base.height = height;
    const context = this.#base.getContext('2d')!;
    context.scale(ratio, ratio);
    const path = geoPath(this.#projection, context);
    context.lineJoin = 'round';
    context.fillStyle = '#383d43';
    context.strokeStyle = '#4b5259';
    context.lineWidth = rem * 0.1;
    context.beginPath();
    path(this.#communes!);
    context.fill();
    if (this.#river) {
      context.save();
      // A river that leaves the province is drawn as far as the province goes.
      context.clip();
      context.beginPath();
      path(this.#river as GeoJSON.FeatureCollection);
      context.lineCap = 'round';
      context.strokeStyle = this.#colour('--water');
      for (const [width, alpha] of RIVER) {
        context.lineWidth = rem * width;
        context.globalAlpha = alpha;
        context.stroke();
      }
      context.restore();
    }
    context.beginPath();
    path(this.#communes!);
    context.stroke();
  }

  #hatch(context: CanvasRenderingContext2D, communes: ReadonlySet<string>, rem: number): void {
    if (!communes.size) return;
    const path = geoPath(this.#projection, context);
    context.save();
    context.beginPath();
    for (const feature of this.#communes!.features) {
      if (communes.has(String(feature.properties?.['code']))) path(feature);
    }
    context.clip();
    context.strokeStyle = this.#colour('--faint');
    context.lineWidth = rem * 0.14;
    context.beginPath();
    const { width, height } = this.#size;
    for (let x = -height; x < width; x += rem * 0.75) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
    }
    context.stroke();
    context.restore();
  }

  #dots(context: CanvasRenderingContext2D, blind: ReadonlySet<string>, rem: number): void {
    for (const { id, lon, lat } of this.#wall.stations) {
      const at = this.#projection!([lon, lat]);
      if (!at) continue;
      context.beginPath();
      if (blind.has(id)) {
        context.arc(at[0], at[1], rem * 0.95, 0, 2 * Math.PI);
        context.fillStyle = '#272b2f';
        context.fill();
        context.setLineDash([rem * 0.5, rem * 0.35]);
        context.lineWidth = rem * 0.22;
        context.strokeStyle = this.#colour('--soft');
        context.stroke();
        context.setLineDash([]);
      } else {
        context.arc(at[0], at[1], rem * 0.35, 0, 2 * Math.PI);
        context.fillStyle = '#9aa1a8';
        context.fill();
      }
    }
  }

  /** Stations of which at least one series is not known now. */
  #blindStations(): Set<string> {
    const { stations, store } = this.#wall;
    const blind = new Set<string>();
    if (!store.points.size) return blind;
    for (const { id, series } of stations) {
      if (series.some((s) => (store.points.get(s.id)?.state ?? 'normal') !== 'normal')) blind.add(id);
    }
    return blind;
  }

  #signs(): SVGTemplateResult | typeof nothing {
    const project = this.#projection;
    if (!project) return nothing;
    const { width, height, left, rem } = this.#size;
    const { f, slots, store, now } = this.#wall;
    const { rows, rest } = slots;
    const alarms = [...rows, ...rest].filter(({ lat, lon }) => lat !== null && lon !== null).slice(0, SHAPES_MAX);
    const wanted: Place[] = alarms.flatMap((alarm) => {
      const at = project([alarm.lon!, alarm.lat!]);
      const row = rows.indexOf(alarm);
      const label = row >= 0 && alarm.state === 'UNACKED' && alarm.priority <= 2 && alarm.value !== null ? valueOf(alarm, f, store.points, now) : '';
      return at ? [{ x: at[0], y: at[1], size: (row >= 0 ? 4.6 : 2.4) * rem, label: label.length * rem * 1.25 }] : [];
    });
    const places = arrange(wanted, { left: left + rem, top: rem * 0.5, right: width - rem, bottom: height - rem * 0.5 }, rem * 0.5);
    // The least urgent first, so that the most urgent lies on top.
    return svg`${places.map((place, index) => this.#sign(alarms[index]!, place, rows.indexOf(alarms[index]!), rem)).reverse()}`;
  }

  #sign(alarm: Alarm, place: ReturnType<typeof arrange>[number], row: number, rem: number): SVGTemplateResult {
    const { f, store, now } = this.#wall;
    const { x, y, from, size, text } = place;
    const away = Math.hypot(x - from.x, y - from.y) > size * 0.4;
    return svg`<g>
      ${away ? svg`<path class="leader" d="M${from.x} ${from.y}L${x} ${y}" stroke-width=${rem * 0.18}></path><circle class="root" cx=${from.x} cy=${from.y} r=${rem * 0.4}></circle>` : nothing}
      ${shapeAt(alarm.priority, { ...lookOf(alarm), ...(row >= 0 ? { label: letter(row) } : {}) }, x, y, size)}
      ${text ? svg`<text class="value" x=${text.x} y=${text.y + rem * 0.75} font-size=${rem * 2.1} stroke-width=${rem * 0.6} text-anchor=${text.anchor}>${valueOf(alarm, f, store.points, now)}</text>` : nothing}
    </g>`;
  }
}

/** Geometry that d3 can draw: without rings too short to enclose anything, and wound the way d3 wants. It takes a ring
 * that runs the other way for the rest of the globe, and GeoJSON of both kinds is about. */
export function drawable(feature: GeoJSON.Feature): GeoJSON.Feature {
  const { geometry } = feature;
  if (geometry.type !== 'Polygon' && geometry.type !== 'MultiPolygon') return feature;
  const polygons = (geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates)
    .map((rings) => rings.filter((ring) => ring.length >= 4))
    .filter((rings) => rings.length);
  const made = (coordinates: GeoJSON.Position[][][]): GeoJSON.Feature => ({
    ...feature,
    geometry: { type: 'MultiPolygon', coordinates },
  });
  const clean = made(polygons);
  return geoArea(clean) <= 2 * Math.PI ? clean : made(polygons.map((rings) => rings.map((ring) => ring.toReversed())));
}

/** A river of few points as a curve through all of them (Catmull-Rom), so that no gauge comes to lie off its bank. */
export function smooth(river: GeoJSON.GeoJSON): GeoJSON.GeoJSON {
  if (river.type === 'FeatureCollection') return { ...river, features: river.features.map((feature) => smooth(feature) as GeoJSON.Feature) };
  if (river.type === 'Feature') return { ...river, geometry: smooth(river.geometry) as GeoJSON.Geometry };
  if (river.type === 'LineString') return { ...river, coordinates: curve(river.coordinates) };
  if (river.type === 'MultiLineString') return { ...river, coordinates: river.coordinates.map(curve) };
  return river;
}

function curve(line: readonly GeoJSON.Position[]): GeoJSON.Position[] {
  return line.flatMap((b, i) => {
    const c = line[i + 1];
    if (!c) return [b];
    const [a, d] = [line[i - 1] ?? b, line[i + 2] ?? c];
    return Array.from({ length: SMOOTH_STEPS }, (_, step) => {
      const u = step / SMOOTH_STEPS;
      return [0, 1].map((k) => {
        const [p, q, r, s] = [a[k]!, b[k]!, c[k]!, d[k]!];
        return q + 0.5 * u * (r - p + u * (2 * p - 5 * q + 4 * r - s + u * (3 * (q - r) + s - p)));
      });
    });
  });
}

const legend = ({ t }: Wall): TemplateResult => html`
  <ul class="legend">
    <li>${svg`<svg viewBox="0 0 20 20"><circle class="dot" cx="10" cy="10" r="3.4"></circle></svg>`}${t('wall.legend.normal')}</li>
    <li>${svg`<svg viewBox="0 0 20 20"><path class="hatch" d="M0 12 12 0M0 20 20 0M8 20 20 8"></path><circle class="gone" cx="10" cy="10" r="7"></circle></svg>`}${t('wall.legend.blind')}</li>
    <li>${svg`<svg viewBox="0 0 20 20"><rect class="solid" x="3" y="3" width="14" height="14"></rect></svg>`}${t('wall.legend.waiting')}</li>
    <li>${svg`<svg viewBox="0 0 20 20"><rect class="open" x="4" y="4" width="12" height="12"></rect></svg>`}${t('wall.legend.acked')}</li>
  </ul>`;
