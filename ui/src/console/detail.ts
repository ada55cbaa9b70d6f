// One alarm: how it stands, what to do, who knew of it when, how the value went; and the acknowledgement.
import { html, nothing, type TemplateResult } from 'lit';
import { createRef, ref } from 'lit/directives/ref.js';
import { lookup, pick } from '../i18n/index.ts';
import { isWaiting, type Alarm, type Transition } from '../protocol.ts';
import { ms } from '../shared/format.ts';
import { Plot } from '../shared/plot.ts';
import { lookOf, shape } from '../shared/shapes.ts';
import { columns, rangeFor, Trend } from '../shared/trend.ts';
import { backlogMark, limitName, limitOf, readingOf, remarkOf, stationOf, valueOf } from '../shared/words.ts';
import { Fault, newKey, rest } from '../shared/rest.ts';
import { mayAck, saveNote, type Console, type Opened } from './state.ts';
import { WhyCard } from './why.ts';

const TREND_MS = 6 * 3_600_000;
const TREND_POINTS_MAX = 5_000;
const TREND_REFRESH_MS = 10_000;

export class Detail {
  readonly #state: Console;
  readonly #changed: () => void;
  readonly #expired: () => void;
  readonly #why: WhyCard;
  readonly #chart = createRef<HTMLElement>();
  #plot: Plot | null = null;
  #plotOn: Element | null = null;
  #plotLang = '';
  #trendAt = 0;

  constructor(state: Console, changed: () => void, expired: () => void) {
    this.#state = state;
    this.#changed = changed;
    this.#expired = expired;
    this.#why = new WhyCard(state, changed, expired);
  }

  open(id: string | null): void {
    if (this.#state.opened?.id === id) return;
    this.#state.opened = id ? { id, detail: null, version: 0, loading: false, error: null, trend: null, message: null, busy: false, key: null } : null;
    this.#trendAt = 0;
    this.sync();
  }

  /** Read again whatever is older than what the stream has told. */
  sync(): void {
    const { opened, store, login, now } = this.#state;
    if (!opened || login || opened.loading) return;
    const live = store.alarms.get(opened.id);
    const closed = !live && store.known && opened.detail !== null && opened.detail.alarm.state !== 'NORMAL';
    const stale = opened.detail === null ? opened.error === null : closed ? opened.error === null : live !== undefined && live.version > opened.version;
    if (stale) void this.#read(opened);
    const series = opened.detail?.alarm.series;
    if (series && now - this.#trendAt > TREND_REFRESH_MS) {
      this.#trendAt = now;
      void this.#readTrend(opened, series);
    }
  }

  async #read(opened: Opened): Promise<void> {
    opened.loading = true;
    opened.error = null;
    try {
      const detail = await rest.alarm(opened.id);
      opened.detail = detail;
      opened.version = Math.max(detail.alarm.version, this.#state.store.alarms.get(opened.id)?.version ?? 0);
      this.#state.store.offer(detail.alarm);
    } catch (error) {
      this.#failed(opened, error as Fault);
    }
    opened.loading = false;
    this.#changed();
  }

  #failed(opened: Opened, fault: Fault): void {
    if (fault.status === 401) this.#expired();
    else if (fault.status === 404) opened.error = 'gone';
    else opened.error = fault.status === 0 ? this.#state.t('login.offline') : (pick(this.#state.lang, fault.words) || fault.message);
  }

