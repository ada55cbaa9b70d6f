// What lies over the wall: the connection is lost, the screen has no access, and the card of a demonstration.
import { html, nothing, type TemplateResult } from 'lit';
import type { Wall } from './context.ts';

export function lost({ client, f, t }: Wall): TemplateResult | typeof nothing {
  if (client.phase() !== 'lost') return nothing;
  const heard = client.heardAt();
  const age = f.age(client.silentMs());
  return html`<div class="cut" role="alert" data-testid="lost">
    <div class="box">
      <p class="title">${t('wall.lost')}</p>
      <p>${heard === null ? t('wall.lost.never', { age }) : t('wall.lost.since', { time: f.clock(client.serverNow() - client.silentMs()), age })}</p>
    </div>
  </div>`;
}

export const login = ({ t }: Pick<Wall, 't'>, refused: boolean): TemplateResult => html`
  <main class="login" data-testid="login-hint">
    <div class="panel">
      <h1>${t('wall.login.title')}</h1>
      ${refused ? html`<p class="refused" role="alert">${t('wall.login.bad')}</p>` : nothing}
      <p>${t('wall.login.text')}</p>
      <p><code>ioc token add wall-1</code></p>
      <p><code>${location.origin}/wall#token=…</code></p>
      <p>${t('wall.login.or')} <a href="/console">${t('wall.login.link')}</a>.</p>
    </div>
  </main>`;

const TOUR_KEY = 'ioc.tour.closed';
/** As they work from the checkout. The simulator leaves a series alone for a minute after any message by hand; one that is no value cuts it. */
const CUT = '.venv/bin/ioc send ioc/v1/environment/tang_loong/pm25 off';
const SEND = '.venv/bin/ioc send ioc/v1/disaster/lao_cai/water_level 84.2';
const command = (text: string) => html`<code>${text.split('/').map((word, i) => (i ? html`/<wbr />${word}` : word))}</code>`;

export class Tour {
  open = localStorage.getItem(TOUR_KEY) === null;

  shown({ instance, settings }: Wall): boolean {
    const room = document.body.dataset['room'] === 'full';
    return this.open && room && instance?.simulated === true && (settings.screen === 'all' || settings.screen === 'map');
  }

  template({ t }: Wall): TemplateResult {
    return html`<aside class="tour" data-testid="tour">
      <div class="top"><h3>${t('wall.tour.title')}</h3><button type="button" @click=${this.close} aria-label=${t('wall.tour.close')}>✕</button></div>
      <ol>
        <li><b>1</b><span>${t('wall.tour.1')} (<a href="/console" target="_blank" rel="noopener">${t('wall.tour.console')}</a>)</span></li>
        <li><b>2</b><span>${t('wall.tour.2')} ${command(CUT)}</span></li>
        <li><b>3</b><span>${t('wall.tour.3')} ${command(SEND)}</span></li>
      </ol>
    </aside>`;
  }

  close = (): void => {
    this.open = false;
    localStorage.setItem(TOUR_KEY, '1');
  };
}
