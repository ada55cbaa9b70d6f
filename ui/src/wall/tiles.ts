// One tile for each group of the pack: its worst alarm, how many feeds live, how many are old.
import { html, nothing, type TemplateResult } from 'lit';
import { pick } from '../i18n/index.ts';
import type { Priority } from '../protocol.ts';
import { shape } from '../shared/shapes.ts';
import type { Wall } from './context.ts';

export function tiles(wall: Wall): TemplateResult {
  const { instance, store, t, settings } = wall;
  return html`<section class="panel tiles" aria-label=${t('wall.tiles')}>
    ${(instance?.groups ?? []).map(({ id, name }) => {
      const kpi = store.kpi?.groups.find((group) => group.id === id);
      return html`<div class="tile ${kpi?.open ? '' : 'zero'}" data-testid="tile" data-group=${id}>
        <div class="sign">${kpi?.priority ? shape(kpi.priority as Priority, { hollow: kpi.unacked === 0 }) : html`<i class="dot"></i>`}</div>
        <div class="what">
          <p class="name">${pick(settings.lang, name)}</p>
          <p class="feeds">
            <span>${kpi ? (kpi.stale ? `${kpi.live}/${kpi.total}` : t('wall.tile.feeds', { live: kpi.live, total: kpi.total })) : ''}</span>
            ${kpi?.stale ? html`<span class="dashed">${t('wall.tile.stale', { n: kpi.stale })}</span>` : nothing}
          </p>
        </div>
        <div class="figure">${kpi?.open ?? ''}</div>
      </div>`;
    })}
  </section>`;
}
