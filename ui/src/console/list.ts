// The list of alarms with its filter. While the officer's pointer is on it, it holds still.
import { html, nothing, type TemplateResult } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import { lookup, pick } from '../i18n/index.ts';
import { isWaiting, type Alarm } from '../protocol.ts';
import { matches } from '../shared/fold.ts';
import { ms } from '../shared/format.ts';
import { byUrgency } from '../shared/order.ts';
import { lookOf, shape } from '../shared/shapes.ts';
import { still, type StillList } from '../shared/still.ts';
import { backlogMark, limitOf, placeOf, valueOf } from '../shared/words.ts';
import type { Console, Filter } from './state.ts';

const TOUCHED_MS = 4_000;

export class AlarmList {
  readonly #state: Console;
  readonly #changed: () => void;
  #list: StillList = { order: [], fresh: 0, moved: false };
  /** Alarms that have closed while their row had to stay. */
  readonly #gone = new Map<string, Alarm>();
  #hovering = false;
  #focused = false;
  #scrolled = false;
  #touched = -Infinity;

  constructor(state: Console, changed: () => void) {
    this.#state = state;
    this.#changed = changed;
  }

  /** Ids in the order shown, for j and k. */
  get order(): readonly string[] {
    return this.#list.order;
  }

  release = (): void => {
    this.#hovering = this.#focused = false;
    this.#touched = -Infinity;
    document.querySelector('.rows')?.scrollTo({ top: 0 });
    this.#scrolled = false;
    this.#changed();
  };

