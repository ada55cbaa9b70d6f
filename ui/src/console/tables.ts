// Feeds, quarantine and journal as tables.
import { html, nothing, type TemplateResult } from 'lit';
import { lookup, pick } from '../i18n/index.ts';
import type { History, Quarantined } from '../protocol.ts';
import { ms } from '../shared/format.ts';
import { remarkOf } from '../shared/words.ts';
import { mayAck, type Console } from './state.ts';

const table = (label: string, head: readonly string[], rows: readonly TemplateResult[], none: string): TemplateResult =>
  rows.length
    ? html`<div class="scroll" role="region" tabindex="0" aria-label=${label}>
        <table><thead><tr>${head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${rows}</tbody></table>
      </div>`
    : html`<p class="quiet">${none}</p>`;

export function feeds({ store, t, f, now }: Console): TemplateResult {
  const head = (['source', 'state', 'since', 'rate', 'lag', 'accepted', 'rejected', 'late', 'repeats', 'shed', 'error'] as const).map((key) => t(`feeds.${key}`));
  const rows = [...store.feeds.values()].map(
    (feed) => html`<tr class=${feed.connected ? '' : 'trouble'} data-testid="feed" data-source=${feed.source}>
      <th scope="row">${feed.source}${feed.kind && feed.kind !== feed.source ? ` (${feed.kind})` : ''}<small>${feed.detail}</small></th>
      <td>${feed.state === 'up' ? t('feeds.connected') : html`<b class="dashed">${feed.state === 'waiting' ? t('feeds.waiting') : t('feeds.disconnected')}</b>`}</td>
      <td>${feed.since ? f.moment(ms(feed.since), now) : '—'}</td>
      ${[f.number(feed.rate, 1), feed.lag === null ? '—' : f.integer(feed.lag), ...[feed.accepted, feed.rejected, feed.late, feed.repeats, feed.shed].map((n) => f.integer(n))].map((text) => html`<td class="number">${text}</td>`)}
      <td>${feed.last_error}</td>
    </tr>`,
  );
  return html`<div class="page"><h2>${t('console.feeds')}</h2>
    ${table(t('console.feeds'), head, rows, t('feeds.none'))}
    ${store.kpi ? html`<p class="quiet">${t('feeds.history')}: <b>${history(store.kpi.history, t, f)}</b></p>` : nothing}
  </div>`;
}

function history(state: History, t: Console['t'], f: Console['f']): string {
  const n = f.integer(state.lag_records);
  switch (state.state) {
    case 'lagging':
      return t('feeds.history.lagging', { n, s: f.span(state.lag_s * 1000) });
    case 'down':
      return t('feeds.history.down', { n });
    case 'ok':
    case 'off':
      return t(`feeds.history.${state.state}`);
  }
}

export function quarantine(console_: Console, reinject: (number: number) => void): TemplateResult {
  const { quarantine: read, reinjecting, t, f, now } = console_;
  const head = (['number', 'again', 'received', 'source', 'topic', 'reason', 'payload'] as const).map((key) => t(`quarantine.${key}`));
  const again = (item: Quarantined): TemplateResult | string => {
    if (item.reinjected) return t('quarantine.reinjected');
    return mayAck(console_)
      ? html`<button type="button" ?disabled=${reinjecting.busy === item.number} aria-label=${t('quarantine.reinject.label', { n: item.number })} data-testid="reinject" @click=${() => reinject(item.number)}>${t('quarantine.reinject')}</button>`
      : '';
  };
  const rows = (read?.items ?? []).map(
    (item) => html`<tr data-testid="quarantined">
      <td class="number">${item.number}</td>
      <td>${again(item)}</td>
      <td>${f.moment(ms(item.received_at), now)}</td>
      <td>${item.source}</td>
      <td class="long">${item.topic}</td>
      <td>${item.reason}<small>${item.detail}</small></td>
      <td class="payload"><code>${item.payload_text ?? item.payload_base64}</code>
        <small>${t('quarantine.bytes', { n: f.integer(item.length) })}${item.payload_text === null ? ` · ${t('quarantine.binary')}, base64` : ''}</small></td>
    </tr>`,
  );
  return html`<div class="page"><h2>${t('console.quarantine')}</h2>
    <p class="message ${reinjecting.message?.kind ?? ''}" role="status" data-testid="reinjected">${reinjecting.message?.text ?? ''}</p>
    ${read ? html`${rows.length ? html`<p class="quiet">${t('quarantine.total', { n: f.integer(read.total) })}</p>` : nothing}
      ${table(t('console.quarantine'), head, rows, t('quarantine.none'))}` : html`<p class="quiet">${t('list.waiting')}</p>`}
  </div>`;
}

export function journal({ journal: read, t, f, now, lang }: Console, more: () => void, refresh: () => void): TemplateResult {
  const head = (['at', 'what', 'alarm', 'value', 'who', 'note'] as const).map((key) => t(`journal.${key}`));
  const rows = (read?.items ?? []).map(
    (step) => html`<tr data-testid="entry">
      <td>${f.moment(ms(step.at), now)}</td>
      <td><b>${lookup(lang, 'kind', step.kind)}</b></td>
      <td><a href="#/alarms/${step.alarm}">${pick(lang, step.title) || step.rule}</a><small>${step.priority} · ${t(`priority.${step.priority}`)} · ${pick(lang, step.station_name) || step.asset}</small></td>
      <td class="number">${step.kind === 'ack' ? '' : f.measured(step.value, step.unit ?? '', null)}</td>
      <td>${step.actor_name || t('unnamed')}</td>
      <td class="long">${step.note || remarkOf(step.detail, f, now, t)}</td>
    </tr>`,
  );
  return html`<div class="page"><h2>${t('console.journal')}</h2>
    <p><button type="button" @click=${refresh}>${t('journal.refresh')}</button></p>
    ${read ? table(t('console.journal'), head, rows, t('journal.none')) : html`<p class="quiet">${t('list.waiting')}</p>`}
    ${read?.next ? html`<p><button type="button" @click=${more}>${t('journal.more')}</button></p>` : nothing}
  </div>`;
}
