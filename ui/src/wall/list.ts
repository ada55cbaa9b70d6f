// The list of alarms: as many fixed slots as fit, the rest in one line. It never scrolls by itself.
import { html, nothing, type TemplateResult } from 'lit';
import { pick } from '../i18n/index.ts';
import type { Alarm } from '../protocol.ts';
import { ms } from '../shared/format.ts';
import { letter } from '../shared/order.ts';
import { lookOf, shape } from '../shared/shapes.ts';
import { backlogMark, limitOf, placeOf, short, stationOf, valueOf } from '../shared/words.ts';
import type { Wall } from './context.ts';

export function list(wall: Wall): TemplateResult {
  const { store, t, slots } = wall;
  const waiting = [...store.alarms.values()].filter(({ state }) => state !== 'ACKED').length;
  return html`<section class="panel list" aria-label=${t('wall.list')}>
    <div class="heading">
      <h2>${t('wall.list')}</h2>
      <span>${store.known ? t('wall.list.summary', { open: store.alarms.size, unacked: waiting }) : ''}</span>
    </div>
    <ol class="rows" data-testid="alarm-list">
      ${slots.rows.map((alarm, index) => row(wall, alarm, index))}
      ${slots.rows.length ? nothing : html`<li class="empty">${store.known ? t('wall.list.none') : t('wall.list.waiting')}</li>`}
    </ol>
    <div class="heading foot">
      <span data-testid="rest">${rest(wall)}</span>
      <span>${day(wall)}</span>
    </div>
  </section>`;
}

function row(wall: Wall, alarm: Alarm, index: number): TemplateResult {
  const { t, f } = wall;
  const late = backlogMark(alarm, t);
  const station = short(stationOf(alarm, f));
  const age = wall.now - ms(alarm.raised_at);
  return html`<li class="row p${alarm.priority} ${alarm.state.toLowerCase()} ${alarm.condition}"
    data-testid="alarm-row" data-alarm=${alarm.id} data-state=${alarm.state} data-condition=${alarm.condition}
    data-rule=${alarm.rule} data-asset=${alarm.asset} data-priority=${alarm.priority} data-backlog=${alarm.backlog}>
    <i class="bar"></i>
    <div class="sign">${shape(alarm.priority, lookOf(alarm))}</div>
    <div class="letter">${letter(index)}</div>
    <div class="what">
      <p class="title">${pick(f.lang, alarm.title)}</p>
      <p class="place"><span>${late ? station : placeOf(alarm, f, station)}</span>${late ? html`<span class="mark" data-testid="backlog">${late}</span>` : nothing}</p>
    </div>
    <div class="value">
      <p class="title">${valueOf(alarm, f, wall.store.points, wall.now)}</p>
      <p class="place">${limitOf(alarm, f, t)}</p>
    </div>
    <div class="age ${age >= 86_400_000 ? 'long' : ''}">${f.age(age)}</div>
    <div class="status">${status(wall, alarm)}</div>
  </li>`;
}

function status({ t }: Wall, alarm: Alarm): TemplateResult {
  const word = t(`state.${alarm.state}`);
  const who = alarm.state === 'ACKED' ? (alarm.acked_by_name ?? '') : alarm.state === 'RETURNED' ? t('state.waiting') : t(`priority.${alarm.priority}`);
  if (alarm.condition !== 'unknown') return html`<p class="word">${word}</p><p class="by">${who}</p>`;
  return html`<p class="word"><span class="dashed">${t('condition.unknown')}</span></p>
    <p class="by">${alarm.state === 'ACKED' ? who : word}</p>`;
}

function rest({ slots, t }: Wall): string {
  if (!slots.rest.length) return '';
  const counts = slots.restCounts.map(([priority, n]) => `${n} ${t(`priority.${priority}`)}`).join(' · ');
  return t('wall.list.rest', { n: slots.rest.length, counts });
}

function day({ store: { kpi }, t, f }: Wall): string {
  if (!kpi) return '';
  const mean = kpi.ack_mean_s === null ? '' : ` · ${t('wall.list.ackmean', { time: f.minutes(kpi.ack_mean_s) })}`;
  return t('wall.list.day', { n: f.integer(kpi.alarms_24h) }) + mean;
}
