// Four cards, each one series over the last hours: newest value, dashed limits, and where nothing is known, nothing.
import { html, nothing, type TemplateResult } from 'lit';
import { createRef, ref, type Ref } from 'lit/directives/ref.js';
import { pick } from '../i18n/index.ts';
import { isWaiting, type Point, type Priority, type Series } from '../protocol.ts';
import { Plot } from '../shared/plot.ts';
import { rest } from '../shared/rest.ts';
import { clockIcon, shape } from '../shared/shapes.ts';
import { columns, rangeFor, Trend, WINDOW_MAX_MS, windowFor } from '../shared/trend.ts';
import { limitName, short } from '../shared/words.ts';
import type { Wall } from './context.ts';

const POINTS_MAX = 5_000;
const RETRY_MS = 5_000;
/** History is read again now and then: what came late while the page looked is in its place there. */
const REFRESH_MS = 10 * 60_000;

class Card {
  readonly trend = new Trend();
  readonly element: Ref<HTMLElement> = createRef();
  plot: Plot | null = null;
  on: HTMLElement | null = null;
  series: Series | null = null;
  loaded = false;
}

export class Trends {
  readonly #wall: Wall;
  readonly #cards = new Map<string, Card>();
  #generation = 0;

  constructor(wall: Wall) {
    this.#wall = wall;
  }

  /** (Re)read the history of every card: at the start, after a reconnection, and every ten minutes. */
  load(): void {
    const generation = ++this.#generation;
    const ids = this.#wall.instance?.trends.slice(0, 4) ?? [];
    for (const id of this.#cards.keys()) if (!ids.includes(id)) this.#cards.delete(id);
    for (const id of ids) {
      const card = this.#cards.get(id) ?? new Card();
      this.#cards.set(id, card);
      void this.#read(id, card, generation);
    }
    setTimeout(() => {
      if (generation === this.#generation) this.load();
    }, REFRESH_MS);
  }

  async #read(id: string, card: Card, generation: number): Promise<void> {
    try {
      const { series, points } = await rest.readings(id, new Date(this.#wall.client.serverNow() - WINDOW_MAX_MS), POINTS_MAX);
      if (generation !== this.#generation) return;
      card.series = series;
      card.trend.load(points);
      card.loaded = true;
    } catch {
      setTimeout(() => {
        if (generation === this.#generation) void this.#read(id, card, generation);
      }, RETRY_MS);
    }
  }

  /** Live values, as they come. */
  feed(points: readonly Point[]): void {
    for (const { series, t, value, flags, age_known } of points) {
      if (t !== null && age_known) this.#cards.get(series)?.trend.add([t, value, flags]);
    }
  }

  template(): TemplateResult {
    const { t } = this.#wall;
    return html`<section class="trends" aria-label=${t('wall.trends')}>
      ${[...this.#cards].map(([id, card]) => this.#card(id, card))}
    </section>`;
  }

  #card(id: string, card: Card): TemplateResult {
    const { f, t, store, now } = this.#wall;
    const known = this.#wall.series.get(id);
    const series = card.series ?? known?.series ?? null;
    const point = store.points.get(id);
    const stale = point !== undefined && point.state !== 'normal';
    const age = point?.t == null ? null : now - point.t;
    const name = series ? pick(f.lang, series.name) : id;
    const value = f.value(point?.value ?? null, series?.resolution ?? null);
    const waits = !store.known || [...store.alarms.values()].some((alarm) => alarm.series === id && isWaiting(alarm));
    const why = point && point.state !== 'normal' && point.state !== 'stale' ? t(`point.${point.state}`) : '';
    return html`<figure class="panel trend ${stale ? 'stale' : ''}" data-testid="trend" data-series=${id}>
      <figcaption>
        <p class="name">${name}${known ? html` <span>· ${short(pick(f.lang, known.station.name))}</span>` : nothing}</p>
        <p class="reading p${point?.priority ?? 0}">
          ${point?.priority ? shape(point.priority as Priority, { hollow: !waits }) : nothing}
          <span class="figure">${value}</span>
          <span class="side">
            <span class="unit">${series?.unit ?? ''}</span>
            ${stale ? html`<span class="chip">${clockIcon()}${age === null ? why : f.span(age)}</span>` : nothing}
          </span>
        </p>
      </figcaption>
      <div class="plot" role="img" aria-label=${t('wall.trend.label', { name, value: `${value} ${series?.unit ?? ''}` })} ${ref(card.element)}></div>
      ${card.loaded && !card.trend.samples.length ? html`<p class="none">${t('wall.trend.empty')}</p>` : nothing}
    </figure>`;
  }

  /** After the template is in the page: put the charts into it. */
  draw(size: number): void {
    const { f, instance, now, store } = this.#wall;
    if (!instance) return;
    // A replay of history lives in its own time: its axis ends at its newest sample.
    const newest = Math.max(0, ...[...this.#cards.values()].map(({ trend }) => trend.last?.[0] ?? 0));
    const end = instance.clock === 'source' && newest ? newest : now;
    let earliest: number | null = null;
    for (const { trend } of this.#cards.values()) {
      trend.prune(end - WINDOW_MAX_MS);
      const first = trend.samples[0]?.[0];
      if (first !== undefined) earliest = Math.min(earliest ?? first, first);
    }
    const from = end - windowFor(earliest, end);
    for (const [id, card] of this.#cards) {
      const element = card.element.value;
      if (!element || !card.series) continue;
      if (card.on !== element) {
        card.plot?.destroy();
        card.plot = new Plot(element, { size, time: (at) => f.time(at), zone: instance.timezone });
        card.on = element;
      }
      const [xs, ys] = columns(card.trend.samples, card.series.interval_s);
      const begin = xs.findIndex((x) => x * 1000 >= from);
      const visible = begin < 0 ? [] : ys.slice(begin);
      const { min, max, shown } = rangeFor(visible, card.series.limits, card.series.resolution);
      const last = store.points.get(id);
      const value = last?.value ?? null;
      card.plot!.update({
        columns: [xs, ys],
        from: from / 1000,
        to: (end + (end - from) * 0.02) / 1000,
        min,
        max,
        limits: shown.map((limit) => ({
          limit,
          label: limitName(limit, card.series!.resolution, f),
          passed: value !== null && (limit.direction === 'down' ? value <= limit.limit : value >= limit.limit),
        })),
        stale: last !== undefined && last.state !== 'normal',
        priority: last?.priority ?? 0,
      });
    }
  }

  /** Type has another size now. */
  restyle(size: number): void {
    const { f, instance } = this.#wall;
    if (!instance) return;
    for (const { plot } of this.#cards.values()) plot?.restyle({ size, time: (at) => f.time(at), zone: instance.timezone });
  }
}
