// Whose wall it is, how many alarms of each priority, what time it is and whether all this is true right now.
import { html, nothing, type TemplateResult } from 'lit';
import { pick } from '../i18n/index.ts';
import type { Priority } from '../protocol.ts';
import { shape } from '../shared/shapes.ts';
import type { Wall } from './context.ts';
import type { Sound } from '../shared/sound.ts';

export function header(wall: Wall, sound: Sound): TemplateResult {
  return html`<header class="header">
    <div class="panel who">
      <h1>${pick(wall.settings.lang, wall.instance?.organisation) || wall.t('wall.title')}</h1>
      ${wall.instance?.simulated ? html`<span class="tag" data-testid="simulated">${wall.t('simulated')}</span>` : nothing}
    </div>
    ${counts(wall)}
    <div class="panel when">
      <time class="clock">${wall.f.clock(wall.now)}</time>
      <div class="state">
        <div class="date">${wall.f.longDate(wall.now)}</div>
        ${link(wall)}
        ${wall.settings.sound && !sound.audible ? html`<div class="chip" data-testid="sound">${wall.t('wall.sound.off')}</div>` : nothing}
      </div>
    </div>
  </header>`;
}

function counts(wall: Wall): TemplateResult {
  const all = ([1, 2, 3, 4] as const).map((priority) => {
    const count = wall.store.kpi?.counts[priority];
    return { priority, open: count?.open ?? null, unacked: count?.unacked ?? 0 };
  });
  const digits = all.reduce((sum, { open }) => sum + String(open ?? '').length, 0);
  const size = digits > 9 ? 'small' : digits > 5 ? 'medium' : '';
  return html`<ul class="panel counts ${size}" aria-label=${wall.t('wall.counts')}>
    ${all.map(({ priority, open, unacked }) => count(wall, priority, open, unacked))}
  </ul>`;
}

/** What is not known yet is no zero. */
const count = (wall: Wall, priority: Priority, open: number | null, unacked: number) => html`
  <li class="count ${open ? '' : 'zero'}" data-testid="count" data-priority=${priority}>
    ${shape(priority, { quiet: !open, hollow: unacked === 0 })}
    <span class="figure">${open ?? '–'}</span>
    <span class="words">
      <span class="word">${wall.t(`priority.${priority}`)}</span>
      <span class="fresh">${unacked ? wall.t('wall.fresh', { n: unacked }) : wall.t('wall.fresh.none')}</span>
    </span>
  </li>`;

function link(wall: Wall): TemplateResult {
  const { client, t, f } = wall;
  const phase = client.phase();
  const first = client.heardAt() === null;
  const text =
    phase === 'lost'
      ? t('wall.link.lost', { age: f.age(client.silentMs()) })
      : phase === 'slow'
        ? t('wall.link.slow', { age: f.age(client.silentMs()) })
        : first
          ? t('wall.link.first')
          : t('wall.link.live', { lag: f.number(client.lagMs() / 1000, 1) });
  return html`<div class="link ${phase}" data-testid="link-state" data-link=${phase}><i></i>${text}</div>`;
}
