// What the wall's own word is worth: feeds, rate, broker, database, log, who is on duty.
import { html, nothing, type TemplateResult } from 'lit';
import type { Kpi, SourceKpi } from '../protocol.ts';
import type { Wall } from './context.ts';

const DISK_DAYS_LOW = 7;
/** A source that is read as it writes is always a few records behind. */
const LAG_SHOWN = 1_000;
const FEED_NAMES: ReadonlyMap<string, string> = new Map([['mqtt', 'MQTT'], ['kafka', 'Kafka'], ['http', 'HTTP']]);

export function footer(wall: Wall): TemplateResult {
  const { t, f, store: { kpi }, client, version } = wall;
  // A log that cannot be written needs the room of what is merely good to know.
  const trouble = kpi !== null && (!kpi.log.writable || kpi.log.detail !== '');
  return html`<footer class="panel footer">
    ${kpi
      ? html`${item(t('wall.footer.feeds'), `${kpi.feeds_live}/${kpi.feeds_total}`)}
          ${trouble ? nothing : item(t('wall.footer.rate'), t('wall.footer.rate.value', { n: f.integer(kpi.rate) }))}
          ${kpi.sources.map((source) => feed(wall, source))}
          ${history(wall, kpi)} ${log(wall, kpi)}
          ${item(t('wall.footer.officers'), kpi.officers.join(', ') || t('wall.footer.officers.none'), false, 'give')}`
      : nothing}
    <span class="end">
      ${kpi && !trouble ? html`<span>${t('wall.footer.screens', { n: kpi.screens })}</span>` : nothing}
      <span>seq ${f.integer(client.seq)}</span>
      <span>${version ? `v${version}` : ''}</span>
    </span>
  </footer>`;
}

const item = (name: string, value: string, trouble = false, more = '') =>
  html`<span class="item ${trouble ? 'trouble' : ''} ${more}">${name} <b>${value}</b></span>`;

function feed({ t, f }: Wall, { source, kind, state, lag }: SourceKpi): TemplateResult {
  const known = FEED_NAMES.get(kind) ?? kind;
  const behind = lag !== null && lag >= LAG_SHOWN ? ` · ${t('wall.footer.lag', { n: f.integer(lag) })}` : '';
  const word = state === 'up' ? t('wall.ok') : state === 'waiting' ? t('wall.waiting') : t('wall.down');
  return item(source === kind ? known : `${known} ${source}`, word + behind, state !== 'up' || behind !== '');
}

function history({ t, f }: Wall, { history }: Kpi): TemplateResult {
  switch (history.state) {
    case 'ok':
      return item(t('wall.footer.history'), t('wall.ok'));
    case 'off':
      return item(t('wall.footer.history'), t('wall.off'));
    case 'lagging':
      return html`<span class="item trouble" data-testid="history">${t('wall.history.lag', { n: f.integer(history.lag_records) })}</span>`;
    case 'down':
      return html`<span class="item trouble" data-testid="history">${t('wall.footer.history')} <b>${t('wall.down')}</b> · ${t('wall.history.lag', { n: f.integer(history.lag_records) })}</span>`;
  }
}

function log({ t, f }: Wall, { log }: Kpi): TemplateResult {
  if (!log.writable || log.detail) {
    const text = log.detail ? t('wall.log.detail', { detail: log.detail }) : t('wall.log.full');
    return html`<span class="item alert" role="alert" data-testid="log-trouble">${text}</span>`;
  }
  const low = log.disk_days !== null && log.disk_days < DISK_DAYS_LOW;
  return low
    ? html`<span class="item trouble" data-testid="log-trouble">${t('wall.log.days', { n: f.number(log.disk_days!, 1, 0) })}</span>`
    : item(t('wall.footer.log'), t('wall.ok'));
}