  #held(): boolean {
    return this.#hovering || (this.#focused && this.#scrolled) || performance.now() - this.#touched < TOUCHED_MS;
  }

  #filtered(): Alarm[] {
    const { filter, store, t, f } = this.#state;
    return [...store.alarms.values()]
      .filter(
        (alarm) =>
          (filter.state === 'all' ||
            (filter.state === 'waiting' && isWaiting(alarm)) ||
            (filter.state === 'acked' && alarm.state === 'ACKED') ||
            (filter.state === 'unknown' && alarm.condition === 'unknown')) &&
          (!filter.priority || alarm.priority === Number(filter.priority)) &&
          (!filter.domain || alarm.domain === filter.domain) &&
          (!filter.query ||
            matches(
              filter.query,
              [pick(f.lang, alarm.title), placeOf(alarm, f), limitOf(alarm, f, t), alarm.asset, alarm.acked_by_name ?? '', alarm.note].join(' '),
            )),
      )
      .sort(byUrgency);
  }

  template(): TemplateResult {
    const { store, t } = this.#state;
    const filtered = this.#filtered();
    const wanted = filtered.map(({ id }) => id);
    const before = this.#list;
    this.#list = still(before.order, wanted, this.#held() && before.order.length > 0);
    for (const id of before.order) if (!this.#list.order.includes(id)) this.#gone.delete(id);
    const held = this.#list.order.flatMap((id) => {
      const alarm = store.alarms.get(id);
      if (alarm) this.#gone.set(id, alarm);
      const shown = alarm ?? this.#gone.get(id);
      return shown ? [{ alarm: shown, closed: !alarm }] : [];
    });
    return html`<section class="list" aria-label=${t('list.label')}
      @pointerenter=${(e: PointerEvent) => this.#point(e, true)} @pointerleave=${(e: PointerEvent) => this.#point(e, false)}>
      ${this.#filters(filtered.length)}
      <ol class="rows" tabindex="-1"
        @touchstart=${{ handleEvent: () => this.#touch(), passive: true }}
        @focusin=${() => (this.#focused = true)} @focusout=${() => (this.#focused = false)}
        @scroll=${(e: Event) => (this.#scrolled = (e.currentTarget as HTMLElement).scrollTop > 0)}>
        ${repeat(held, ({ alarm }) => alarm.id, ({ alarm, closed }) => this.#row(alarm, closed))}
        ${held.length ? nothing : html`<li class="empty">${store.known ? (store.alarms.size ? t('list.nomatch') : t('list.none')) : t('list.waiting')}</li>`}
      </ol>
    </section>`;
  }

  #point(event: PointerEvent, on: boolean): void {
    if (event.pointerType !== 'mouse') return;
    this.#hovering = on;
    if (!on) this.#changed();
  }

  #touch(): void {
    this.#touched = performance.now();
  }

  #filters(count: number): TemplateResult {
    const { filter, t, store, lang } = this.#state;
    const { fresh, moved } = this.#list;
    const set = <K extends keyof Filter>(key: K) => (event: Event) => {
      filter[key] = (event.target as HTMLInputElement).value as Filter[K];
      this.release();
    };
    const domains = [...new Set([...store.alarms.values()].map(({ domain }) => domain))].sort();
    return html`<form class="filters" role="search" @submit=${(e: Event) => e.preventDefault()}>
      <input type="search" name="query" .value=${filter.query} placeholder=${t('list.search')} aria-label=${t('list.search.label')} @input=${set('query')} />
      <select name="state" aria-label=${t('list.state')} @change=${set('state')}>
        ${(['all', 'waiting', 'acked', 'unknown'] as const).map((s) => html`<option value=${s} ?selected=${filter.state === s}>${t(`list.state.${s}`)}</option>`)}
      </select>
      <select name="priority" aria-label=${t('list.priority')} @change=${set('priority')}>
        <option value="" ?selected=${!filter.priority}>${t('list.priority.all')}</option>
        ${(['1', '2', '3', '4'] as const).map((p) => html`<option value=${p} ?selected=${filter.priority === p}>${p} · ${t(`priority.${p}`)}</option>`)}
      </select>
      <select name="domain" aria-label=${t('list.domain')} @change=${set('domain')}>
        <option value="" ?selected=${!filter.domain}>${t('list.domain.all')}</option>
        ${domains.map((d) => html`<option value=${d} ?selected=${filter.domain === d}>${lookup(lang, 'domain', d)}</option>`)}
      </select>
      <div class="news">${
        // It stands where the count stood: were it to push the rows down, they would move after all.
        fresh || moved
          ? html`<button type="button" data-testid="news" @click=${this.release}>${fresh ? t('list.new', { n: fresh }) : t('list.moved')}</button>`
          : html`<output>${t('list.count', { shown: count, all: store.alarms.size })}</output>`
      }</div>
    </form>`;
  }

  #row(alarm: Alarm, closed: boolean): TemplateResult {
    const { t, f, now, route, store } = this.#state;
    const late = backlogMark(alarm, t);
    const who = alarm.state === 'ACKED' ? (alarm.acked_by_name ?? '') : alarm.state === 'RETURNED' ? t('state.waiting') : t(`priority.${alarm.priority}`);
    const look = closed ? { ...lookOf(alarm), hollow: true, flashing: false, ring: false } : lookOf(alarm);
    return html`<li>
      <a class="row p${alarm.priority} ${closed ? 'closed' : alarm.state.toLowerCase()} ${alarm.condition}" href="#/alarms/${alarm.id}"
        aria-current=${route.id === alarm.id ? 'true' : 'false'}
        data-testid="row" data-alarm=${alarm.id} data-state=${closed ? 'NORMAL' : alarm.state} data-rule=${alarm.rule} data-asset=${alarm.asset}>
        <i class="bar"></i>
        ${shape(alarm.priority, look)}
        <span class="what">
          <b>${pick(f.lang, alarm.title)}</b>
          <small>${placeOf(alarm, f)}${late ? html` · <span class="dashed">${late}</span>` : nothing}</small>
        </span>
        <span class="value"><b>${valueOf(alarm, f, store.points, now)}</b><small>${limitOf(alarm, f, t)}</small></span>
        <span class="state">
          <b>${closed ? t('state.NORMAL') : alarm.condition === 'unknown' ? html`<span class="dashed">${t('condition.unknown')}</span>` : t(`state.${alarm.state}`)}</b>
          <small>${closed ? '' : alarm.condition === 'unknown' && alarm.state !== 'ACKED' ? t(`state.${alarm.state}`) : who}</small>
        </span>
        <span class="age">${f.age(now - ms(alarm.raised_at))}</span>
      </a>
    </li>`;
  }
}