  async #readTrend(opened: Opened, series: string): Promise<void> {
    try {
      const read = await rest.readings(series, new Date(this.#state.now - TREND_MS), TREND_POINTS_MAX);
      const trend = new Trend();
      trend.load(read.points);
      opened.trend = { series: read.series, trend, source: read.source };
      this.#changed();
    } catch (error) {
      if ((error as Fault).status === 401) this.#expired();
    }
  }

  acknowledge = async (): Promise<void> => {
    const { opened, t, lang, f, store } = this.#state;
    const alarm = opened && this.#alarm(opened);
    if (!opened || !alarm || opened.busy || !isWaiting(alarm) || !mayAck(this.#state)) return;
    opened.busy = true;
    opened.message = null;
    if (opened.key?.version !== alarm.version) opened.key = { version: alarm.version, text: newKey() };
    this.#changed();
    const good = (text: string) => (opened.message = { kind: 'good', text });
    const bad = (text: string) => (opened.message = { kind: 'bad', text });
    let settled = true;
    try {
      const answer = await rest.ack(alarm.id, alarm.version, this.#state.notes.get(alarm.id) ?? '', opened.key.text);
      store.offer(answer);
      saveNote(this.#state, alarm.id, '');
      good(t('ack.done'));
    } catch (error) {
      const fault = error as Fault;
      const words = pick(lang, fault.words);
      const current = fault.body['current'] as Alarm | undefined;
      switch (fault.status) {
        case 0:
          settled = false;
          bad(t('ack.offline'));
          break;
        case 401:
          settled = false;
          this.#expired();
          break;
        case 403:
          bad(t('ack.forbidden'));
          break;
        case 404:
          bad(t('ack.gone'));
          break;
        case 409:
          if (current) store.offer(current);
          bad(
            current?.acked_by_name && current.acked_at && current.state === 'ACKED'
              ? t('ack.conflict.by', { name: current.acked_by_name, time: f.clock(ms(current.acked_at)) })
              : words
                ? t('ack.conflict', { message: words })
                : t('ack.conflict.changed'),
          );
          break;
        case 503:
          settled = false;
          bad(t('ack.unwritable'));
          break;
        default:
          bad(t('ack.failed', { reason: words || fault.message }));
      }
    }
    // What was not answered may have been done: it is asked again under the same key.
    if (settled) opened.key = null;
    opened.busy = false;
    void this.#read(opened);
    this.#changed();
  };

  /** The alarm as it stands: by the stream, or as it was read if it has closed. */
  #alarm(opened: Opened): Alarm | null {
    const read = opened.detail?.alarm ?? null;
    const live = this.#state.store.alarms.get(opened.id) ?? null;
    return live && (!read || live.version >= read.version) ? live : read;
  }

  template(): TemplateResult {
    const { opened, t } = this.#state;
    if (!opened) return html`<section class="detail none"><p>${t('detail.none')}</p></section>`;
    const alarm = this.#alarm(opened);
    const back = html`<a class="back" href="#/alarms">‹ ${t('detail.back')}</a>`;
    if (!alarm) {
      return html`<section class="detail none" data-testid="detail">${back}
        <p>${opened.error === 'gone' ? t('detail.gone') : opened.error ? t('detail.failed', { reason: opened.error }) : t('detail.loading')}</p>
        ${opened.error && opened.error !== 'gone' ? html`<button type="button" @click=${() => void this.#read(opened)}>${t('detail.retry')}</button>` : nothing}
      </section>`;
    }
    const { f } = this.#state;
    const late = backlogMark(alarm, t);
    return html`<section class="detail p${alarm.priority}" data-testid="detail" data-alarm=${alarm.id} data-state=${alarm.state}>
      ${back}
      <header>
        ${shape(alarm.priority, lookOf(alarm))}
        <div>
          <h2>${pick(f.lang, alarm.title)}</h2>
          <p>${stationOf(alarm, f)} · <b>${t(`priority.${alarm.priority}`)}</b> · <b class=${alarm.condition === 'unknown' ? 'dashed' : ''}>${alarm.condition === 'unknown' ? t('condition.unknown') : t(`state.${alarm.state}`)}</b></p>
          ${late ? html`<p><span class="dashed">${late}</span></p>` : nothing}
        </div>
      </header>
      ${this.#facts(alarm)} ${this.#acknowledgement(opened, alarm)} ${this.#guidance(opened)} ${this.#rationalisation(opened)} ${this.#trend(opened, alarm)} ${this.#why.template(alarm.id)} ${this.#timeline(opened)}
    </section>`;
  }

  #facts(alarm: Alarm): TemplateResult {
    const { t, f, now, store } = this.#state;
    const reading = readingOf(alarm, store.points, now);
    const fact = (name: string, value: unknown, more = '') => html`<div class=${more}><dt>${name}</dt><dd>${value}</dd></div>`;
    return html`<dl class="facts">
      ${reading.value === null ? nothing : fact(t(`detail.value.${reading.of}`), valueOf(alarm, f, store.points, now), 'big')}
      ${limitOf(alarm, f, t) ? fact(t('detail.limit'), limitOf(alarm, f, t)) : nothing}
      ${fact(t('detail.condition'), t(`condition.${alarm.condition}`))}
      ${fact(t('detail.raised'), f.moment(ms(alarm.raised_at), now))}
      ${fact(t('detail.event'), f.moment(ms(alarm.event_at), now))}
      ${fact(t('detail.age'), f.age(now - ms(alarm.raised_at)))}
      ${alarm.series_name ? fact(t('detail.series'), pick(f.lang, alarm.series_name)) : nothing}
      ${alarm.acked_at && alarm.acked_by_name ? fact(t('state.ACKED'), t('detail.ackedby', { name: alarm.acked_by_name, time: f.moment(ms(alarm.acked_at), now) })) : nothing}
    </dl>`;
  }

  #acknowledgement(opened: Opened, alarm: Alarm): TemplateResult {
    const { t, notes } = this.#state;
    const open = isWaiting(alarm) && mayAck(this.#state);
    return html`${open
      ? html`<form class="ack" @submit=${(e: Event) => { e.preventDefault(); void this.acknowledge(); }}>
          <label><span>${t('ack.note')}</span>
            <textarea name="note" rows="2" maxlength="500" data-testid="note" placeholder=${t('ack.note.placeholder')}
              .value=${notes.get(alarm.id) ?? ''} @input=${(e: Event) => saveNote(this.#state, alarm.id, (e.target as HTMLTextAreaElement).value)} @keydown=${this.#sent}></textarea>
          </label>
          <div class="bottom"><button type="submit" class="primary" data-testid="ack" aria-keyshortcuts="Control+Enter" ?disabled=${opened.busy}>${opened.busy ? t('ack.busy') : t('ack.button')}</button></div>
        </form>`
      : nothing}
      <p class="message ${opened.message?.kind ?? ''}" role="status" data-testid="message">${opened.message?.text ?? ''}</p>
      ${alarm.state === 'NORMAL' ? html`<p class="message">${t('detail.closed')}</p>` : nothing}`;
  }

  #sent = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void this.acknowledge();
  };

  #guidance({ detail }: Opened): TemplateResult | typeof nothing {
    const text = pick(this.#state.lang, detail?.guidance);
    return text ? html`<h3>${this.#state.t('detail.guidance')}</h3><p class="guidance" data-testid="guidance">${text}</p>` : nothing;
  }

  /** Why there is such an alarm (ISA-18.2), and whether anybody has approved that. */
  #rationalisation({ detail }: Opened): TemplateResult | typeof nothing {
    const { t, f, lang } = this.#state;
    const why = detail?.rationalisation;
    if (!why) return nothing;
    const approved = why.approved_by ? t('detail.approved', { name: why.approved_by, date: why.approved_on ?? '' }) : t('detail.unapproved');
    const row = (name: string, value: unknown) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
    return html`<h3>${t('detail.rationalisation')} <small>${approved}</small></h3>
      <dl class="facts" data-testid="rationalisation">
        ${row(t('detail.cause'), pick(lang, why.cause))} ${row(t('detail.consequence'), pick(lang, why.consequence))}
        ${row(t('detail.action'), pick(lang, why.action))} ${row(t('detail.respond'), f.lasting(why.respond_within_s))}
      </dl>`;
  }

  #trend({ trend }: Opened, alarm: Alarm): TemplateResult | typeof nothing {
    const { t, f, store, now } = this.#state;
    if (!alarm.series) return nothing;
    return html`<h3>${t('detail.trend')}${trend ? html` <small>${trend.series.unit}${trend.series.datum ? ` · ${trend.series.datum}` : ''} · ${t(`detail.trend.${trend.source}`)}</small>` : nothing}</h3>
      ${trend && !trend.trend.samples.length
        ? html`<p class="quiet">${t('detail.trend.none')}</p>`
        : html`<div class="plot" role="img" aria-label=${t('wall.trend.label', { name: pick(f.lang, alarm.series_name), value: valueOf(alarm, f, store.points, now) })} ${ref(this.#chart)}></div>`}`;
  }

  /** After the template is in the page. */
  draw(): void {
    const { opened, f, now, instance, store } = this.#state;
    const element = this.#chart.value ?? null;
    const read = opened?.trend;
    if (!element || !element.isConnected || !read || !instance) return;
    if (this.#plotOn !== element || this.#plotLang !== f.lang) {
      this.#plot?.destroy();
      const { resolution } = read.series;
      this.#plot = new Plot(element, { size: 13, time: (at) => f.time(at), values: (value) => f.value(value, resolution), zone: instance.timezone });
      this.#plotOn = element;
      this.#plotLang = f.lang;
    }
    const { samples } = read.trend;
    const end = instance.clock === 'source' ? (samples.at(-1)?.[0] ?? now) : now;
    const from = Math.max(end - TREND_MS, Math.min(samples[0]?.[0] ?? end, end - 600_000));
    const [xs, ys] = columns(samples, read.series.interval_s);
    const { min, max, shown } = rangeFor(ys, read.series.limits, read.series.resolution);
    const alarm = this.#alarm(opened);
    const value = alarm ? readingOf(alarm, store.points, now).value : null;
    this.#plot!.update({
      columns: [xs, ys],
      from: from / 1000,
      to: (end + (end - from) * 0.02) / 1000,
      min,
      max,
      limits: shown.map((limit) => ({
        limit,
        label: limitName(limit, read.series.resolution, f),
        passed: value !== null && (limit.direction === 'down' ? value <= limit.limit : value >= limit.limit),
      })),
      stale: alarm?.condition === 'unknown',
      priority: alarm && alarm.state !== 'NORMAL' ? alarm.priority : 0,
    });
  }

  #timeline({ detail }: Opened): TemplateResult {
    const { t } = this.#state;
    return html`<h3>${t('detail.timeline')}</h3>
      <ol class="timeline" data-testid="timeline">${[...(detail?.timeline ?? [])].reverse().map((step) => this.#step(step))}</ol>`;
  }

  #step(step: Transition): TemplateResult {
    const { f, lang, now, opened } = this.#state;
    const alarm = opened?.detail?.alarm;
    const value = step.value === null || step.kind === 'ack' ? '' : f.measured(step.value, alarm?.unit ?? '', alarm?.resolution ?? null);
    return html`<li data-kind=${step.kind}>
      <time>${f.moment(ms(step.at), now)}</time>
      <span><b>${lookup(lang, 'kind', step.kind)}</b>${value ? html` ${value}` : nothing}
        ${step.actor_name ? html`<span class="who">${step.actor_name}</span>` : nothing}
        ${step.note ? html`<q>${step.note}</q>` : nothing}
        ${step.detail ? html`<small>${remarkOf(step.detail, f, now, this.#state.t)}</small>` : nothing}</span>
    </li>`;
  }
}
