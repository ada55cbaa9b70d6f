// Rules that are only tried: what they would have done, so that somebody can decide to let them count.
import { html, nothing, type TemplateResult } from 'lit';
import { lookup, pick } from '../i18n/index.ts';
import type { Priority, Tried, Trial } from '../protocol.ts';
import { ms } from '../shared/format.ts';
import { Fault, rest } from '../shared/rest.ts';
import { shape } from '../shared/shapes.ts';
import type { Console } from './state.ts';

const REFRESH_MS = 30_000;

export class Shadow {
  readonly #state: Console;
  readonly #changed: () => void;
  readonly #expired: () => void;
  #all: readonly Tried[] | null = null;
  #trial: Trial | null = null;
  #rule = '';
  #readAt = 0;
  #busy = false;
  #sure = false;
  #message: { kind: 'good' | 'bad'; text: string } | null = null;

  constructor(state: Console, changed: () => void, expired: () => void) {
    this.#state = state;
    this.#changed = changed;
    this.#expired = expired;
  }

  /** The page of one rule, or of all of them. */
  follow(rule: string | null): void {
    const { route, login, now } = this.#state;
    if (route.page !== 'shadow' || login) return;
    if (this.#rule !== (rule ?? '')) {
      this.#rule = rule ?? '';
      this.#trial = null;
      this.#sure = false;
      this.#message = null;
      this.#readAt = 0;
    }
    if (now - this.#readAt > REFRESH_MS) {
      this.#readAt = now;
      void this.#read(this.#rule);
    }
  }

  async #read(rule: string): Promise<void> {
    try {
      if (rule) {
        const trial = await rest.shadow(rule);
        if (this.#rule === rule) this.#trial = trial;
      } else this.#all = await rest.tried();
    } catch (error) {
      this.#failed(error as Fault);
    }
    this.#changed();
  }

