// Why did it fire? What the server found of one step: the rule, the samples against its limits, what else was known.
import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from 'lit';
import { lookup, pick } from '../i18n/index.ts';
import type { Why, WhySeries } from '../protocol.ts';
import { ms } from '../shared/format.ts';
import { Fault, rest } from '../shared/rest.ts';
import type { Console } from './state.ts';

const BAD = 2 | 16;
const UNCERTAIN = 1;
const HEIGHT = 190;
const PHONE = 860;
const MARGIN = { left: 6, right: 6, top: 16, bottom: 22 };

export class WhyCard {
  readonly #state: Console;
  readonly #changed: () => void;
  readonly #expired: () => void;
  #alarm = '';
  #open = false;
  #busy = false;
  #error = '';
  #told: Why | null = null;

  constructor(state: Console, changed: () => void, expired: () => void) {
    this.#state = state;
    this.#changed = changed;
    this.#expired = expired;
  }

  async #ask(alarm: string, step?: number): Promise<void> {
    this.#busy = true;
    this.#error = '';
    this.#changed();
    try {
      const told = await rest.why(alarm, step);
      if (this.#alarm === alarm) this.#told = told;
    } catch (error) {
      const { status, words, message } = error as Fault;
      if (status === 401) this.#expired();
      if (this.#alarm === alarm) this.#error = status === 0 ? this.#state.t('login.offline') : pick(this.#state.lang, words) || message;
    }
    this.#busy = false;
    this.#changed();
  }

  #toggle = (): void => {
    this.#open = !this.#open;
    if (this.#open && !this.#told && !this.#busy) void this.#ask(this.#alarm);
    else this.#changed();
  };

  template(alarm: string): TemplateResult {
    const { t } = this.#state;
    if (this.#alarm !== alarm) {
      this.#alarm = alarm;
      this.#told = null;
      this.#error = '';
      this.#open = false;
    }
    return html`<section class="why" aria-labelledby="why-title">
      <h3 id="why-title"><button type="button" class="fold" aria-expanded=${this.#open ? 'true' : 'false'} aria-controls="why-body" data-testid="why" @click=${this.#toggle}>${t('why.title')}</button></h3>
      <div id="why-body" aria-live="polite" ?hidden=${!this.#open}>${this.#open ? this.#body(alarm) : nothing}</div>
    </section>`;
  }

  #body(alarm: string): TemplateResult {
    const { t } = this.#state;
    const told = this.#told;
    if (!told) {
      return this.#error
        ? html`<p class="message bad">${this.#error}</p><button type="button" @click=${() => void this.#ask(alarm)}>${t('detail.retry')}</button>`
        : html`<p class="quiet">${t('detail.loading')}</p>`;
    }
    return html`<div data-testid="why-told">
      ${told.steps.length > 1 ? this.#steps(alarm, told) : nothing}
      <p class="lead">${this.#sentence(told)}</p>
      ${this.#held(told)} ${this.#quality(told)}
      ${told.series ? this.#series(told.series, told, true) : nothing}
      ${told.derived ? html`<h4>${t('why.derived')}</h4><p>${t('why.derived.of', { kind: told.derived.kind, id: told.derived.id.replace(/^rule:/, '') })}</p>` : nothing}
      ${this.#condition(told)} ${this.#facts(told)}
      ${told.inputs.length ? html`<h4>${t('why.inputs')}</h4>${told.inputs.map((series) => this.#series(series, told, false))}` : nothing}
      ${this.#neighbours(told)} ${this.#firings(told)} ${this.#rule(told)} ${this.#missing(told)}
    </div>`;
  }

  #steps(alarm: string, told: Why): TemplateResult {
    const { t, lang, opened } = this.#state;
    const kinds = new Map((opened?.detail?.timeline ?? []).map((step) => [step.step, step.kind]));
    return html`<label class="which"><span>${t('why.step')}</span>
      <select data-testid="why-step" ?disabled=${this.#busy} @change=${(e: Event) => void this.#ask(alarm, Number((e.target as HTMLSelectElement).value))}>
        ${told.steps.map((step) => html`<option value=${step} ?selected=${step === told.step.step}>${step}${kinds.has(step) ? ` · ${lookup(lang, 'kind', kinds.get(step)!)}` : ''}</option>`)}
      </select></label>`;
  }

  #measured(value: number | null): string {
    const { f, opened } = this.#state;
    const alarm = opened?.detail?.alarm;
    return f.measured(value, alarm?.unit ?? '', alarm?.resolution ?? null);
  }

  #sentence(told: Why): string {
    const { t, f, lang, now } = this.#state;
    const { step } = told;
    const words = { kind: lookup(lang, 'kind', step.kind), time: f.moment(ms(step.event_at), now), value: this.#measured(step.value) };
    if (step.limit === null || step.value === null || !told.timer) return t('why.sentence', words);
    return t(`why.sentence.${told.timer.beyond}`, { ...words, limit: this.#measured(told.timer.edge) });
  }

  #held({ timer }: Why): TemplateResult | typeof nothing {
    const { t, f, now } = this.#state;
    if (!timer || timer.held_since === null) return nothing;
    const words = { since: f.moment(ms(timer.held_since), now), held: f.lasting(timer.held_s), needed: f.lasting(timer.needed_s) };
    return html`<p>${t(timer.at_least ? 'why.held.atleast' : 'why.held', words)}
      ${timer.needed_s > 0 ? t('why.needed', words) : t('why.atonce')}
      ${timer.times > 1 ? t('why.counted', { n: timer.counted, times: timer.times, within: f.lasting(timer.within_s) }) : nothing}</p>`;
  }

  #quality({ quality, tests, step }: Why): TemplateResult | typeof nothing {
    const { t, lang } = this.#state;
    if (tests.length) return html`<p data-testid="why-quality"><b class="dashed">${lookup(lang, 'why.quality', quality)}</b>: ${tests.map((test) => lookup(lang, 'why.test', test)).join(', ')}</p>`;
    return step.backlog ? html`<p><b class="dashed">${t('backlog')}</b></p>` : nothing;
  }

  #series(series: WhySeries, told: Why, judged: boolean): TemplateResult {
    const { t, f, lang, now } = this.#state;
    const label = t('why.chart', { name: pick(lang, series.name), n: series.points.length, value: this.#measured(told.step.value) });
    return html`<figure>
      <figcaption>${pick(lang, series.name)} · ${pick(lang, series.station_name)} <small>${series.unit} · ${lookup(lang, 'why.source', series.source)}</small></figcaption>
      ${series.points.length ? this.#chart(series, told, label, judged) : html`<p class="quiet">${t('detail.trend.none')}</p>`}
      ${series.points.length
        ? html`<details><summary>${t('why.samples', { n: series.points.length })}</summary>
            <div class="scroll" role="region" tabindex="0" aria-label=${t('why.samples', { n: series.points.length })}><table>
              <thead><tr><th scope="col">${t('why.at')}</th><th scope="col">${t('why.value')}</th><th scope="col">${t('why.flags')}</th></tr></thead>
              <tbody>${series.points.map(([at, value, flags], i) => html`<tr class=${i === series.decided ? 'trouble' : ''}>
                <td>${f.moment(at, now)}${i === series.decided ? html` <b>${t('why.decided')}</b>` : nothing}</td>
                <td class="number">${f.measured(value, series.unit, series.resolution)}</td>
                <td>${this.#flags(flags)}</td></tr>`)}</tbody></table></div></details>`
        : nothing}
    </figure>`;
  }

  #flags(flags: number): string {
    const { lang } = this.#state;
    const names = ['uncertain', 'bad', 'no_stamp', 'retained', 'out_of_range', 'backlog', 'late', 'too_late', 'repeat', 'revised'] as const;
    return names.filter((_, bit) => flags & (1 << bit)).map((name) => lookup(lang, 'why.flag', name)).join(', ');
  }

  #chart(series: WhySeries, told: Why, label: string, judged: boolean): SVGTemplateResult | TemplateResult {
    const { f } = this.#state;
    const width = Math.max(280, Math.min(640, innerWidth < PHONE ? innerWidth - 32 : innerWidth * 0.5 - 48));
    const known = series.points.filter(([, value]) => value !== null) as [number, number, number][];
    const edge = judged && told.timer ? told.timer.edge : null;
    const limits = series.limits.map(({ limit }) => limit);
    const marks = edge !== null && !limits.includes(edge) ? [...limits, edge] : limits;
    const values = [...known.map(([, value]) => value), ...marks];
    if (!values.length) return html`<p class="quiet">${this.#state.t('detail.trend.none')}</p>`;
    const from = series.points[0]![0];
    const to = Math.max(series.points.at(-1)![0], from + 1);
    const low = Math.min(...values);
    const high = Math.max(...values, low + (series.resolution ?? 1e-6));
    const x = (at: number) => MARGIN.left + ((at - from) / (to - from)) * (width - MARGIN.left - MARGIN.right);
    const y = (value: number) => HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const good = known.filter(([, , flags]) => !(flags & BAD));
    const at = series.decided === null ? ms(told.step.event_at) : series.points[series.decided]![0];
    const decided = series.decided === null ? null : series.points[series.decided]!;
    const middle = at >= from && at <= to;
    return svg`<svg class="samples" width=${width} height=${HEIGHT} viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label=${label} data-testid="why-chart">
      ${marks.map((limit) => svg`<g class="limit ${limit === edge ? 'edge' : ''}"><line x1=${MARGIN.left} x2=${width - MARGIN.right} y1=${y(limit)} y2=${y(limit)}></line>
        <text x=${MARGIN.left + 2} y=${y(limit) < 28 ? y(limit) + 13 : y(limit) - 4}>${f.value(limit, series.resolution)}</text></g>`)}
      ${middle ? svg`<line class="at" x1=${x(at)} x2=${x(at)} y1=${MARGIN.top} y2=${HEIGHT - MARGIN.bottom}></line>` : nothing}
      <polyline points=${good.map(([t, value]) => `${x(t)},${y(value)}`).join(' ')}></polyline>
      ${known.map(([t, value, flags]) => svg`<circle class=${flags & BAD ? 'bad' : flags & UNCERTAIN ? 'uncertain' : ''} cx=${x(t)} cy=${y(value)} r="3"></circle>`)}
      ${decided && decided[1] !== null ? svg`<circle class="decided" cx=${x(decided[0])} cy=${y(decided[1])} r="8"></circle>` : nothing}
      <text class="time" x=${MARGIN.left} y=${HEIGHT - 6}>${f.time(from)}</text>
      <text class="time" text-anchor="end" x=${width - MARGIN.right} y=${HEIGHT - 6}>${f.time(to)}</text>
      ${middle && x(at) > 60 && x(at) < width - 60 ? svg`<text class="time now" text-anchor="middle" x=${x(at)} y=${HEIGHT - 6}>${f.time(at)}</text>` : nothing}
    </svg>`;
  }

  #condition({ rule }: Why): TemplateResult | typeof nothing {
    const when = rule?.definition['when'];
    return typeof when === 'string' ? html`<h4>${this.#state.t('why.condition')}</h4><p><code>${when}</code></p>` : nothing;
  }

  #facts({ facts }: Why): TemplateResult | typeof nothing {
    const { t, f, lang, now } = this.#state;
    if (!facts.length) return nothing;
    return html`<h4>${t('why.facts')}</h4><ul class="plain-list">${facts.map(
      (fact) => html`<li><b class=${fact.state === 'unknown' ? 'dashed' : ''}>${lookup(lang, 'why.fact', fact.state)}</b>
        ${fact.alarm ? html`<a href="#/alarms/${fact.alarm}">${pick(lang, fact.title)}</a>` : pick(lang, fact.title)} · ${pick(lang, fact.station_name)}
        ${fact.since ? html`<small>${t('why.since', { time: f.moment(ms(fact.since), now) })}</small>` : nothing}</li>`,
    )}</ul>`;
  }

  #neighbours({ neighbours, series }: Why): TemplateResult | typeof nothing {
    const { t, f, lang, now } = this.#state;
    if (!neighbours.length) return nothing;
    return html`<h4>${t('why.neighbours')}</h4><ul class="plain-list">${neighbours.map(
      (near) => html`<li><b>${pick(lang, near.station_name)}</b> ${f.number(near.km, 1)}&nbsp;km: ${f.measured(near.value, series?.unit ?? '', series?.resolution ?? null)}
        <small>${near.at ? f.moment(ms(near.at), now) : t('point.never')} · ${t('why.neighbour.now')} ${lookup(lang, 'point', near.state)}${near.priority ? ` · ${t(`priority.${near.priority}`)}` : ''}</small></li>`,
    )}</ul>`;
  }

  #firings({ firings }: Why): TemplateResult {
    const { t, f, now } = this.#state;
    return html`<h4>${t('why.firings')}</h4>
      ${firings.length
        ? html`<ul class="plain-list">${firings.map(
            (one) => html`<li><a href="#/alarms/${one.alarm}">${f.moment(ms(one.raised_at), now)}</a> · ${t(`priority.${one.priority}`)} · ${this.#measured(one.value)}
              <small>${one.duration_s === null ? t('why.firing.open') : t('why.firing.for', { time: f.lasting(one.duration_s) })}${one.acked_by_name ? ` · ${t('state.ACKED')}: ${one.acked_by_name}` : ''}</small></li>`,
          )}</ul>`
        : html`<p class="quiet">${t('why.firings.none')}</p>`}`;
  }

  #rule({ rule }: Why): TemplateResult | typeof nothing {
    const { t, f, lang, now } = this.#state;
    if (!rule) return nothing;
    const { source } = rule;
    return html`<h4>${t('why.rule')}</h4>
      <p><b>${pick(lang, rule.title)}</b> <code>${rule.id}</code> (${rule.kind})</p>
      <p>${t('why.version', { hash: rule.pack.slice(0, 12), time: rule.loaded_at ? f.moment(ms(rule.loaded_at), now) : '—' })}
        ${rule.now ? t('why.version.now') : html`<b class="dashed">${t('why.version.then')}</b>`}</p>
      ${source ? html`<p>${t('why.rule.source')}: ${source.text}${source.article ? `, ${source.article}` : ''} <small>${lookup(lang, 'why.mark', source.mark)}</small></p>` : nothing}`;
  }

  #missing({ missing }: Why): TemplateResult | typeof nothing {
    const { t, lang } = this.#state;
    if (!missing.length) return nothing;
    const said = [...new Set(missing.map((words) => pick(lang, words)))];
    return html`<h4>${t('why.missing')}</h4><ul class="plain-list quiet" data-testid="why-missing">${said.map((text) => html`<li>${text}</li>`)}</ul>`;
  }
}
