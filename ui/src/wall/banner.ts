// The one alarm that cannot wait. Its height never changes, so that nothing jumps when it comes or goes.
import { html, nothing, type TemplateResult } from 'lit';
import { pick } from '../i18n/index.ts';
import { ms } from '../shared/format.ts';
import { letter, topWaiting } from '../shared/order.ts';
import { lookOf, shape } from '../shared/shapes.ts';
import { backlogMark, limitOf, placeOf, valueOf } from '../shared/words.ts';
import type { Wall } from './context.ts';

export function banner(wall: Wall): TemplateResult {
  const { store, t, f } = wall;
  const { top, others } = topWaiting(store.alarms.values());
  if (!top) {
    const open = store.alarms.size;
    return html`<section class="panel banner quiet" data-testid="banner" data-alarm="">
      <p class="title">${store.known ? (open ? t('wall.quiet') : t('wall.quiet.none')) : t('wall.list.waiting')}</p>
      ${store.known && open ? html`<p class="place">${t('wall.quiet.open', { n: open })}</p>` : nothing}
    </section>`;
  }
  const row = wall.slots.rows.indexOf(top);
  const limit = limitOf(top, f, t);
  const value = top.value === null ? '' : ` — ${valueOf(top, f, store.points, wall.now)}${limit ? ` (${limit})` : ''}`;
  const state = top.state === 'RETURNED' ? t('state.RETURNED') : top.condition === 'unknown' ? t('condition.unknown') : '';
  const details = [
    state,
    placeOf(top, f),
    backlogMark(top, t) || t('wall.banner.since', { time: f.moment(ms(top.raised_at), wall.now) }),
    others ? t('wall.banner.others', { n: others, priority: t(`priority.${top.priority}`).toLocaleLowerCase(f.lang) }) : '',
  ].filter(Boolean);
  return html`<section class="panel banner p${top.priority} ${top.state === 'RETURNED' ? 'over' : ''}" data-testid="banner" data-alarm=${top.id}>
    <div class="block">${shape(top.priority, { ...lookOf(top), ring: false, hollow: false })}<span>${t(`priority.${top.priority}`)}</span></div>
    <div class="what">
      <p class="title">${row >= 0 ? `${letter(row)} · ` : ''}${pick(f.lang, top.title)}${value}</p>
      <p class="place">${details.join(' · ')}</p>
    </div>
    <div class="age"><span>${f.age(wall.now - ms(top.raised_at))}</span><small>${t('state.waiting')}</small></div>
  </section>`;
}