  #failed({ status, words, message }: Fault): void {
    if (status === 401) this.#expired();
    else this.#message = { kind: 'bad', text: status === 0 ? this.#state.t('login.offline') : pick(this.#state.lang, words) || message };
  }

  #promote = async (): Promise<void> => {
    if (this.#busy) return;
    if (!this.#sure) {
      this.#sure = true;
      this.#changed();
      return;
    }
    this.#busy = true;
    this.#changed();
    try {
      await rest.promote(this.#rule);
      this.#message = { kind: 'good', text: this.#state.t('shadow.promoted') };
    } catch (error) {
      this.#failed(error as Fault);
    }
    this.#busy = this.#sure = false;
    await this.#read(this.#rule);
  };

  template(): TemplateResult {
    const { t, lang, f, now } = this.#state;
    if (this.#rule) return this.#one();
    return html`<div class="page" data-testid="trials"><h2>${t('shadow.title')}</h2>
      <p class="quiet">${t('shadow.intro')}</p>
      ${this.#said()}
      ${this.#all === null
        ? html`<p class="quiet">${t('list.waiting')}</p>`
        : this.#all.length === 0
          ? html`<p class="quiet">${t('shadow.none')}</p>`
          : html`<ul class="cards">${this.#all.map((one) => html`<li><a href="#/shadow/${one.rule}"><b>${pick(lang, one.title)}</b>
              <small>${one.ended ? lookup(lang, 'shadow.ended', one.ended) : t('shadow.since', { time: f.moment(ms(one.since), now) })}</small></a></li>`)}</ul>`}
    </div>`;
  }

  #said(): TemplateResult {
    return html`<p class="message ${this.#message?.kind ?? ''}" role="status" data-testid="shadow-message">${this.#message?.text ?? ''}</p>`;
  }

  #one(): TemplateResult {
    const { t, f, lang, now, me } = this.#state;
    const trial = this.#trial;
    const back = html`<a class="back here" href="#/shadow">‹ ${t('shadow.title')}</a>`;
    if (!trial) return html`<div class="page">${back}${this.#said()}${this.#message ? nothing : html`<p class="quiet">${t('list.waiting')}</p>`}</div>`;
    const figure = (name: string, value: string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
    return html`<div class="page trial" data-testid="trial">${back}
      <h2>${pick(lang, trial.title)}</h2>
      <p>${trial.ended ? html`<b class="dashed">${lookup(lang, 'shadow.ended', trial.ended)}</b> · ` : nothing}${t('shadow.since', { time: f.moment(ms(trial.since), now) })} <code>${trial.rule}</code></p>
      <dl class="facts">
        ${figure(t('shadow.alarms'), f.integer(trial.alarms))}
        ${figure(t('shadow.perday'), trial.per_day === null ? '—' : f.number(trial.per_day, 1))}
        ${figure(t('shadow.active'), trial.active_share === null ? '—' : `${f.number(trial.active_share * 100, 1)}%`)}
        ${figure(t('shadow.floods'), `${f.integer(trial.floods_made)} + ${f.integer(trial.floods_joined)}`)}
        ${figure(t('shadow.beside'), f.integer(trial.beside))}
        ${figure(t('shadow.alone'), f.integer(trial.alone))}
      </dl>
      <p class="quiet">${t('shadow.explain')}</p>
      ${!trial.ended && me?.role === 'admin'
        ? html`<div class="promote"><button type="button" class="primary" data-testid="promote" ?disabled=${this.#busy} @click=${this.#promote}>${this.#busy ? t('ack.busy') : t(this.#sure ? 'shadow.promote.sure' : 'shadow.promote')}</button>
            ${this.#sure ? html`<button type="button" @click=${() => { this.#sure = false; this.#changed(); }}>${t('shadow.promote.no')}</button><p>${t('shadow.promote.what', { n: trial.standing.length })}</p>` : nothing}</div>`
        : nothing}
      ${this.#said()} ${this.#days(trial)} ${this.#standing(trial)} ${this.#would(trial)}
    </div>`;
  }

  #days(trial: Trial): TemplateResult | typeof nothing {
    const { t, f } = this.#state;
    const days = [...trial.days].reverse();
    if (!days.length) return nothing;
    const day = (text: string) => text.split('-').reverse().join('/');
    return html`<h3>${t('shadow.days')}</h3>
      <div class="scroll" role="region" tabindex="0" aria-label=${t('shadow.days')}><table class="days">
        <thead><tr><th scope="col">${t('shadow.day')}</th>${([1, 2, 3, 4] as const).map((p) => html`<th scope="col">${t(`priority.${p}`)}</th>`)}<th scope="col">${t('shadow.beside')}</th><th scope="col">${t('shadow.inalarm')}</th></tr></thead>
        <tbody>${days.map((one) => html`<tr data-testid="trial-day"><th scope="row">${day(one.day)}</th>${one.alarms.map((n) => html`<td class="number">${n ? f.integer(n) : '·'}</td>`)}
          <td class="number">${f.integer(one.beside)}</td><td class="number">${one.active_s ? f.lasting(one.active_s) : '·'}</td></tr>`)}</tbody>
      </table></div>`;
  }

  #standing({ standing }: Trial): TemplateResult | typeof nothing {
    const { t, f, lang, now } = this.#state;
    if (!standing.length) return nothing;
    return html`<h3>${t('shadow.standing')}</h3><ul class="plain-list">${standing.map(
      (one) => html`<li class="p${one.priority}">${shape(one.priority as Priority, { unknown: one.unknown })}<b>${pick(lang, one.station_name)}</b> ${pick(lang, one.series_name)} · ${f.measured(one.value, one.unit, one.resolution)}
        <small>${pick(lang, one.level_name)} · ${t('why.since', { time: f.moment(ms(one.event_at), now) })}</small></li>`,
    )}</ul>`;
  }

  #would({ would }: Trial): TemplateResult {
    const { t, f, lang, now } = this.#state;
    return html`<h3>${t('shadow.would')}</h3>
      ${would.length
        ? html`<ol class="timeline" data-testid="would">${would.map(
            (one) => html`<li data-kind=${one.kind}><time>${f.moment(ms(one.event_at), now)}</time>
              <span><b>${lookup(lang, 'shadow.kind', one.kind)}</b> ${pick(lang, one.station_name)} ${f.measured(one.value, one.unit, one.resolution)}
                <small>${one.kind === 'onset' || one.kind.startsWith('level') ? `${t(`priority.${one.priority}`)}${one.level_name ? ` · ${pick(lang, one.level_name)}` : ''}` : nothing}${one.duration_s === null ? nothing : t('shadow.for', { time: f.lasting(one.duration_s) })}${one.beside ? ` · ${t('shadow.beside.one')}` : nothing}${one.backlog ? ` · ${t('backlog')}` : nothing}</small></span></li>`,
          )}</ol>`
        : html`<p class="quiet">${t('shadow.would.none')}</p>`}`;
  }
}
